"""Which threshold, and how many answers in a row: every candidate is run over the whole records as a device would."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from limbeck.data.timelines import Timeline
from limbeck.errors import DataError
from limbeck.metrics.episodes import DAY, Counted, Episode, counted
from limbeck.tuning.happenings import Happening, spread
from limbeck_runtime.alerts import ALERT, Alerts, Rule, milliseconds

VOTES = ((1, 1), (2, 2), (2, 3), (3, 3), (3, 5))
"""(needed, of): patience against single answers that are wrong."""

COARSE, FINE = 24, 8
_LOOSER = (1.0, 1.5, 3.0)
"""An alert is left where so many times as many answers as enter would still hold it."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What candidates are tried on.

    Args:
        lines: Records.
        scores: Of their rows, in the order of time, one array a record.
        episodes: Of each record.
        what: What an episode is.
    """

    lines: Sequence[Timeline]
    scores: Sequence[npt.NDArray[np.float32]]
    episodes: Sequence[Sequence[Episode]]
    what: Happening

    def alarms(self, rule: Rule) -> list[list[float]]:
        """The moments at which alerts began, record by record, each from the beginning."""
        machine, found = Alerts(rule), []
        for line, scores in zip(self.lines, self.scores, strict=True):
            machine.reset()
            steps = zip(map(milliseconds, line.times.tolist()), scores.tolist(), strict=True)
            found.append([event.time for step in steps for event in machine.advance(*step) if event.kind == ALERT])
        return found

    def days(self, rule: Rule) -> float:
        """How long there was data."""
        return sum(line.watched(rule.stale_seconds) for line in self.lines) / DAY

    def counted(self, rule: Rule) -> Counted:
        """What a rule's alarms are worth."""
        pairs = list(zip(self.alarms(rule), self.episodes, strict=True))
        what = self.what
        return counted(pairs, days=self.days(rule), ahead=what.ahead, late=what.late, within=what.within)


@dataclass(frozen=True)
class Chosen:
    """A rule, what it did, and how many were tried."""

    rule: Rule
    counted: Counted
    tried: int


def chosen(trial: Trial, rule: Rule, allowed: float, votes: Sequence[tuple[int, int]] = VOTES) -> Chosen:
    """The rule that catches most episodes with no more than the allowed false alarms a day.

    Of those that catch as many, the one that notices more, then the one with fewer false alarms, then with the greater
    median lead time, then the one that waits for fewer answers. Thresholds lie between scores; those around the best
    are tried again, more finely.

    Args:
        trial: On validation rows.
        rule: What stays as it is: what is watched, direction, times, budget.
        allowed: False alarms a day.
        votes: Pairs (needed, of) to try.

    Raises:
        DataError: When nothing happened, or no threshold catches anything at so few false alarms.
    """
    if not any(trial.episodes):
        raise DataError(
            "nothing happened in the validation rows: there is no episode to catch",
            expected="some episodes",
            remedy="more validation records, or another definition of an episode",
        )
    if not trial.days(rule):
        raise DataError("the validation rows last no time at all", expected="records of more than one row")
    every = np.concatenate(list(trial.scores))
    high = every if rule.direction == "above" else -every
    tried: dict[Rule, Counted] = {}
    for candidate in _candidates(rule, high, spread(high, COARSE), votes):
        tried[candidate] = trial.counted(candidate)
    if (best := _best(tried, allowed)) is not None:
        near = _between(high, best, spread(high, COARSE))
        for candidate in _candidates(rule, high, near, [(best.needed, best.of)]):
            tried.setdefault(candidate, trial.counted(candidate))
        best = _best(tried, allowed)
    if best is None:
        least = min((found for found in tried.values() if found.caught), key=lambda found: found.false, default=None)
        rest = "" if least is None else f"; the least that catches one is {least.false_a_day:.3g} a day"
        raise DataError(
            f"no threshold catches an episode with at most {allowed:.3g} false alarms a day in "
            f"{trial.days(rule):.3g} days of validation rows{rest}",
            expected="a rate that the student can keep to",
            remedy="--false-alarms with a higher rate, or a better student",
        )
    return Chosen(best, tried[best], len(tried))


def _candidates(
    rule: Rule, high: npt.NDArray[np.float32], enters: Sequence[float], votes: Sequence[tuple[int, int]]
) -> Iterator[Rule]:
    ordered = np.sort(high)[::-1]
    sign = 1.0 if rule.direction == "above" else -1.0
    for enter in enters:
        reach = int(np.searchsorted(-ordered, -enter, side="right"))
        for looser in _LOOSER:
            place = min(max(round(reach * looser), 1), len(ordered)) - 1
            leave = min(enter, float(ordered[place])) if looser > 1 else enter
            for needed, of in votes:
                yield replace(rule, enter=sign * enter, leave=sign * leave, needed=needed, of=of)


def _between(high: npt.NDArray[np.float32], best: Rule, coarse: Sequence[float]) -> list[float]:
    """Thresholds from the next higher of the coarse ones to the next lower."""
    enter = best.enter if best.direction == "above" else -best.enter
    place = int(np.argmin([abs(each - enter) for each in coarse]))
    top = coarse[place - 1] if place else float(high.max())
    bottom = coarse[min(place + 1, len(coarse) - 1)]
    inside = np.sort(high[(high >= bottom) & (high <= top)])[::-1]
    if len(inside) < 2:
        return [enter]
    places = np.unique(np.linspace(0, len(inside) - 2, 2 * FINE).round().astype(int))
    return [float(np.float32((float(inside[at]) + float(inside[at + 1])) / 2)) for at in places]


def _best(tried: dict[Rule, Counted], allowed: float) -> Rule | None:
    kept = {rule: found for rule, found in tried.items() if found.caught and found.false_a_day <= allowed}

    def worth(rule: Rule) -> tuple[float, ...]:
        found = kept[rule]
        lead = found.median_lead if not math.isnan(found.median_lead) else -math.inf
        return (found.caught, found.noticed, -found.false, lead, -rule.of, -rule.needed)

    return max(kept, key=worth) if kept else None
