"""From readings in time to rows: windows that never cross a gap, a group or a split.

Readings are put on a grid of equal steps, each group (person, machine) on its own: between two neighbours lie as many
steps as their distance in time comes nearest to, so that a clock that runs a little fast or slow makes no gaps. A
step without a reading is a hole. Short holes may be filled in the inputs by a straight line between their neighbours;
a window's last reading is always a real one, because the line to a later reading would tell the future. What is to be
forecast is never filled.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from limbeck.data.grid import ALIKE, Floats, Grid, filled_in
from limbeck.data.raw import Raw
from limbeck.errors import DataError, did_you_mean
from limbeck.recipe import Columns, DataSpec, Windows
from limbeck.task import LabelKind

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class WindowInputs:
    """Windows of series that are kept once, however much the windows overlap; keeps the protocol `Inputs`.

    Args:
        series: All groups one after the other, on their grids; NaN where there is no reading.
        starts: Where each window begins.
        steps: Readings in a window.
    """

    series: Float[Tensor, "channels readings"]
    starts: Int[Tensor, " rows"]
    steps: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, channels, steps)."""
        return len(self.starts), self.series.shape[0], self.steps

    @property
    def dtype(self) -> torch.dtype:
        """That of the series: float32."""
        return self.series.dtype

    def take(self, positions: Int[Tensor, " taken"]) -> Float[Tensor, "taken channels steps"]:
        """The windows at these positions."""
        at = self.starts[positions][:, None] + torch.arange(self.steps)
        return self.series[:, at].transpose(0, 1).contiguous()

    def select(self, positions: Int[Tensor, " taken"]) -> "WindowInputs":
        """The windows at these positions, over the same series."""
        return WindowInputs(self.series, self.starts[positions], self.steps)

    def digest(self) -> str:
        """A hash of the windows' content in order."""
        import hashlib

        found = hashlib.sha256()
        for first in range(0, len(self.starts), _BLOCK):
            block = self.take(torch.arange(first, min(first + _BLOCK, len(self.starts))))
            found.update(block.reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()


def seconds(text: str) -> float:
    """A duration such as "5m", "0.01s" or "250ms" in seconds.

    Raises:
        DataError: When it is none, or not above 0.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text)
    if found is None or found[2] not in _SECONDS or float(found[1]) <= 0:
        raise DataError(f"every={text!r} is no time between readings", expected="such as 5m, 0.01s or 250ms")
    return float(found[1]) * _SECONDS[found[2]]


def windowed(
    table: Mapping[str, npt.NDArray[Any]], spec: DataSpec, labels: LabelKind, *, name: str = "series", origin: str = ""
) -> Raw:
    """Cuts the columns of a table, one reading a line, into windows.

    Args:
        table: Columns by name, all of one length; lines may come in any order where there is a time column.
        spec: Its `columns` say which column means what, its `windows` how to cut.
        labels: How the task reads labels; with a horizon they are the values to come.
        name: What to call the data.
        origin: Where it was read.

    Returns:
        Rows of shape (channels, steps), with their groups and times; `facts` say how they were cut.

    Raises:
        DataError: When a column is missing or no number, times are missing or twice, groups have different sampling
            rates, or no series is long enough for a window.
    """
    assert spec.windows is not None
    columns, cut = spec.columns, spec.windows
    channels = _channels(table, columns)
    laid = _Laid.of(table, columns, channels, cut)
    grid, order, readings, filled, names = laid.grid, laid.order, laid.readings, laid.filled, laid.names
    starts = grid.starts(filled, readings, cut)
    targets, said = _targets(table, columns, cut, channels, labels, grid, order, readings, starts)
    keep = said.any(axis=1) if said is not None else np.ones(len(starts), dtype=bool)
    starts, targets = starts[keep], None if targets is None else targets[keep]
    if not len(starts):
        raise DataError(
            f"no series is long enough: the longest stretch without a gap has {grid.longest(filled)} readings",
            expected=f"at least {cut.steps + cut.horizon}: windows.steps + windows.horizon",
            remedy="fewer steps, or windows.fill to bridge short holes",
        )
    owner = grid.group[starts]
    times = {} if columns.time is None else {"train": grid.span(starts, cut)}
    return Raw(
        name,
        (laid.windows(starts, cut.steps), targets),
        classes=tuple(f"+{step}" for step in range(1, cut.horizon + 1)) if cut.horizon else None,
        origin=origin,
        groups={} if columns.group is None else {"train": names[owner]},
        times=times,
        facts={"windows": _facts(cut, channels, grid, names, owner, len(order))},
    )


def unlabelled(
    table: Mapping[str, npt.NDArray[Any]], columns: Columns, cut: Windows
) -> tuple[WindowInputs, npt.NDArray[np.int64]]:
    """Cuts every window of a table as `windowed` does, also those after which nothing was read yet.

    Args:
        table: Columns by name, all of one length.
        columns: Its inputs are named, in the order of the channels.
        cut: How; its horizon and target say nothing here.

    Returns:
        The windows, by group and time; and for each the line of the table that holds its last reading.

    Raises:
        DataError: As `windowed` does; when there is no window, with the number of readings there are and are needed.
    """
    cut = cut.model_copy(update={"horizon": 0})
    laid = _Laid.of(table, columns, columns.inputs, cut)
    starts = laid.grid.starts(laid.filled, laid.readings, cut)
    if not len(starts):
        later = f", that begins a multiple of {cut.stride} steps after its series" if cut.stride > 1 else ""
        raise DataError(
            f"no series is long enough: the longest stretch without a gap has {laid.grid.longest(laid.filled)} of "
            f"{len(laid.order)} readings",
            expected=f"a stretch of {cut.steps} readings, which is one window{later}",
            remedy=f"a longer series; holes of up to {cut.fill} readings are bridged, longer ones are gaps",
        )
    lines = np.full(len(laid.grid.group), -1, dtype=np.int64)
    lines[laid.grid.place] = laid.order
    return laid.windows(starts, cut.steps), lines[starts + cut.steps - 1]


@dataclass(frozen=True, eq=False)
class _Laid:
    """A table on its grid.

    Args:
        grid: Where the readings lie.
        order: Lines of the table in the order of the grid.
        names: Of the groups, by their number.
        readings: Channels on the grid, NaN where nothing was read.
        filled: The same with short holes bridged.
    """

    grid: Grid
    order: npt.NDArray[np.int64]
    names: npt.NDArray[Any]
    readings: Floats
    filled: Floats

    @classmethod
    def of(
        cls, table: Mapping[str, npt.NDArray[Any]], columns: Columns, channels: tuple[str, ...], cut: Windows
    ) -> "_Laid":
        """Lays these channels of a table out."""
        groups = _groups(table, columns)
        moments = None if columns.time is None else _times(_column(table, columns.time), columns.time)
        order = _order(groups, moments)
        names, number = np.unique(groups[order], return_inverse=True)
        sorted_moments = None if moments is None else moments[order]
        every = _every(number, sorted_moments, names, cut)
        grid = Grid.of(number, sorted_moments, every, [str(name) for name in names], cut)
        readings = np.stack([grid.laid(_numbers(_column(table, channel), channel)[order]) for channel in channels])
        filled = np.stack([filled_in(channel, grid, cut.fill) for channel in readings])
        return cls(grid, order, names, readings, filled)

    def windows(self, starts: npt.NDArray[np.int64], steps: int) -> WindowInputs:
        """The windows that begin there."""
        return WindowInputs(torch.from_numpy(self.filled.astype(np.float32)), torch.from_numpy(starts), steps)


def _facts(
    cut: Windows,
    channels: tuple[str, ...],
    grid: Grid,
    names: npt.NDArray[Any],
    owner: npt.NDArray[np.int64],
    lines: int,
) -> dict[str, Any]:
    """What a report, and whoever runs the student on a trace, must know of the windows."""
    empty = sorted(set(range(len(names))) - set(owner.tolist()))
    return {
        "steps": cut.steps,
        "stride": cut.stride,
        "horizon": cut.horizon,
        "every_seconds": grid.every,
        "fill": cut.fill,
        "channels": list(channels),
        "target": _target(cut, channels) if cut.horizon else None,
        "readings": lines,
        "steps_without_reading": grid.holes,
        "series": len(names),
        "too_short": [str(names[number]) for number in empty],
        "clock_corrections": grid.corrections,
    }


def _targets(
    table: Mapping[str, npt.NDArray[Any]],
    columns: Columns,
    cut: Windows,
    channels: tuple[str, ...],
    labels: LabelKind,
    grid: Grid,
    order: npt.NDArray[np.int64],
    readings: Floats,
    starts: npt.NDArray[np.int64],
) -> tuple[Any, npt.NDArray[np.bool_] | None]:
    """The label of each window, and where a forecast has something to be held against."""
    if cut.horizon:
        ahead = starts[:, None] + cut.steps + np.arange(cut.horizon)
        values = readings[channels.index(_target(cut, channels))][ahead]
        return values.astype(np.float32), ~np.isnan(values)
    if not columns.label:
        return None, None
    laid = [_laid_label(_column(table, label)[order], grid) for label in columns.label]
    last = starts + cut.steps - 1
    if labels == "steps":
        return laid[0][starts[:, None] + np.arange(cut.steps)], None
    if labels == "single":
        return laid[0][last], None
    return np.stack([line[last] for line in laid], axis=1), None


def _laid_label(values: npt.NDArray[Any], grid: Grid) -> npt.NDArray[Any]:
    if values.dtype.kind == "f":
        return grid.laid(values)
    line = np.full(len(grid.group), None, dtype=object)
    line[grid.place] = values
    return line


def _target(cut: Windows, channels: tuple[str, ...]) -> str:
    if cut.target is None and len(channels) > 1:
        raise DataError(
            f"there are {len(channels)} input columns, and windows.target does not say which one to forecast",
            expected=f"one of {', '.join(channels)}",
        )
    target = cut.target or channels[0]
    if target not in channels:
        raise DataError(f"windows.target {target!r} is no input column", remedy=did_you_mean(target, channels))
    return target


def _channels(table: Mapping[str, npt.NDArray[Any]], columns: Columns) -> tuple[str, ...]:
    other = {*columns.label, columns.group, columns.time}
    found = columns.inputs or tuple(name for name, values in table.items() if name not in other and _numeric(values))
    if not found:
        raise DataError("the table has no numeric column for the windows", remedy="columns: {inputs: [NAME, ...]}")
    for name in found:
        _column(table, name)
    return found


def _numeric(values: npt.NDArray[Any]) -> bool:
    return values.dtype.kind in "iuf"


def _column(table: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    if name not in table:
        raise DataError(
            f"there is no column {name!r}",
            expected=f"one of {', '.join(list(table)[:12])}",
            remedy=did_you_mean(name, list(table)),
        )
    return table[name]


def _numbers(values: npt.NDArray[Any], name: str) -> Floats:
    if not _numeric(values):
        raise DataError(f"the column {name!r} holds {values.dtype}, no numbers", expected="readings, NaN for a hole")
    found = values.astype(np.float64)
    if np.isinf(found).any():
        raise DataError(f"the column {name!r} is infinite in line {int(np.isinf(found).argmax())}", expected="readings")
    return found


def _groups(table: Mapping[str, npt.NDArray[Any]], columns: Columns) -> npt.NDArray[Any]:
    if columns.group is None:
        return np.zeros(len(next(iter(table.values()))), dtype=np.int64)
    return _column(table, columns.group).astype(str)


def _times(values: npt.NDArray[Any], name: str) -> Floats:
    """Seconds from any moment on."""
    if values.dtype.kind == "M":
        missing = np.isnat(values)
        found = values.astype("datetime64[us]").astype(np.int64) / 1e6
    elif _numeric(values):
        found = values.astype(np.float64)
        missing = ~np.isfinite(found)
    else:
        raise DataError(f"the time column {name!r} holds {values.dtype}", expected="seconds, or dates and times")
    if missing.any():
        raise DataError(f"{int(missing.sum())} times are missing; the first in line {int(missing.argmax())}")
    return np.asarray(found, dtype=np.float64)


def _order(groups: npt.NDArray[Any], moments: Floats | None) -> npt.NDArray[np.int64]:
    """Lines by group and, within one, by time; lines keep their order where there is no time."""
    if moments is None:
        return np.argsort(groups, kind="stable")
    return np.lexsort((moments, groups))


def _every(
    number: npt.NDArray[np.int64], moments: Floats | None, names: npt.NDArray[Any], cut: Windows
) -> float | None:
    """The time between two readings; refuses groups that were sampled at another rate."""
    if moments is None:
        return None if cut.every is None else seconds(cut.every)
    medians = {}
    for group, name in enumerate(names):
        distance = np.diff(moments[number == group])
        if len(distance):
            medians[str(name)] = float(np.median(distance))
    if not medians and cut.every is None:
        raise DataError("no series has two readings", expected="series of at least two readings")
    every = float(np.median(list(medians.values()))) if cut.every is None else seconds(cut.every)
    other = {name: median for name, median in medians.items() if abs(median - every) > ALIKE * every}
    if other:
        raise _rates(other, len(medians), every, cut)
    return every


def _rates(other: dict[str, float], series: int, every: float, cut: Windows) -> DataError:
    """The refusal of series that were not sampled every so many seconds."""
    few = ", ".join(f"{name} every {median:g} s" for name, median in list(other.items())[:3])
    few += ", ..." if len(other) > 3 else ""
    if len(other) == series and max(other.values()) <= (1 + ALIKE) * min(other.values()):
        rate = float(np.median(list(other.values())))
        return DataError(
            f"windows have a reading every {every:g} s, and the series one every {rate:g} s ({few})",
            expected="the windows' rate",
            remedy=f"resample the table; or, in a recipe, windows: {{every: {rate:g}s}}, or leave it out",
        )
    rest = f"the others every {every:g} s" if cut.every is None else f"windows have a reading every {every:g} s"
    return DataError(
        f"{len(other)} of {series} series have different sampling rates: {few}; {rest}",
        expected="one rate",
        remedy="resample those series, or leave them out of the table; each rate can be a data set of its own",
    )
