"""int8 as a file: what the search measured, what it refuses, and that nothing but validation rows chose."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_files
import pytest
import torch
from test_cli import call

import limbeck
from limbeck.artifact.candidates import FLOAT32, RECIPES, WEIGHTS, Recipes
from limbeck.artifact.choice import Allowances
from limbeck.artifact.graph import onnx_bytes
from limbeck.artifact.search import some
from limbeck.catalog.data import data_of
from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.errors import DataError, ModelError
from limbeck.quantization.graphs import asked, slimmed
from limbeck.run import Run
from limbeck_runtime import load

pytest.importorskip("onnxruntime")

PATIENT = Allowances(latency=1e9)
"""What is fast here is the machine's affair: these tests are about answers and bytes."""


@pytest.fixture(scope="module")
def data(good_run: Run) -> Data:
    return data_of(good_run.recipe().data)


@pytest.fixture(scope="module")
def graph(good_run: Run, data: Data) -> bytes:
    return slimmed(onnx_bytes(good_run.student(), data.valid.take(torch.arange(2)).inputs))


@pytest.fixture(scope="module")
def shipped(good_run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of a good run in int8, and what the command line said."""
    path = tmp_path_factory.mktemp("shipped") / "int8.limbeck"
    artifact = limbeck.export(good_run, path, precision="int8", calibrate=100, allowances=PATIENT)
    return path, str(artifact.manifest.verification["choice"])


def blind(data: Data) -> Data:
    """The same data, but for training rows that are all black: static scales taken from them know nothing."""
    rows = data.train
    assert isinstance(rows, TensorRows) and isinstance(rows.inputs, torch.Tensor)
    return replace(data, train=replace(rows, inputs=torch.zeros_like(rows.inputs)))


def test_the_file_holds_what_was_measured(shipped: tuple[Path, str], good_run: Run, data: Data) -> None:
    path, choice = shipped
    predictor = load(path)
    said: Mapping[str, Any] = predictor.manifest.verification
    assert predictor.manifest.graph.precision == "int8" and choice.startswith(predictor.manifest.graph.recipe)
    by_name = {each["recipe"]: each for each in said["candidates"]}
    assert {FLOAT32, WEIGHTS, *RECIPES} - {"dynamic, matrices only"} <= set(by_name)
    assert any("node" in name for name in by_name)
    taken = by_name[predictor.manifest.graph.recipe]
    assert taken["bytes"] == predictor.manifest.files["model.onnx"]["bytes"] < by_name[FLOAT32]["bytes"] / 2
    assert taken["bytes"] == min(each["bytes"] for each in said["candidates"] if each["verdict"] == "passes")
    for split in ("valid", "test"):
        rows = getattr(data, split).take(torch.arange(len(getattr(data, split))))
        answers = predictor.outputs(rows.inputs.numpy())
        with torch.no_grad():
            known = good_run.student()(rows.inputs).numpy()
        assert said[split]["metrics"]["accuracy"] == float((answers.argmax(1) == rows.labels.numpy()).mean())
        assert said[split]["likeness"]["agreement"] == float((answers.argmax(1) == known.argmax(1)).mean())
        assert said[split]["difference"] == pytest.approx(float(np.abs(answers - known).max()), rel=1e-3)
        if split == "valid":
            assert taken["metric"] == said[split]["metrics"]["accuracy"]
    assert set(said["fresh_process"]) >= {"golden_difference"}


def test_calibration_rows_are_training_rows(shipped: tuple[Path, str], data: Data) -> None:
    said = load(shipped[0]).manifest.calibration
    places = np.linspace(0, len(data.train) - 1, 100).round().astype(int)
    rows = data.train.take(torch.from_numpy(places)).inputs.numpy()
    assert said == {"split": "train", "rows": 100, "sha256": hashlib.sha256(rows.tobytes()).hexdigest()}
    assert len(some(data.valid, 10_000)) == len(data.valid)


@pytest.mark.slow  # each traces a network anew
def test_float32_is_unchanged_where_int8_is_blind(good_run: Run, data: Data, tmp_path: Path) -> None:
    """A real quantiser, calibrated on rows of zeros: the gate refuses what it makes, and `auto` keeps float32."""
    path = tmp_path / "auto.limbeck"
    words: dict[str, Any] = {"only": "static", "data": blind(data), "allowances": PATIENT}
    artifact = limbeck.export(good_run, path, precision="auto", calibrate=1, **words)
    assert (artifact.manifest.graph.precision, artifact.manifest.graph.recipe) == ("float32", "as trained")
    said = artifact.manifest.verification
    assert said["choice"].startswith("float32 stays: no int8 graph keeps metric and likeness; the closest, static")
    refused = [each for each in said["candidates"] if each["recipe"] != FLOAT32]
    assert len(refused) >= 8 and all(each["verdict"] != "passes" for each in refused)
    assert sum("agrees on" in each["verdict"] for each in refused) >= 5
    assert not artifact.manifest.calibration
    with pytest.raises(ModelError, match="no int8 graph keeps metric and likeness; the closest, static"):
        limbeck.export(good_run, tmp_path / "int8.limbeck", precision="int8", calibrate=1, **words)
    assert [each.name for each in tmp_path.iterdir()] == ["auto.limbeck"]


@pytest.mark.slow  # each traces a network anew
def test_test_rows_choose_nothing(good_run: Run, data: Data, tmp_path: Path) -> None:
    """With other test labels the same graph is chosen, byte for byte."""
    rows = data.test
    assert isinstance(rows, TensorRows) and rows.labels is not None
    other = replace(data, test=replace(rows, labels=(rows.labels + 1) % 10))
    words: dict[str, Any] = {"precision": "int8", "only": "weights", "allowances": PATIENT}
    files = [
        limbeck.export(good_run, tmp_path / f"{name}.limbeck", data=given, **words).manifest
        for name, given in (("right", data), ("wrong", other))
    ]
    assert files[0].files == files[1].files
    assert files[0].verification["candidates"][1]["metric"] == files[1].verification["candidates"][1]["metric"]
    assert files[1].verification["test"]["metrics"]["accuracy"] < 0.1


@pytest.mark.slow  # each traces a network anew
def test_dynamic_graphs_answer_rows_one_by_one(good_run: Run, data: Data, tmp_path: Path) -> None:
    """Their scale is one for all rows of a call, so that a row's answer would depend on the rows beside it."""
    words: dict[str, Any] = {"precision": "int8", "only": "dynamic", "allowances": PATIENT}
    artifact = limbeck.export(good_run, tmp_path / "d.limbeck", **words)
    assert artifact.manifest.graph.batch == 1 and artifact.manifest.verification["batch_difference"] == 0.0
    rows = data.valid.take(torch.arange(9)).inputs.numpy()
    predictor = load(artifact.path)
    np.testing.assert_array_equal(predictor.outputs(rows)[3], predictor.outputs(rows[3])[0])


@pytest.mark.slow  # each traces a network anew
def test_a_graph_for_four_rows_has_no_dynamic_candidates(graph: bytes, data: Data, good_run: Run) -> None:
    four = slimmed(onnx_bytes(good_run.student(), data.valid.take(torch.arange(2)).inputs, batch=4))
    rows = some(data.train, 30)
    found = {each.recipe: each for each in Recipes(four, rows, 4).plain()}
    assert not any(name.startswith("dynamic") for name in found) and len(found) == 9
    known = asked(graph, rows)
    for each in found.values():
        assert each.batch == 4 and not each.failed
        said = asked(each.graph, rows)
        assert (said.argmax(1) == known.argmax(1)).mean() > 0.9


def test_training_rows_of_another_shape(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"calibration rows of shape \(5, 7\)"):
        Recipes(onnx_files.linear(tmp_path / "linear.onnx").read_bytes(), np.zeros((5, 7), np.float32), None)


@pytest.mark.slow  # each traces a network anew
def test_the_command_line_shows_every_candidate_and_the_choice(
    good_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--precision", "auto", "--only", "weights", "--slower", "1000", "--calibrate", "20"]
    call("export", str(good_run.folder), "--to", str(tmp_path / "a.limbeck"), *words)
    told = capsys.readouterr()
    said = " ".join(told.out.split())
    assert f"chosen: {WEIGHTS}: the smallest of 1 that pass" in said
    assert "int8 beside float32 on 180 validation rows" in said and "│ float32" in said
    assert "calibrated on 20 training rows" in told.err
