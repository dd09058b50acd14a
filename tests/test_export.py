"""A run as a file: the same answers as torch for every task and student, what is refused, and what is written then."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import SETTLED, small
from test_cli import call

import limbeck
from limbeck.artifact.graph import onnx_bytes
from limbeck.catalog.data import data_of
from limbeck.catalog.models import Shape, model
from limbeck.catalog.tasks import task as find_task
from limbeck.data.source import Data
from limbeck.distillation import distill
from limbeck.errors import ModelError, RecipeError, RunError
from limbeck.quantization.graphs import asked, slimmed
from limbeck.run import Run
from limbeck_runtime import load

pytest.importorskip("onnxruntime")

SERIES, IMAGE, ROW = (2, 24), (1, 12, 12), (9,)
# A task, a network that does it, the shape of a row, how many outputs it has, and the type of what rows hold.
CASES: dict[str, tuple[str, str, tuple[int, ...], int, torch.dtype]] = {
    "mlp, regression": ("regression(scale=(3.0, 50.0))", "mlp(size=16)", ROW, 2, torch.float32),
    "mlp, bytes": ("classification", "mlp(size=16)", IMAGE, 10, torch.uint8),
    "cnn, classification": ("classification", "cnn(size=8, depth=1)", IMAGE, 10, torch.uint8),
    "separable cnn, multilabel": ("multilabel", "separable_cnn(size=8)", IMAGE, 4, torch.float32),
    "gru, forecasting": ("forecasting(horizon=3, below=88, channel=1)", "gru(size=12)", SERIES, 4, torch.float32),
    "tcn, quantiles": (
        "forecasting(horizon=3, channel=1, quantiles=(0.1, 0.5, 0.9))",
        "tcn(size=8, depth=2)", SERIES, 9, torch.float32,
    ),
    "transformer, classification": (
        "classification", "transformer(size=16, depth=1, heads=2, patch=8)", SERIES, 5, torch.float32,
    ),
    "gru, sequence": ("sequence", "gru(size=12, per_step=True)", SERIES, 3, torch.float32),
    "transformer, sequence": (
        "sequence", "transformer(size=16, depth=1, heads=2, patch=1, per_step=True)", SERIES, 3, torch.float32,
    ),
}  # fmt: skip


def network(name: str) -> tuple[limbeck.Model, torch.Tensor]:
    """An untrained student with scales and statistics that matter, and raw rows for it."""
    text, student, row, outputs, kind = CASES[name]
    draw = torch.Generator().manual_seed(4)
    rows = torch.rand((13, *row), generator=draw) * 200 + 20
    rows = rows.to(kind)
    mean = torch.rand(row[0], generator=draw) * 100  # of each channel
    torch.manual_seed(4)
    shape = Shape(row, outputs, tuple(map(str, range(outputs))), mean, mean / 3 + 1, find_task(text).restore)
    return model(student, shape).eval(), rows


@pytest.mark.slow  # seconds each
@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("name", CASES)
def test_every_student_and_task_answers_as_in_torch(name: str, batch: int | None) -> None:
    student, rows = network(name)
    graph = slimmed(onnx_bytes(student, rows[:2], batch=batch))
    with torch.no_grad():
        known = student(rows).numpy()
    said = asked(graph, rows.numpy())
    assert said.shape == known.shape and np.ptp(known) > 1e-3
    np.testing.assert_allclose(said, known, atol=2e-5 * max(1.0, float(np.abs(known).max())))


@pytest.fixture(scope="module")
def shipped(good_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a good run, in float32."""
    path = tmp_path_factory.mktemp("shipped") / "good.limbeck"
    words = ["--unit", "grey", "--licence", "digits: CC BY 4.0", "--quiet"]
    call("export", str(good_run.folder), "--to", str(path), *words)
    return path


@pytest.fixture(scope="module")
def data(good_run: Run) -> Data:
    return data_of(good_run.recipe().data)


def test_the_file_answers_as_the_student(shipped: Path, good_run: Run, data: Data) -> None:
    predictor = load(shipped)
    rows = data.test.take(torch.arange(len(data.test)))
    with torch.no_grad():
        known = good_run.student()(rows.inputs).numpy()
    said = predictor.outputs(rows.inputs.numpy())
    np.testing.assert_allclose(said, known, atol=1e-4)
    alone = np.concatenate([predictor.outputs(row) for row in rows.inputs.numpy()[:20]])
    np.testing.assert_allclose(alone, said[:20], atol=1e-5)
    verified = predictor.manifest.verification["test"]
    assert verified["rows"] == len(rows.inputs)
    assert verified["metrics"]["accuracy"] == float((said.argmax(1) == rows.labels.numpy()).mean())  # type: ignore[union-attr]
    assert verified["difference"] == pytest.approx(float(np.abs(said - known).max()), rel=0.5, abs=1e-5)
    assert [each["class"] for each in predictor(rows.inputs.numpy())] == [data.classes[at] for at in said.argmax(1)]


