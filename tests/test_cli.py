"""The command line from outside: what it prints where, what it writes, how it stops and goes on."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.catalog.models import students
from limbeck.cli import main

RECIPE = """
data: {source: digits, valid: 0.1, test: 0.2}
student: mlp(size=16)
budget: 2 epochs
training: {batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
"""


def call(*arguments: str, code: int = 0) -> None:
    """Runs the command line in this process and checks its exit code."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert (left.value.code or 0) == code


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe of a teacher, its finished run, and a recipe of a student and its finished run."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "teacher.yaml").write_text(RECIPE.replace("size=16", "size=64"))
    (folder / "student.yaml").write_text(RECIPE + f"teacher: {folder / 'teacher'}\n")
    call("distill", str(folder / "teacher.yaml"), "--to", str(folder / "teacher"), "--quiet")
    call("distill", str(folder / "student.yaml"), "--to", str(folder / "student"), "--quiet")
    return folder


def test_distill_answers_on_stdout_and_says_progress_on_stderr(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("distill", str(work / "student.yaml"), "--to", str(tmp_path / "run"), "--set", "seeds=2")
    out, err = capsys.readouterr()
    assert "alone" in out
    assert f"report: {tmp_path / 'run' / 'report.html'}" in out
    assert (tmp_path / "run" / "report.html").is_file()
    assert "student: 38 steps" in err
    assert "steps" not in out


def test_json_is_one_object_and_nothing_else(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("distill", str(work / "student.yaml"), "--to", str(tmp_path / "run"), "--json")
    answer = json.loads(capsys.readouterr().out)
    assert answer["folder"] == str(tmp_path / "run")
    (run,) = answer["runs"]
    assert run["record"]["status"] == "finished"
    assert 0 < run["record"]["results"][0]["student"]["metrics"]["accuracy"] <= 1
    assert "panels" not in run["record"]


def test_json_holds_the_error_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("distill", str(tmp_path / "none.yaml"), "--json", code=2)
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["kind"] == "RecipeError"
    assert "there is no recipe" in err


def test_quiet_says_no_progress(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("distill", str(work / "teacher.yaml"), "--to", str(tmp_path / "run"), "--quiet")
    assert "steps" not in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("distill", str(tmp_path / "none.yaml"), code=2)
    assert "Traceback" not in capsys.readouterr().err
    call("distill", str(tmp_path / "none.yaml"), "--debug", code=2)
    assert "Traceback" in capsys.readouterr().err


def test_chain_and_demo_teach_link_by_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--set", "chain.teacher.budget=3 steps", "--set", "chain.student.budget=3 steps"]
    short += ["--set", "chain.student.seeds=1", "--quiet"]
    call("demo", *short)
    out = capsys.readouterr().out
    assert Path("runs/demo/report.html").is_file()
    assert Path("runs/demo/student/report.html").is_file()
    assert out.count("alone") >= 1
    following = out.partition("Next, try:\n")[2].splitlines()
    assert [line[:4].strip() for line in following if line[2].isdigit()] == ["1.", "2.", "3."]
    assert max(map(len, following)) <= 80
    assert "runs/demo-2" in "".join(following)
    # A second demo does not trip over the first; an explicit folder that is there is refused.
    call("demo", *short, "--json")
    assert json.loads(capsys.readouterr().out)["folder"] == "runs/demo-2"
    call("demo", *short, "--to", "runs/demo", code=6)
    assert "exists already" in capsys.readouterr().err


def test_a_chain_is_no_single_run_and_the_other_way_round(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "links.yaml").write_text("data: digits\nchain:\n  - {student: mlp}\n")
    call("distill", str(tmp_path / "links.yaml"), code=2)
    assert "limbeck chain" in capsys.readouterr().err
    call("chain", str(work / "teacher.yaml"), code=2)
    assert "limbeck distill" in capsys.readouterr().err


def test_evaluate_scores_teacher_student_and_control(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("evaluate", str(work / "student"), "--json")
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert set(scores) == {"teacher", "student", "control"}
    record = json.loads((work / "student" / "run.json").read_text())
    assert scores["student"]["metrics"]["accuracy"] == pytest.approx(
        record["results"][0]["student"]["metrics"]["accuracy"]
    )
    call("evaluate", str(work / "student"), "--split", "valid")
    assert "valid rows" in " ".join(capsys.readouterr().out.split())
    call("evaluate", str(work / "student"), "--split", "vlid", code=2)


def test_predict_reads_arrays_and_images(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.zeros((3, 1, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", rows)
    np.savez(tmp_path / "rows.npz", inputs=rows, other=rows)
    Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save(tmp_path / "image.png")
    for name, count in (("rows.npy", 3), ("rows.npz", 3), ("image.png", 1)):
        call("predict", str(work / "student"), str(tmp_path / name), "--json")
        out, err = capsys.readouterr()
        assert len(json.loads(out)["predictions"]) == count
        assert ("brought from" in err) == (name == "image.png")
    call("predict", str(work / "student"), str(tmp_path / "rows.npy"))
    assert capsys.readouterr().out.count("\n") > 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rows.npyy", "did you mean 'rows.npy'?"),
        ("shape.npy", "(N, 1, 8, 8)"),
        ("nan.npy", "row 1"),
        ("text.npy", "holds <U1"),
        ("torn.npy", "cannot be read"),
        ("objects.npy", "cannot be read"),
        ("two.npz", '"inputs"'),
        ("notes.txt", "of no known kind"),
        ("torn.png", "cannot be read"),
    ],
)
def test_predict_refuses_what_it_cannot_read(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    rows = np.zeros((3, 1, 8, 8), dtype=np.float32)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "shape.npy", rows[:, :, :4])
    np.save(tmp_path / "text.npy", np.full((3, 1, 8, 8), "x"))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=rows, b=rows)
    rows[1] = np.nan
    np.save(tmp_path / "nan.npy", rows)
    (tmp_path / "torn.npy").write_bytes((tmp_path / "nan.npy").read_bytes()[:200])
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    (tmp_path / "notes.txt").write_text("3")
    call("predict", str(work / "student"), str(tmp_path / name), code=3)
    assert said in capsys.readouterr().err


def test_report_writes_a_page(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "both.html"
    call("report", str(work / "student"), str(work / "teacher"), "--to", str(page))
    assert f"report: {page}" in capsys.readouterr().out
    assert "<html" in page.read_text()
    call("report", str(work / "studen"), code=6)
    assert "did you mean 'student'?" in capsys.readouterr().err


def test_a_method_says_who_can_serve_it(capsys: pytest.CaptureFixture[str]) -> None:
    call("methods", "--json")
    cards = {card["name"]: card for card in json.loads(capsys.readouterr().out)["methods"]}
    assert [name for name, card in cards.items() if "depends" in card["served_by"]] == ["tinybert"]
    assert "not an ONNX file" in cards["hint"]["served_by"]
    assert cards["labels"]["served_by"].startswith("no teacher")
    assert "list of two or more" in cards["ca_mkd"]["served_by"]
    assert "live or recorded in dense form" in cards["logit_mse"]["served_by"]


def test_methods_and_models_are_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    call("methods", "--json")
    assert {"kd", "labels", "hint", "rkd", "logit_mse"} <= {
        card["name"] for card in json.loads(capsys.readouterr().out)["methods"]
    }
    call("methods", "kd")
    out = capsys.readouterr().out
    for part in ("T²", "temperature: number > 0, default 4", "1503.02531"):
        assert part in out
    call("methods", "hnt", code=5)
    assert "did you mean 'hint'?" in capsys.readouterr().err
    call("models", "--json")
    assert {"mlp", "cnn", "separable_cnn"} <= {model["name"] for model in json.loads(capsys.readouterr().out)["models"]}
    call("version", "--json")
    assert set(json.loads(capsys.readouterr().out)) >= {"limbeck", "python", "torch"}


@pytest.mark.parametrize(
    "arguments",
    [
        *(["methods", *name] for name in ([], ["kd"], ["hint"], ["rkd"], ["review"], ["ca_mkd"])),
        *(["models", *name] for name in ([], ["mlp"], ["cnn"], ["tcn"], ["gru"], ["transformer"])),
    ],
)
def test_what_is_looked_up_fits_a_terminal_of_80_columns(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    call(*arguments)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("name", students())
def test_students_are_listed_with_their_arguments_and_described(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As `build` declares them: every name with its default, and every one explained."""
    build = importlib.import_module(f"limbeck.students.{name}").build
    declared = {
        each.name: None if each.default is each.empty else each.default
        for each in inspect.signature(build).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    }
    assert {"size", "network"} & set(declared), "no dial"
    call("models", "--json")
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    shown = listed[name]["arguments"]
    assert {key: value and ast.literal_eval(value) for key, value in shown.items()} == declared
    assert listed["PATH"]["arguments"] == {}
    call("models")
    out = " ".join(capsys.readouterr().out.split())
    assert f"{name}({', '.join(key if value is None else f'{key}={value}' for key, value in shown.items())})" in out
    call("models", name, "--json")
    card = json.loads(capsys.readouterr().out)["student"]
    assert {argument["name"]: argument["default"] for argument in card["arguments"]} == shown
    call("models", name)
    out = " ".join(capsys.readouterr().out.split())
    assert "parameters" in out
    for argument in card["arguments"]:
        given = "required" if argument["default"] is None else f"default {argument['default']}"
        told = out.split(f" {argument['name']}: {argument['kind']}, {given}")
        assert len(told) == 2, f"{argument['name']} is not shown once with its kind and default"
        assert len(told[1].split(": ")[0]) > 20, f"{argument['name']} is not explained"


def test_a_student_nobody_knows_is_not_described(capsys: pytest.CaptureFixture[str]) -> None:
    call("models", "tcm", code=4)
    assert "did you mean 'tcn'?" in capsys.readouterr().err


def test_tensorboard_writes_events(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    call("distill", str(work / "student.yaml"), "--to", str(run), "--quiet", "--set", "trackers=tensorboard")
    raw = b"".join(events.read_bytes() for events in run.rglob("events.out.tfevents.*"))
    for tag in (b"student/0/train/loss", b"student/0/valid/metrics/accuracy", b"control/0/train/loss"):
        assert tag in raw


@pytest.mark.parametrize("arguments", [["distil", "x.yaml"], ["distill"], ["distill", "x.yaml", "--sett", "a=b"], []])
def test_wrong_usage_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    call(*arguments, code=2)
    assert any(word in "".join(capsys.readouterr()) for word in ("Usage", "No such", "Missing"))


CHARTS = ["matplotlib", "triton"]


@pytest.mark.parametrize(
    ("arguments", "code", "unwanted"),
    [
        (["--help"], 0, ["torch", "numpy", "sklearn", *CHARTS]),
        (["version"], 0, ["torch", "numpy", "sklearn", *CHARTS]),
        (["distill", "none.yaml"], 2, ["torch", "numpy", "sklearn", *CHARTS]),
        # Methods are torch modules, and a mistake in one is found where they are.
        (["methods"], 0, ["sklearn", "accelerate", *CHARTS]),
        (["distill", "r.yaml"], 5, CHARTS),
    ],
)
def test_help_and_a_mistake_load_nothing_they_do_not_need(
    tmp_path: Path, arguments: list[str], code: int, unwanted: list[str]
) -> None:
    (tmp_path / "r.yaml").write_text("data: digits\nstudent: mlp(size=8)\nobjective: lables\nto: run\n")
    program = (
        "import sys\nfrom limbeck.cli import main\ntry:\n    main(sys.argv[1:])\n"
        f"finally:\n    loaded = sorted({set(unwanted)!r} & set(sys.modules))\n    assert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "AssertionError" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr


def test_a_closed_pipe_is_no_crash(tmp_path: Path) -> None:
    """`limbeck methods | head -1` must not end in a traceback."""
    command = f"{sys.executable} -m limbeck methods | true"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
