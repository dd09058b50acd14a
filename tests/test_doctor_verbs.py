"""The doctor before every run, on the command line and in recipes."""

import json
from pathlib import Path

import pytest
from examinations import KD
from small_runs import small

from limbeck.cli import main
from limbeck.data.source import Data, load
from limbeck.model import Model
from limbeck.recipe import Recipe
from limbeck.run import Run


@pytest.fixture
def teacher(good_run: Run) -> Model:
    return good_run.student()


@pytest.fixture(scope="module")
def rows() -> Data:
    """Split as the teacher's own."""
    return load("digits", valid=0.1, test=0.2)


# What every run looks at, and the command line.


def test_a_run_keeps_the_warnings_and_stops_at_errors(teacher: Model, rows: Data, tmp_path: Path) -> None:
    hot = small(teacher, tmp_path / "hot", data=rows, objective="kd(temperature=100)", budget="2 steps")
    assert "the targets are nearly flat" in [finding.subject for finding in hot.record.findings]
    plain = small(teacher, tmp_path / "plain", data=rows, objective=KD, budget="2 steps")
    assert plain.record.findings == ()


@pytest.fixture
def recipe(good_run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "student.yaml"
    path.write_text(
        f"data: {{source: digits, valid: 0.1, test: 0.2}}\nteacher: {good_run.folder}\nstudent: mlp(size=16)\n"
        "budget: 2 epochs\ndevice: cpu\ntraining: {batch: 64, lr: 0.01, precision: float32, threads: 1}\n"
    )
    return path


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def test_the_command_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", str(recipe), "--no-probe", "--json") == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert "asking the teacher" in err
    assert answer["counts"]["error"] == answer["counts"]["warning"] == 0
    (examined_recipe,) = answer["recipes"]
    assert set(examined_recipe["findings"][0]) == {"severity", "subject", "evidence", "remedy"}
    hot = "objective=kd(temperature=100)"
    assert call("doctor", str(recipe), "--no-probe", "--quiet", "--set", hot) == 0
    out, err = capsys.readouterr()
    assert "1 warning," in out and "nearly flat" in out and err == ""
    assert call("doctor", str(recipe), "--no-probe", "--quiet", "--strict", "--set", hot) == 9
    capsys.readouterr()
    assert call("doctor", str(recipe), "--no-probe", "--json", "--set", "data.seed=1") == 9
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == 9
    assert answer["recipes"][0]["findings"][0]["subject"] == "the teacher was trained on test rows"
    assert call("doctor", str(recipe), "--no-probe", "--set", "student=mpl") == 4
    assert call("doctor", "none.yaml") == 2


def test_each_link_of_a_chain_that_can_be_examined(
    good_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "links.yaml").write_text(
        "data: {source: digits, valid: 0.1, test: 0.2}\ndevice: cpu\ntraining: {batch: 64, threads: 1}\n"
        "chain:\n  - {name: big, student: mlp(size=32)}\n  - {name: little, student: mlp(size=8)}\n"
        f"  - {{name: direct, teacher: {good_run.folder}, student: mlp(size=8)}}\n"
    )
    assert call("doctor", "links.yaml", "--no-probe", "--json", "--quiet") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(each["recipe"], each["examined"]) for each in answer["recipes"]] == [
        ("big", True), ("little", False), ("direct", True),
    ]  # fmt: skip
    assert "has not been run" in answer["recipes"][1]["reason"]


def test_claims_are_read_and_written(tmp_path: Path) -> None:
    recipe = Recipe.make(data="digits", student="mlp", teacher={"model": "runs/x", "claims": 0.9})
    assert Recipe.parse(recipe.yaml()).teacher[0].claims == 0.9
    assert Recipe.parse(recipe.replace(teacher="runs/x").yaml()).teacher[0].claims is None
