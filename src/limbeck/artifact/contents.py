"""The manifest of a run's artifact and its golden rows: what a device must know of rows, outputs and their origin."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.artifact.graph import INPUT, OUTPUT
from limbeck.data.source import Data
from limbeck.errors import DataError, ModelError
from limbeck.measures.complexity import cost
from limbeck.model import Model
from limbeck.records import RunRecord
from limbeck.task import Task
from limbeck_runtime.decoding import decoder
from limbeck_runtime.manifest import FORMAT, SCHEMA, Array, File, Golden, Graph, Input, Manifest, Output

GRAPH = "model.onnx"
GOLDEN_INPUTS, GOLDEN_OUTPUTS = "golden/inputs.bin", "golden/outputs.bin"
FEWEST_GOLDEN, MOST_GOLDEN, GOLDEN_BYTES = 4, 16, 2**15
"""So many of each kind: as many as these bytes hold, within the two bounds."""

RANGE_ROWS = 4096
"""So many validation rows say between which numbers raw rows lie."""

# The largest difference on the golden rows that is the same answer, as a share of the greatest number in the answers.
# float32: sums of some thousand products in another order. int8: processors with and without VNNI saturate otherwise.
TOLERANCE = {"float32": 1e-4, "int8": 5e-2}
_KINDS = {1: "row", 2: "series", 3: "image"}


def golden_rows(data: Data) -> npt.NDArray[Any]:
    """Rows that are nobody's, half like the data and half unlike it.

    In the first half each number is one that stood at its place in some validation row, drawn for itself. In the second
    each is drawn evenly between the least and the greatest of all, so that no weight of the first layer goes unused.
    The draws follow from the number of rows alone: the same data gives the same golden rows.
    """
    rows = _some(data, RANGE_ROWS)
    flat, draw = rows.reshape(len(rows), -1), np.random.default_rng(len(rows))
    size = (min(MOST_GOLDEN, max(FEWEST_GOLDEN, GOLDEN_BYTES // flat[0].nbytes)), flat.shape[1])
    alike = np.take_along_axis(flat, draw.integers(len(rows), size=size), axis=0)
    unlike = flat.min() + (flat.max() - flat.min()) * draw.random(size)
    both = np.concatenate([alike, unlike.astype(rows.dtype)])
    return np.ascontiguousarray(both.reshape(2 * size[0], *rows.shape[1:]))


def input_of(data: Data, units: Sequence[str] = ()) -> Input:
    """What a raw row is.

    Args:
        data: Of the run.
        units: Of the channels of a series or the numbers of a row, where a person knows them; one stands for all.

    Raises:
        DataError: When rows are of a type no artifact takes, or there are more units than channels.
    """
    rows = _some(data, RANGE_ROWS)
    names = tuple(map(str, data.facts.get("windows", {}).get("channels", ())))
    if len(units) > 1 and len(units) != rows.shape[1]:
        raise DataError(f"{len(units)} units for {rows.shape[1]} channels", expected="one for all, or one for each")
    said = tuple(units) * (rows.shape[1] if len(units) == 1 else 1)
    low, high = float(rows.min()), float(rows.max())
    return Input(str(rows.dtype), rows.shape[1:], _KINDS.get(rows.ndim - 1, "row"), names, said, low, high)


def stream_of(data: Data, units: Sequence[str]) -> Mapping[str, Any] | None:
    """How readings become rows, as the data was cut; None where rows are no windows of a series."""
    cut = data.facts.get("windows")
    if cut is None:
        return None
    said = {name: cut[name] for name in ("channels", "every_seconds", "steps", "stride", "fill", "horizon", "target")}
    return {**said, "units": list(units)}


def reading_of(task: Task, data: Data) -> Mapping[str, object]:
    """How outputs are read.

    Raises:
        ModelError: When the task's outputs are none a device reads, as those of a language model.
    """
    found = task.reading(data.classes)
    if found is None:
        raise ModelError(
            f"a student of the task {task.name} is not exported: it generates",
            expected="a task whose outputs are read off",
            remedy="the run's folder transformers/ is what generating runtimes load",
        )
    return found


def provenance(record: RunRecord, model: Model, data: Data, licences: Sequence[str]) -> dict[str, Any]:
    """Where a student comes from: recipe, teacher, data, licences as a person noted them, size, and versions."""
    row = torch.from_numpy(_some(data, 1))
    teacher = record.recipe.get("teacher")
    return {
        "limbeck": version("limbeck"),
        "torch": torch.__version__,
        "recipe": dict(record.recipe),
        "seed": record.chosen_seed,
        "teacher": None if teacher is None else {"text": str(teacher), "scores": _metrics(record)},
        "data": {"name": data.name, "fingerprint": data.fingerprint, "classes": len(data.classes)},
        "licences": list(licences),
        "student": {"fingerprint": model.fingerprint(), **cost(model, row)},
        "seconds": dict(record.seconds),
    }


def manifest(
    *,
    record: RunRecord,
    data: Data,
    task: Task,
    graph: bytes,
    precision: str,
    recipe: str,
    batch: int | None,
    golden: tuple[npt.NDArray[Any], npt.NDArray[np.float32]],
    facts: Mapping[str, Any],
    units: Sequence[str] = (),
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of an artifact, and the files it describes.

    Args:
        record: Of the run.
        data: Of the run.
        task: Of the run.
        graph: ONNX bytes.
        precision: `float32` or `int8`.
        recipe: How the graph came to that precision.
        batch: How many rows it takes at a time; None: any number.
        golden: Rows, and what the graph says about them.
        facts: The fields `calibration`, `provenance`, `verification`, `alerts` and `escalation`, where there are any.
        units: Of the input's channels.
    """
    inputs, outputs = golden
    files = {GRAPH: graph, GOLDEN_INPUTS: _bytes(inputs), GOLDEN_OUTPUTS: _bytes(outputs)}
    largest = max(1.0, float(np.abs(outputs).max()))
    row, reading = input_of(data, units), reading_of(task, data)
    said = Manifest(
        format=FORMAT,
        schema=SCHEMA,
        name=record.name,
        task=record.task,
        graph=Graph(GRAPH, INPUT, OUTPUT, precision, recipe, batch),
        input=row,
        output=Output(outputs.shape[1:], reading),
        golden=Golden(
            Array(GOLDEN_INPUTS, str(inputs.dtype), inputs.shape),
            Array(GOLDEN_OUTPUTS, str(outputs.dtype), outputs.shape),
            tuple(decoder(reading, outputs.shape[1:])(outputs)),
            TOLERANCE[precision] * largest,
        ),
        files={name: asdict(File(len(each), hashlib.sha256(each).hexdigest())) for name, each in files.items()},
        stream=stream_of(data, row.units),
        **facts,
    )
    return said, files


def _metrics(record: RunRecord) -> dict[str, float]:
    return {} if record.teacher is None else dict(record.teacher.metrics)


def _some(data: Data, count: int) -> npt.NDArray[Any]:
    """Validation rows, raw, spread evenly over the split."""
    places = torch.linspace(0, len(data.valid) - 1, min(count, len(data.valid))).long()
    return data.valid.take(places).inputs.numpy()


def _bytes(numbers: npt.NDArray[Any]) -> bytes:
    return numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()
