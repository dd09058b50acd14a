"""A series to ask a run about: a table of readings, cut into the windows the run was trained on, without labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.forms import tables
from limbeck.data.forms.columns import Block, form
from limbeck.data.unreadable import Unreadable
from limbeck.data.windows import WindowInputs, unlabelled
from limbeck.errors import DataError, did_you_mean
from limbeck.recipe import Columns, DataSpec

# A name that no column of a person's table bears.
_SPELT = "\0time"


@dataclass(frozen=True, eq=False)
class Trace:
    """Windows, and where each of them ends.

    Args:
        inputs: The windows, by group and time.
        places: For each window the group, where the data has groups, and the time of its last reading as the table
            says it (a number, or text); the line of the last reading, from 0, where the data has no times.
        unread: Lines that could not be read and were left out.
    """

    inputs: WindowInputs
    places: list[dict[str, Any]]
    unread: int


def read(source: Path | Mapping[str, Any], spec: DataSpec) -> Trace:
    """Reads a trace and cuts it.

    Args:
        source: A table's file, or columns by name.
        spec: Of the run: its windows, and its columns with all inputs named and no label.

    Raises:
        DataError: When a column is missing, something cannot be read, or no series is as long as a window.
    """
    cut = spec.windows
    assert cut is not None
    origin = str(source) if isinstance(source, Path) else "the trace"
    lost = Unreadable(spec.unreadable)
    blocks = [_held(source)] if isinstance(source, Mapping) else list(tables.reader([source])(lost))
    if not blocks or not len(blocks[0]):
        raise DataError(f"{origin} holds no reading", expected="a table with a line of names and readings below it")
    _refuse_missing(blocks[0], spec.columns, origin)
    time = spec.columns.time
    if time is not None:
        # As it is written too: who gave dates must not be answered with seconds since 1970.
        blocks = [Block({**block.columns, _SPELT: block.column(time)}, block.where, block.typed) for block in blocks]
        spec = spec.model_copy(update={"columns": spec.columns.model_copy(update={"label": (_SPELT,)})})
    table = tables.whole(blocks, spec, "single", lost)
    readings = len(table[spec.columns.inputs[0]])
    lost.check(readings)
    inputs, lines = unlabelled(table, spec.columns, cut)
    said: dict[str, list[Any]] = {}
    if spec.columns.group is not None:
        said["group"] = [str(name) for name in table[spec.columns.group][lines]]
    if time is None:
        said["line"] = lines.tolist()
    elif form(blocks[0].column(time), typed=blocks[0].typed) == "numbers":
        said["time"] = [_short(moment) for moment in table[time][lines].tolist()]
    else:
        said["time"] = [str(word) for word in table[_SPELT][lines].tolist()]
    places = [dict(zip(said, values, strict=True)) for values in zip(*said.values(), strict=True)]
    return Trace(inputs, places, lost.count)


def _refuse_missing(block: Block, columns: Columns, origin: str) -> None:
    """Refuses a table without a column that the run's data had, and says what it was there."""
    meant = dict.fromkeys(columns.inputs, "readings") | {columns.group: "group", columns.time: "time"}
    known = list(block.columns)
    for name, what in meant.items():
        if name is not None and name not in block.columns:
            raise DataError(
                f"{origin} has no column {name!r}, which held the {what} of the data the run was trained on",
                expected=f"the columns {', '.join(str(one) for one in meant if one is not None)}",
                remedy=did_you_mean(name, known),
            )


def _held(columns: Mapping[str, Any]) -> Block:
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    lengths = {name: len(array) if array.ndim == 1 else f"shape {array.shape}" for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or any(array.ndim != 1 for array in arrays.values()):
        raise DataError(f"the columns of the trace differ in length: {lengths}", expected="one value for each reading")
    # Python's own moments: finer ones would be listed as whole numbers.
    dated = {name: array.astype("datetime64[us]") for name, array in arrays.items() if array.dtype.kind == "M"}
    return Block({**arrays, **dated}, lambda place: f"line {place}")


def _short(moment: float) -> float | int:
    return int(moment) if moment.is_integer() else moment
