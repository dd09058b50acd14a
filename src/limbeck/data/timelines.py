"""Rows of a split in the order in which a device would have met them, record by record."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.errors import DataError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """The rows of one record (a person, a patient, a machine).

    Args:
        name: Of the record.
        positions: Where its rows lie in the split, in the order of time.
        times: When each of them is whole, so that it can be answered, in seconds.
    """

    name: str
    positions: npt.NDArray[np.int64]
    times: Floats

    def watched(self, stale: float) -> float:
        """Seconds in which there was data: an answer counts until the next, or `stale` seconds; 0 is for ever."""
        ahead = np.diff(self.times)
        return float((np.minimum(ahead, stale) if stale else ahead).sum())


def timelines(data: Data, split: str) -> list[Timeline]:
    """The records of a split.

    Raises:
        DataError: When the rows have no times, are answered twice at one time, or were drawn at random so that what
            lies between them is in another split.
    """
    rows: TensorRows = getattr(data, split)
    if data.times is None:
        raise DataError(
            f"the rows of {data.name} have no times",
            expected="data that says when each row was: columns: {time: NAME}",
            remedy="alerts are counted a day, so that somebody must know how long a day is",
        )
    ends, owner = _ends(data, rows)
    found = []
    for number in np.unique(owner).tolist():
        mine = np.flatnonzero(owner == number)
        mine = mine[np.argsort(ends[mine], kind="stable")]
        name = data.groups[number] if rows.groups is not None else data.name
        found.append(Timeline(name, mine, ends[mine]))
        if (np.diff(ends[mine]) <= 0).any():
            raise DataError(f"two rows of {name} end at one time", expected="a row at a time in each record")
        _refuse_scattered(data, split, number, found[-1])
    return found


def _ends(data: Data, rows: TensorRows) -> tuple[Floats, npt.NDArray[np.int64]]:
    """When each row is whole, and the number of its record."""
    assert data.times is not None
    windows = data.facts.get("windows")
    ends = data.times[1][rows.ids].numpy()
    if windows is not None and windows["every_seconds"]:
        ends = ends - windows["horizon"] * windows["every_seconds"]
    return ends, np.zeros(len(rows), np.int64) if rows.groups is None else rows.groups.numpy()


def _refuse_scattered(data: Data, split: str, number: int, line: Timeline) -> None:
    """Refuses a record of which other splits hold rows in between, which are not there to be met."""
    for name, rows in data.splits().items():
        ends, owner = _ends(data, rows)
        inside = (owner == number) & (ends > line.times[0]) & (ends < line.times[-1])
        if name != split and inside.any():
            raise DataError(
                f"rows of other splits lie between those of {line.name}: {int(inside.sum())} of {name}",
                expected="whole records, or whole stretches of them, in one split",
                remedy="data: {split: groups}, or {split: time}",
            )


def readings(data: Data, split: str, line: Timeline, channel: int) -> tuple[Floats, Floats]:
    """What was read in a record, each reading once, as (times in seconds, values): from its windows and their labels.

    Args:
        data: Windows of series; where a horizon is forecast, labels are the readings to come.
        split: Of the rows.
        line: The record.
        channel: Which one.
    """
    windows, rows = data.facts["windows"], getattr(data, split)
    every, steps, horizon = windows["every_seconds"], windows["steps"], windows["horizon"]
    piece = rows.take(torch.from_numpy(line.positions))
    values = piece.inputs[:, channel].double().numpy()
    ahead = None if not horizon or piece.labels is None else piece.labels.double().numpy()
    times: list[float] = []
    read: list[float] = []
    for row, end in enumerate(line.times):
        last = times[-1] if times else -np.inf
        new = [place for place in range(steps) if end - (steps - 1 - place) * every > last + every / 2]
        times += [end - (steps - 1 - place) * every for place in new]
        read += values[row, new].tolist()
        if ahead is None:
            continue
        following = line.times[row + 1] - (steps - 1) * every if row + 1 < len(line.times) else np.inf
        for place in range(horizon):
            moment = end + (place + 1) * every
            if moment < following - every / 2:
                times.append(moment)
                read.append(ahead[row, place])
    there = np.isfinite(read)
    return np.asarray(times)[there], np.asarray(read)[there]
