"""What happened in the records of a split: episodes of readings beyond a limit, or of rows of some classes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from limbeck.catalog.tasks import task as find_task
from limbeck.data.source import Data
from limbeck.data.timelines import Timeline, readings
from limbeck.data.windows import seconds
from limbeck.errors import RecipeError, did_you_mean
from limbeck.metrics.episodes import Episode, stretches
from limbeck_runtime.manifest import Manifest

_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(hour|day|week)\s*")
_DAYS = {"hour": 1 / 24, "day": 1.0, "week": 7.0}


@dataclass(frozen=True)
class Happening:
    """What an episode is, and when an alarm is right for it.

    Args:
        below: Readings under this number, in the unit of the data.
        above: Readings over this number.
        classes: Rows of these classes.
        lasting: Seconds that an episode lasts at least.
        apart: Two episodes with fewer seconds between them are one.
        ahead: Seconds before an episode from which on an alarm is right.
        late: Seconds after its end until which it is.
        within: Seconds after an episode began until which an alarm catches it; None: as long as it is right.
    """

    below: float | None = None
    above: float | None = None
    classes: tuple[str, ...] = ()
    lasting: float = 0.0
    apart: float = 0.0
    ahead: float = 0.0
    late: float = 0.0
    within: float | None = None

    def __post_init__(self) -> None:
        if sum(given for given in (self.below is not None, self.above is not None, bool(self.classes))) != 1:
            raise RecipeError(
                "it is not said what an episode is, or more than once",
                expected="below a number, above one, or some classes",
                remedy="--below 70, or --event V,F",
            )

    def episodes(self, data: Data, split: str, lines: Sequence[Timeline]) -> list[list[Episode]]:
        """The episodes of each record."""
        if self.classes:
            return [self._of_classes(data, split, line) for line in lines]
        windows = data.facts.get("windows")
        if windows is None or not windows["every_seconds"]:
            raise RecipeError(
                f"the rows of {data.name} are no windows of a timed series", expected="episodes of classes: --event"
            )
        channel = windows["channels"].index(windows["target"]) if windows["target"] else 0
        return [self._of_readings(data, split, line, channel) for line in lines]

    def _of_readings(self, data: Data, split: str, line: Timeline, channel: int) -> list[Episode]:
        times, values = readings(data, split, line, channel)
        there = values < self.below if self.below is not None else values > (self.above or 0.0)
        every = data.facts["windows"]["every_seconds"]
        return stretches(times, there, lasting=self.lasting, apart=self.apart, every=every)

    def _of_classes(self, data: Data, split: str, line: Timeline) -> list[Episode]:
        unknown = [name for name in self.classes if name not in data.classes]
        if unknown:
            raise RecipeError(f"there is no class {unknown[0]!r}", remedy=did_you_mean(unknown[0], data.classes))
        if data.labels != "single":
            raise RecipeError(
                f"episodes of classes in rows whose labels are {data.labels}", expected="one class for each row"
            )
        piece = getattr(data, split).take(torch.from_numpy(line.positions))
        wanted = torch.tensor([data.classes.index(name) for name in self.classes])
        there = (torch.isin(piece.labels, wanted) & piece.known).numpy()
        return stretches(line.times, there, lasting=self.lasting, apart=self.apart)


def happening(manifest: Manifest, given: dict[str, Any]) -> Happening:
    """What an episode is, from what a person said; what nobody said, from what the artifact was trained to foresee.

    A forecast's event is what its task calls so, for at least 15 minutes and 15 minutes apart where readings come
    every few minutes; an alarm is right from twice a forecast's horizon before it begins, because one that is a little
    early is none the worse, and catches it only before it begins.

    Args:
        manifest: Of the artifact.
        given: Fields of `Happening`; those that are None were not said.

    Raises:
        RecipeError: When nobody said what an episode is and the artifact does not either.
    """
    said = {name: value for name, value in given.items() if value is not None and value != ()}
    kind, stream = manifest.output.reading.get("kind"), manifest.stream or {}
    if kind == "forecast" and not {"below", "above", "classes"} & said.keys():
        task = find_task(manifest.task)
        said |= {name: getattr(task, name) for name in ("below", "above") if getattr(task, name, None) is not None}
    every = float(stream.get("every_seconds") or 0.0)
    if "classes" in said:
        said.setdefault("late", 10.0)
    elif every:
        lasting = 900.0 if every >= 60 else 0.0
        horizon = every * stream.get("horizon", 0)
        usual = {"lasting": lasting, "apart": lasting, "ahead": 2 * horizon}
        said = {**usual, **({"within": 0.0} if horizon else {}), **said}
    return Happening(**said)


def rate(text: str) -> float:
    """A rate such as "1/day" or "0.5/hour", a day.

    Raises:
        RecipeError: When it is none.
    """
    found = _RATE.fullmatch(text)
    if found is None or float(found[1]) <= 0:
        raise RecipeError(f"{text!r} is no rate of false alarms", expected="such as 1/day, 0.5/hour or 2/week")
    return float(found[1]) / _DAYS[found[2]]


def duration(text: str | None, name: str) -> float | None:
    """A duration such as "15m" in seconds, "0" for none at all; None where nobody said one.

    Raises:
        RecipeError: When it is none.
    """
    if text is None or text.strip() in ("0", "0s"):
        return None if text is None else 0.0
    try:
        return seconds(text)
    except Exception as error:
        raise RecipeError(f"--{name} {text!r} is no duration", expected="such as 15m, 90s or 1h") from error


def described(what: Happening) -> str:
    """An episode in words."""
    limit = f"{what.below:g}" if what.below is not None else f"{what.above:g}" if what.above is not None else ""
    which = f"readings below {limit}" if what.below is not None else f"readings above {limit}"
    which = f"rows of class {' or '.join(what.classes)}" if what.classes else which
    longest = f" for at least {what.lasting / 60:g} min" if what.lasting else ""
    joined = f", one with the next within {what.apart:g} s" if what.apart else ""
    right = f"an alarm is right from {what.ahead:g} s before it begins until {what.late:g} s after it ends"
    time = "" if what.within is None else f", and in time until {what.within:g} s after it began"
    return f"{which}{longest}{joined}; {right}{time}"


def spread(scores: np.ndarray, count: int) -> list[float]:
    """Thresholds between scores: from one that few reach to one that half of them reach, evenly in the logarithm."""
    ordered = np.sort(np.asarray(scores, np.float32))[::-1]
    most = max(len(ordered) // 2, 1)
    places = np.unique(np.geomspace(1, most, count).round().astype(int))
    found = []
    for place in places:
        high, low = ordered[place - 1], ordered[min(place, len(ordered) - 1)]
        found.append(float(np.float32((float(high) + float(low)) / 2)))
    return sorted(set(found), reverse=True)