def test_the_file_says_where_it_comes_from(shipped: Path, good_run: Run, data: Data) -> None:
    manifest = load(shipped).manifest
    assert (manifest.graph.precision, manifest.graph.recipe, manifest.graph.batch) == ("float32", "as trained", None)
    assert manifest.input.units == ("grey",) and manifest.input.kind == "image"
    said: Mapping[str, Any] = manifest.provenance
    assert said["licences"] == ["digits: CC BY 4.0"]
    assert said["data"]["fingerprint"] == data.fingerprint
    assert said["student"]["fingerprint"] == good_run.student().fingerprint()
    assert said["recipe"]["student"] == "mlp(size=64)" and said["teacher"] is None
    assert set(manifest.verification["fresh_process"]) >= {"golden_difference", "onnxruntime"}
    assert not manifest.calibration and "candidates" not in manifest.verification


@pytest.mark.slow  # each traces a network anew
def test_the_same_run_gives_the_same_graph(shipped: Path, good_run: Run, tmp_path: Path) -> None:
    again = limbeck.export(good_run, tmp_path / "again.limbeck", units=("grey",))
    assert again.manifest.files == load(shipped).manifest.files


@pytest.mark.slow  # each traces a network anew
def test_a_graph_for_one_row_at_a_time(good_run: Run, data: Data, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "one.limbeck"
    call("export", str(good_run.folder), "--to", str(path), "--batch", "1", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["manifest"]["graph"]["batch"] == 1 and said["artifact"] == str(path)
    rows = data.valid.take(torch.arange(3)).inputs
    with torch.no_grad():
        known = good_run.student()(rows).numpy()
    np.testing.assert_allclose(load(path).outputs(rows.numpy()), known, atol=1e-4)


def test_what_is_refused_before_the_network_is_traced(good_run: Run, shipped: Path, tmp_path: Path) -> None:
    to = tmp_path / "new.limbeck"
    before = hashlib.sha256(shipped.read_bytes()).hexdigest()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"precision": "int4"}, "no precision 'int4'"),
        ({"batch": 0}, "batch=0"),
        ({"precision": "int8", "calibrate": 0}, "calibrate=0"),
        ({"calibrate": 64}, "calibrate says nothing for float32"),
        ({"precision": "int8", "only": "statik"}, "no recipe for int8 begins with 'statik'"),
    ]
    for words, said in wrong:
        with pytest.raises(RecipeError, match=said):
            limbeck.export(good_run, to, **words)
    with pytest.raises(RecipeError, match="is there already"):
        limbeck.export(good_run, shipped)
    with pytest.raises(RecipeError, match="is no name of an artifact"):
        limbeck.export(good_run, tmp_path / "new.onnx")
    assert hashlib.sha256(shipped.read_bytes()).hexdigest() == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--precision", "int4"], 2, "no precision 'int4'"),
        (["--precision", "int8", "--calibrate", "0"], 2, "calibrate"),
        (["--precision", "int8", "--agreement", "1.5"], 2, "agreement"),
        (["--lose", "0.1"], 2, "allowances says nothing for float32"),
    ],
)
def test_bad_options_through_the_command_line(
    good_run: Run, tmp_path: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call("export", str(good_run.folder), "--to", str(tmp_path / "a.limbeck"), *words, code=code)
    assert said in " ".join(capsys.readouterr().err.split()) and not list(tmp_path.iterdir())


def test_an_unfinished_run_is_refused(good_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(good_run.folder, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "running"}))
    (folder / "student.safetensors").unlink()
    with pytest.raises(RunError, match="finish"):
        limbeck.export(folder)
    call("export", str(folder), code=6)
    assert "finish" in capsys.readouterr().err and not list(folder.glob("*.limbeck"))
    call("export", str(tmp_path / "nowhere"), code=6)


@pytest.mark.slow  # each trains and traces a network
@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("odd_networks:bessel", "in network.body.2 has no ONNX counterpart"),
        ("odd_networks:branching", "cannot be traced in network.body.2"),
        ("odd_networks:unlike", "away from the student on valid rows"),
    ],
)
def test_what_does_not_export_is_named_and_nothing_is_written(
    tmp_path: Path, network: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    small(None, tmp_path / "run", student=network, budget="2 steps")
    capfd.readouterr()
    call("export", str(tmp_path / "run"), "--quiet", code=4)
    told = capfd.readouterr()
    assert said in " ".join(told.err.split()) and "\n    #" not in told.err  # torch's own account of it is a page long
    assert not list((tmp_path / "run").glob("*.limbeck*"))


def test_a_language_student_is_refused(tmp_path: Path) -> None:
    from small_languages import folder

    reads = folder(tmp_path / "reads")
    (tmp_path / "text.txt").write_text(
        "\n\n".join(f"the cat sat on the {thing} mat. " * 9 for thing in "abcdefghijklmnopqrst")
    )
    run = distill(
        None,
        "causal(depth=1, size=16, heads=2)",
        tmp_path / "text.txt",
        task="language",
        tokens={"length": 32, "documents": "paragraph", "tokenizer": reads},
        budget="2 steps",
        to=tmp_path / "run",
        training={**SETTLED, "batch": 4},
        device="cpu",
    )
    with pytest.raises(ModelError, match="a language model is not exported"):
        limbeck.export(run)
    assert not list(run.folder.glob("*.limbeck"))
