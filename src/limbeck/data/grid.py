"""Readings of several series on one grid of equal steps, each series on its own stretch of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.errors import DataError
from limbeck.recipe import Windows

Floats = npt.NDArray[np.float64]

ALIKE = 0.25
"""Share of a step by which a distance in time may be off and still be that many steps."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where each sorted reading lies on the grid of all groups, one group after the other.

    Args:
        place: The step of each reading.
        group: The group of each step, holes included.
        clock: Seconds of each step, where readings have times.
        every: Seconds between two steps.
        corrections: How many distances were no whole number of steps.
        holes: Steps without a reading, before long ones were shortened.
    """

    place: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    clock: Floats | None
    every: float | None
    corrections: int
    holes: int

    @classmethod
    def of(
        cls, number: npt.NDArray[np.int64], moments: Floats | None, every: float | None, names: list[str], cut: Windows
    ) -> "Grid":
        """Lays out readings that are sorted by group and, within one, by time.

        Args:
            number: The group of each reading.
            moments: Its time in seconds; None where readings follow each other without gaps.
            every: Seconds between two readings.
            names: Of the groups, for messages.
            cut: How windows will be cut, which says how long a hole may matter.

        Raises:
            DataError: When two readings fall on one step.
        """
        first = np.ones(len(number), dtype=bool)
        first[1:] = number[1:] != number[:-1]
        ahead, corrections = np.ones(len(number), dtype=np.int64), 0
        if moments is not None and every is not None:
            distance = np.diff(moments, prepend=moments[:1]) / every
            ahead = np.rint(distance).astype(np.int64)
            close = (ahead < 1) & ~first
            if close.any():
                line = int(np.flatnonzero(close)[0])
                raise DataError(
                    f"{int(close.sum())} readings lie closer together than half of every={every:g} s; the first is of "
                    f"{names[number[line]]!r}, {distance[line] * every:g} s after the one before it",
                    expected="one reading a step",
                    remedy="take the readings that came twice out, or say windows.every",
                )
            corrections = int((np.abs(distance - ahead) > ALIKE)[~first].sum())
        ahead[first] = 1
        holes = int((ahead - 1).sum())
        # A hole that no window can bridge need not be longer than a window (sensors pause for weeks), but whole strides
        # must be taken out of it, so that windows begin where they would have begun.
        longest = max(cut.steps + cut.horizon, cut.fill + 1) + 1
        ahead = np.where(ahead > longest, longest + (ahead - longest) % cut.stride, ahead)
        place = np.cumsum(ahead) - 1
        group = np.full(int(place[-1]) + 1, -1, dtype=np.int64)
        group[place] = number
        # A hole belongs to the group around it; between groups there are none.
        empty = group < 0
        group[empty] = np.maximum.accumulate(np.where(empty, -1, group))[empty]
        clock = None
        if moments is not None:
            clock = np.interp(np.arange(len(group)), place, moments)
        return cls(place, group, clock, every, corrections, holes)

    def laid(self, values: npt.NDArray[Any]) -> Floats:
        """Values of the sorted readings on the grid, NaN in the holes."""
        line = np.full(len(self.group), np.nan)
        line[self.place] = values
        return line

    @cached_property
    def last(self) -> npt.NDArray[np.int64]:
        """For each step, the last step of its group."""
        ends = np.flatnonzero(np.append(self.group[1:] != self.group[:-1], True))
        return ends[np.searchsorted(ends, np.arange(len(self.group)))]

    @cached_property
    def first(self) -> npt.NDArray[np.int64]:
        """For each step, the first step of its group."""
        begins = np.flatnonzero(np.append(True, self.group[1:] != self.group[:-1]))
        return begins[np.searchsorted(begins, np.arange(len(self.group)), side="right") - 1]

    def starts(self, filled: Floats, readings: Floats, cut: Windows) -> npt.NDArray[np.int64]:
        """Where whole windows begin whose last reading is a real one."""
        broken = np.concatenate(([0], np.cumsum(np.isnan(filled).any(axis=0))))
        begin = np.arange(len(self.group))
        begin = begin[(begin - self.first) % cut.stride == 0]
        begin = begin[begin + cut.steps + cut.horizon - 1 <= self.last[begin]]
        whole = broken[begin + cut.steps] == broken[begin]
        real = ~np.isnan(readings[:, begin + cut.steps - 1]).any(axis=0)
        found: npt.NDArray[np.int64] = begin[whole & real]
        return found

    def longest(self, filled: Floats) -> int:
        """Readings in the longest stretch of one group without a gap."""
        good = (~np.isnan(filled)).all(axis=0).astype(int).tolist()
        most, run, owner = 0, 0, -1
        for there, group in zip(good, self.group.tolist(), strict=True):
            run = run + 1 if there and group == owner else there
            owner, most = group, max(most, run)
        return most

    def span(self, starts: npt.NDArray[np.int64], cut: Windows) -> tuple[Floats, Floats]:
        """When each window begins, and when what is forecast from it ends, in seconds."""
        assert self.clock is not None and self.every is not None
        return self.clock[starts], self.clock[starts + cut.steps - 1] + cut.horizon * self.every


def filled_in(line: Floats, grid: Grid, most: int) -> Floats:
    """A channel with holes of up to `most` steps bridged by a straight line, within one group."""
    missing = np.isnan(line)
    if not most or not missing.any():
        return line
    known = np.flatnonzero(~missing)
    bridged = line.copy()
    if not len(known):
        return bridged
    at = np.flatnonzero(missing)
    right = np.searchsorted(known, at)
    inside = (right > 0) & (right < len(known))
    at, right = at[inside], right[inside]
    before, after = known[right - 1], known[right]
    short = (after - before - 1 <= most) & (grid.group[before] == grid.group[after])
    at, before, after = at[short], before[short], after[short]
    share = (at - before) / (after - before)
    bridged[at] = line[before] * (1 - share) + line[after] * share
    return bridged
