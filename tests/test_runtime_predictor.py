"""A predictor: what it takes, what it refuses, and that it reads outputs as the tasks of Limbeck do."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import small_artifacts
import torch

from limbeck.tasks.classification import Classification
from limbeck.tasks.forecasting import Forecasting
from limbeck.tasks.multilabel import Multilabel
from limbeck.tasks.regression import Regression
from limbeck.tasks.sequence import SequenceLabels
from limbeck_runtime import InputError, Predictor, load
from limbeck_runtime.container import unsealed
from limbeck_runtime.decoding import decoder

ROWS = np.random.default_rng(3).standard_normal((5, 8)).astype(np.float32)


def by_hand(path: Path, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(unsealed(path)["model.onnx"], providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": rows})[0])


def test_outputs_are_the_graphs(tmp_path: Path) -> None:
    path = small_artifacts.made(tmp_path)
    predictor = load(path)
    assert isinstance(predictor, Predictor)
    for count in (5, 1, 3, 5, 2, 4, 1):  # more numbers of rows than buffers are kept for, and some again
        np.testing.assert_array_equal(predictor.outputs(ROWS[:count]), by_hand(path, ROWS[:count]))
    np.testing.assert_array_equal(predictor.outputs(ROWS[0]), by_hand(path, ROWS[:1]))


def test_earlier_outputs_stay_what_they_were(tmp_path: Path) -> None:
    predictor = load(small_artifacts.made(tmp_path))
    first = predictor.outputs(ROWS[:1])
    kept = first.copy()
    predictor.outputs(ROWS[1:2])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_graph_for_some_rows_at_a_time_answers_any_number(tmp_path: Path, batch: int) -> None:
    free = small_artifacts.made(tmp_path, name="free")
    fixed = small_artifacts.made(
        tmp_path, name="fixed", graph=small_artifacts.linear(tmp_path, rows=batch), batch=batch
    )
    for count in (1, 2, 3, 5):
        said = load(fixed).outputs(ROWS[:count])
        np.testing.assert_allclose(said, load(free).outputs(ROWS[:count]), atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.zeros((2, 7), np.float32), "shape"),
        (np.zeros((0, 8), np.float32), "no rows"),
        (np.zeros((1, 1, 8), np.float32), "shape"),
        (np.full((1, 8), np.nan, np.float32), "NaN"),
        (np.full((1, 8), np.inf), "infinity"),
        (np.full((1, 8), 1e300), "cannot hold"),
        (np.array([["a"] * 8]), "type"),
        (np.zeros((1, 8), complex), "type"),
        (np.zeros((1, 8), object), "type"),
    ],
)
def test_rows_that_are_none_are_refused(tmp_path: Path, rows: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load(small_artifacts.made(tmp_path)).outputs(rows)


def test_bytes_never_wrap(tmp_path: Path) -> None:
    predictor = load(small_artifacts.made(tmp_path, dtype="uint8"))
    whole = np.arange(8)
    np.testing.assert_array_equal(predictor.outputs(whole), predictor.outputs(whole.astype(np.uint8)))
    np.testing.assert_array_equal(predictor.outputs(whole.astype(float)), predictor.outputs(whole.astype(np.uint8)))
    for rows in (whole + 250, whole - 1, whole + 0.5):
        with pytest.raises(InputError):
            predictor.outputs(rows)


def test_threads_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="threads=0"):
        load(small_artifacts.made(tmp_path), threads=0)


CASES: list[tuple[Any, tuple[str, ...], tuple[int, ...]]] = [
    (Classification(), ("a", "b", "c", "d", "e", "f", "g"), (7,)),
    (Classification(), ("a", "b"), (2,)),
    (Multilabel(), ("a", "b", "c", "d", "e", "f"), (6,)),
    (SequenceLabels(), ("a", "b", "c"), (9, 3)),
    (Regression(), ("x", "y"), (2,)),
    (Forecasting(horizon=3), ("+1", "+2", "+3"), (3,)),
    (Forecasting(horizon=2, below=70), ("+1", "+2"), (3,)),
    (Forecasting(horizon=2, above=3, quantiles=(0.1, 0.5, 0.9)), ("+1", "+2"), (7,)),
    (Forecasting(horizon=2, quantiles=(0.25, 0.5)), ("+1", "+2"), (4,)),
]


def alike(said: Any, known: Any) -> bool:
    if isinstance(known, dict):
        return isinstance(said, dict) and list(said) == list(known) and all(alike(said[k], known[k]) for k in known)
    if isinstance(known, list):
        return len(said) == len(known) and all(alike(s, k) for s, k in zip(said, known, strict=True))
    return said == pytest.approx(known, rel=1e-5, abs=1e-7) if isinstance(known, float) else bool(said == known)


@pytest.mark.parametrize(("task", "classes", "shape"), CASES, ids=[repr(case[0]) for case in CASES])
def test_a_device_reads_outputs_as_the_task_does(task: Any, classes: tuple[str, ...], shape: tuple[int, ...]) -> None:
    outputs = 3 * torch.randn(11, *shape, generator=torch.Generator().manual_seed(2))
    reading = json.loads(json.dumps(task.reading(classes)))
    said, known = decoder(reading, shape)(outputs.numpy()), task.decode(outputs, classes)
    assert len(said) == len(known) == 11
    for mine, theirs in zip(said, known, strict=True):
        assert alike(mine, dict(theirs)), (mine, theirs)


def test_extreme_logits_give_probabilities() -> None:
    for kind in ("class", "classes"):
        said = decoder({"kind": kind, "names": ["a", "b"]}, (2,))(np.array([[3e38, -3e38]], np.float32))
        assert said[0]["likeliest"] == {"a": 1.0, "b": 0.0}


FRESH = """
import json, sys
import limbeck_runtime
predictor = limbeck_runtime.load(sys.argv[1])
predictor([[0.0] * 8])
beside = ("torch", "limbeck", "socket", "ssl", "multiprocessing", "asyncio", "http", "urllib.request", "onnx", "scipy")
print(json.dumps([name for name in beside if name in sys.modules]))
"""


def test_a_fresh_process_has_neither_torch_nor_a_socket(tmp_path: Path) -> None:
    path = small_artifacts.made(tmp_path)
    done = subprocess.run([sys.executable, "-c", FRESH, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_module_answers_rows_from_a_file(tmp_path: Path) -> None:
    path = small_artifacts.made(tmp_path)
    np.save(tmp_path / "rows.npy", ROWS)
    command = [sys.executable, "-m", "limbeck_runtime", str(path)]
    done = subprocess.run([*command, str(tmp_path / "rows.npy")], capture_output=True, text=True, check=True)
    assert [answer["class"] for answer in json.loads(done.stdout)["answers"]] == [
        answer["class"] for answer in load(path)(ROWS)
    ]
    path.write_bytes(path.read_bytes()[:-1])
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 3
    assert "damaged" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_runtime_is_under_a_megabyte() -> None:
    import limbeck_runtime

    files = Path(limbeck_runtime.__file__).parent.rglob("*.py")
    assert sum(file.stat().st_size for file in files) < 1_000_000
