"""Alarms held against what happened, one count for each episode and never one for each window.

An episode is a stretch of time in which something went on; an alarm is the moment at which a person is told. An alarm
is right from `ahead` before an episode begins until `late` after it ends, else false. An episode is noticed when an
alarm is right for it, and caught when that came in time: sooner than `within` after it began. An alert that goes on
for hours is one alarm, so that nothing is gained by never ending it.

Low blood sugar is counted as in the consensus on glucose monitoring: a stretch of at least 15 minutes below 70 mg/dL,
which ends with 15 minutes above (Danne et al., 2017, https://doi.org/10.2337/dc17-1600; read: memory).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DAY = 86400.0


@dataclass(frozen=True)
class Episode:
    """Something that went on, from one moment to another, in seconds."""

    begin: float
    end: float


@dataclass(frozen=True)
class Counted:
    """What alarms were worth.

    Args:
        episodes: How many there were.
        noticed: Of how many an alarm was right.
        caught: Of how many one was right in time.
        alarms: How many there were.
        right: How many of them were.
        days: How long was watched.
        leads: Of the caught episodes, how many seconds before they began the first right alarm was; below 0 after.
    """

    episodes: int
    noticed: int
    caught: int
    alarms: int
    right: int
    days: float
    leads: tuple[float, ...]

    @property
    def false(self) -> int:
        """Alarms with no episode."""
        return self.alarms - self.right

    @property
    def false_a_day(self) -> float:
        """False alarms in a day that is watched."""
        return self.false / self.days if self.days else math.nan

    @property
    def median_lead(self) -> float:
        """Seconds, NaN where nothing was caught."""
        return float(np.median(self.leads)) if self.leads else math.nan

    def facts(self) -> dict[str, Any]:
        """Everything as JSON: shares 0 to 1, lead times in minutes, and the range in which 19 of 20 true rates lie."""
        low, high = (bound / self.days for bound in poisson_interval(self.false)) if self.days else (math.nan, math.nan)
        quartiles = (
            [round(float(value) / 60, 2) for value in np.quantile(self.leads, (0.25, 0.5, 0.75))] if self.leads else []
        )
        return {
            "episodes": self.episodes,
            "noticed": self.noticed,
            "caught": self.caught,
            "sensitivity": self.caught / self.episodes if self.episodes else None,
            "alarms": self.alarms,
            "right": self.right,
            "ppv": self.right / self.alarms if self.alarms else None,
            "false_alarms": self.false,
            "days": round(self.days, 4),
            "false_alarms_a_day": self.false_a_day if self.days else None,
            "false_alarms_a_day_95": [low, high] if self.days else None,
            "lead_minutes_quartiles": quartiles,
        }


def stretches(
    times: Floats,
    there: npt.NDArray[np.bool_],
    *,
    lasting: float = 0.0,
    apart: float = 0.0,
    every: float = 0.0,
) -> list[Episode]:
    """Episodes in which something was there at one reading after the other.

    Args:
        times: Of the readings, in seconds, ascending.
        there: At which of them it was.
        lasting: Seconds that an episode lasts at least, of which each reading stands for `every`. Stretches that are
            shorter count for nothing, and join nothing.
        apart: Two episodes with fewer seconds between them are one; also readings further apart than this, and than
            one and a half `every`, end a stretch.
        every: Between two readings, in seconds; 0 where they have no rate: then only what is not there ends a stretch.
    """
    found: list[Episode] = []
    for run in _runs(times, there, max(apart, 1.5 * every) if every else math.inf):
        begin, end = float(times[run[0]]), float(times[run[-1]]) + every
        # A millisecond for times that were rounded.
        if end - begin + 1e-3 < lasting:
            continue
        if found and begin - found[-1].end < apart:
            found[-1] = Episode(found[-1].begin, end)
        else:
            found.append(Episode(begin, end))
    return found


def _runs(times: Floats, there: npt.NDArray[np.bool_], widest: float) -> list[npt.NDArray[np.int64]]:
    at = np.flatnonzero(there)
    if not len(at):
        return []
    broken = (np.diff(at) > 1) | (np.diff(times[at]) > widest)
    return np.split(at, np.flatnonzero(broken) + 1)


def counted(
    records: Sequence[tuple[Sequence[float], Sequence[Episode]]],
    *,
    days: float,
    ahead: float,
    late: float,
    within: float | None = None,
) -> Counted:
    """Holds the alarms of each record against its episodes.

    Args:
        records: For each the moments of its alarms, in seconds, and its episodes.
        days: How long all of them were watched together.
        ahead: Seconds before an episode from which on an alarm is right.
        late: Seconds after its end until which it is.
        within: Seconds after an episode began until which an alarm catches it; None: as long as it is right.
    """
    right = alarms = noticed = episodes = 0
    leads: list[float] = []
    for moments, happened in records:
        alarms, episodes = alarms + len(moments), episodes + len(happened)
        good: set[int] = set()
        for episode in happened:
            fits = [
                place for place, moment in enumerate(moments) if episode.begin - ahead <= moment <= episode.end + late
            ]
            good.update(fits)
            noticed += bool(fits)
            first = min((moments[place] for place in fits), default=math.inf)
            if fits and (within is None or first < episode.begin + within):
                leads.append(episode.begin - first)
        right += len(good)
    return Counted(episodes, noticed, len(leads), alarms, right, days, tuple(leads))


def poisson_interval(count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Between which numbers the mean of a Poisson count lies; exact (Garwood, 1936, Biometrika 28; read: memory)."""
    from scipy.special import gammaincinv

    tail = (1 - confidence) / 2
    low = float(gammaincinv(count, tail)) if count else 0.0
    return low, float(gammaincinv(count + 1, 1 - tail))
