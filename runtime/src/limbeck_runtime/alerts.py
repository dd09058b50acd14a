"""From timed scores to alerts: a state machine of comparisons and whole numbers, the same in Python and in C.

A rule has: `rising` (an alert begins where the score is high; else where it is low), `enter` and `leave` (float32),
`needed` of the last `of` answers, `calm`, and in whole milliseconds `hold`, `refractory` and `stale`; and `budget`.
`reached(s, x)` is `s >= x` where rising, else `s <= x`. NaN reaches nothing. No float is ever computed here, only
compared, and times are 64-bit integers, so that no compiler can round anything another way.

The machine remembers: `state` (no data, normal, alert; it begins with no data), `last` (the time of the last step; none
before the first), `votes` (the last `of` answers as bits, the newest lowest; begins with 0), `below` (answers in a row
that left), `since` (when the alert began), `quiet` (until when none may begin; begins at the least integer), `times`
(when the last `budget` alerts began) and `told` (whether it was said that this alert is held back).

A step has a time `t` and a score `s`, or no score (NaN), and is done in this order:

1. `t <= last`: refused, nothing changes.
2. Silence. If `stale > 0` and `t - last > stale`: *lose* at the time `last + stale`. (This is also all that `pass_time`
   does; it does not set `last`.)
3. `last = t`. Without a score: *lose* at `t`; the step ends.
4. `state` is no data: it becomes normal; event DATA.
5. `vote = reached(s, enter)`; `votes = (votes << 1 | vote)`, of which the lowest `of` bits are kept.
6. `state` is normal: if `vote` and at least `needed` bits of `votes` are 1:
   a. `t < quiet`: if not `told`, event REFRACTORY; `told = true`.
   b. else, `budget > 0`, and `budget` alerts began at times above `t - 86400000`: if not `told`, event BUDGET;
      `told = true`.
   c. else `state` is alert, `since = t`, `below = 0`, `told = false`, `t` is kept in `times`; event ALERT.
   If fewer than `needed` bits are 1: `told = false`. The step ends.
7. `state` is alert: `below` is 0 if `reached(s, leave)`, else one more. If `below >= calm` and `t - since >= hold`:
   *end* at `t`; `state` is normal; event OVER.

*lose* at a time: `votes = 0`, `told = false`; if `state` is alert, *end*; if `state` was not no data, event NO_DATA.
`state` is no data. *end* at a time: `quiet = time + refractory`, `votes = 0`, `below = 0`.

One step gives at most the events NO_DATA (of the silence before it), DATA and one of the others, in this order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limbeck_runtime.errors import ArtifactError, InputError
from limbeck_runtime.fields import built
from limbeck_runtime.manifest import Manifest
from limbeck_runtime.scores import Watch

DAY = 86_400_000
"""Milliseconds in a day; a budget counts the alerts of the last 24 hours, not those since midnight."""

MOST_ANSWERS = 32
"""So many answers a rule looks back at, at most: the bits of a word."""

MOST_BUDGET = 64
"""So many alerts a day can be a budget: the memory a device needs for it."""

_LEAST = -(2**63)

NO_DATA_STATE, NORMAL, ALERTING = "no data", "normal", "alert"
DATA, ALERT, OVER, NO_DATA = "data", "alert", "over", "no data"
REFRACTORY, BUDGET = "held back: refractory", "held back: budget"
KINDS = (NO_DATA, DATA, ALERT, OVER, REFRACTORY, BUDGET)
"""Kinds of events; bit `1 << place` stands for one in C."""


@dataclass(frozen=True)
class Rule:
    """When answers become an alert, as the manifest's `alerts` says it.

    Args:
        watch: Which number of an answer is the score.
        enter: The score from which on an answer counts towards an alert.
        leave: The score at which an alert is still held; on the near side of `enter`.
        direction: `above` where high scores alarm, `below` where low ones do.
        needed: Of the last `of` answers so many must reach `enter`.
        of: How many answers are looked back at.
        calm: So many answers in a row must not reach `leave` before an alert ends.
        hold_seconds: An alert lasts at least so long, unless the data ends.
        refractory_seconds: So long after an alert ended no other begins.
        stale_seconds: After so long without an answer there is no data; 0: only when the stream says so.
        budget: At most so many alerts begin within 24 hours; 0: any number.
        measured: What this rule did on the validation data it was tuned on; nothing reads it but people.
    """

    watch: Watch
    enter: float
    leave: float
    direction: str = "above"
    needed: int = 1
    of: int = 1
    calm: int = 1
    hold_seconds: float = 0.0
    refractory_seconds: float = 0.0
    stale_seconds: float = 0.0
    budget: int = 0
    measured: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.direction not in ("above", "below"):
            raise ArtifactError(f"alerts.direction is {self.direction!r}", expected="above or below")
        if not self.reached(self.enter, self.leave):
            raise ArtifactError(
                f"alerts.leave {self.leave:g} is beyond alerts.enter {self.enter:g}",
                expected="a threshold to leave that every score reaches which reaches the one to enter",
            )
        if not 1 <= self.needed <= self.of <= MOST_ANSWERS:
            raise ArtifactError(
                f"alerts need {self.needed} of {self.of} answers", expected=f"1 to {MOST_ANSWERS}, no more than of"
            )
        if self.calm < 1 or not 0 <= self.budget <= MOST_BUDGET:
            raise ArtifactError(
                f"alerts.calm is {self.calm}, alerts.budget {self.budget}",
                expected=f"calm from 1 on, a budget from 0 (none) to {MOST_BUDGET}",
            )
        for name in ("hold_seconds", "refractory_seconds", "stale_seconds"):
            if not 0 <= getattr(self, name) <= 1e9:
                raise ArtifactError(f"alerts.{name} is {getattr(self, name):g}", expected="0 to 1e9")

    def reached(self, score: float | np.float32, limit: float) -> bool:
        """Whether a score is at a limit or beyond it; both are rounded to float32 first."""
        if self.direction == "above":
            return bool(np.float32(score) >= np.float32(limit))
        return bool(np.float32(score) <= np.float32(limit))


def rule(manifest: Manifest) -> Rule:
    """When the answers of an artifact become alerts.

    Raises:
        ArtifactError: When nobody has tuned it, or its rule cannot be kept.
    """
    if manifest.alerts is None:
        raise ArtifactError(
            f"{manifest.name} has no thresholds", expected="an artifact that was tuned", remedy="limbeck tune"
        )
    found = built(Rule, manifest.alerts, "alerts")
    found.watch.check(manifest)
    return found


@dataclass(frozen=True)
class Event:
    """Something that a person may have to be told.

    Args:
        time: When, in seconds of the signal.
        kind: One of `KINDS`.
        reason: Why, in words.
        score: What was watched; NaN where there was nothing.
    """

    time: float
    kind: str
    reason: str
    score: float


class Alerts:
    """The machine that this file describes.

    Args:
        rule: When answers become an alert.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._enter, self._leave = float(np.float32(rule.enter)), float(np.float32(rule.leave))
        self._rising = rule.direction == "above"
        self._hold, self._refractory, self._stale = map(
            milliseconds, (rule.hold_seconds, rule.refractory_seconds, rule.stale_seconds)
        )
        self._kept = (1 << rule.of) - 1
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the state is no data."""
        self.state = NO_DATA_STATE
        self._last: int | None = None
        self._votes = self._below = self._since = 0
        self._quiet = _LEAST
        self._times: list[int] = []
        self._told = False

    def step(self, time: float, score: float | np.float32 | None, reason: str = "") -> list[Event]:
        """Takes one answer's score.

        Args:
            time: When the answer is true, in seconds of the signal; rounded to milliseconds.
            score: What is watched, rounded to float32; None or NaN where there is no data.
            reason: Why there is none, in words.

        Raises:
            InputError: When the time is no number or not after the last one; nothing has changed then.
        """
        return self.advance(milliseconds(time), np.nan if score is None else float(np.float32(score)), reason)

    def advance(self, now: int, score: float, reason: str = "") -> list[Event]:
        """As `step`, in the numbers the machine knows: whole milliseconds, and a float32, NaN where there is no data.

        Raises:
            InputError: When the time is not after the last one.
        """
        last = self._last
        if last is not None and now <= last:
            raise InputError(
                f"an answer at {now / 1000:g} s after one at {last / 1000:g} s",
                expected="answers in the order of the signal's time",
                remedy="reset() where another record begins",
            )
        events = self._silence(now) if self._stale and last is not None and now - last > self._stale else []
        self._last = now
        if score != score:
            return events + self._lose(now, reason or "no score")
        if self.state == NO_DATA_STATE:
            self.state = NORMAL
            events.append(Event(now / 1000, DATA, "there is data", score))
        vote = score >= self._enter if self._rising else score <= self._enter
        self._votes = (self._votes << 1 | vote) & self._kept
        if self.state != NORMAL:
            return events + self._go_on(now, score)
        # Most answers say nothing, and say it fast.
        return events + self._begin(now, score, vote) if vote or self._told else events

    def pass_time(self, time: float) -> list[Event]:
        """What time alone does: after `stale_seconds` without an answer there is no data."""
        return self._silence(milliseconds(time))

    def _reached(self, score: float, limit: float) -> bool:
        return score >= limit if self._rising else score <= limit

    def _silence(self, now: int) -> list[Event]:
        if self._last is None or not self._stale or now - self._last <= self._stale:
            return []
        return self._lose(self._last + self._stale, f"no answer for {self._stale / 1000:g} s")

    def _lose(self, now: int, reason: str) -> list[Event]:
        self._votes, self._told = 0, False
        if self.state == NO_DATA_STATE:
            return []
        if self.state == ALERTING:
            self._end(now)
            reason += "; an alert was on"
        self.state = NO_DATA_STATE
        return [Event(now / 1000, NO_DATA, reason, float("nan"))]

    def _end(self, now: int) -> None:
        self._quiet, self._votes, self._below = now + self._refractory, 0, 0

    def _begin(self, now: int, score: float, vote: bool) -> list[Event]:
        count = self._votes.bit_count()
        if count < self.rule.needed:
            self._told = False
        if not vote or count < self.rule.needed:
            return []
        held = self._held_back(now)
        if held:
            told, self._told = self._told, True
            return [] if told else [Event(now / 1000, *held, score)]
        self.state, self._since, self._below, self._told = ALERTING, now, 0, False
        if self.rule.budget:
            self._times = [*self._times, now][-self.rule.budget :]
        return [Event(now / 1000, ALERT, self._why(score, count), score)]

    def _held_back(self, now: int) -> tuple[str, str] | None:
        if now < self._quiet:
            return REFRACTORY, f"the last alert ended less than {self._refractory / 1000:g} s ago"
        if self.rule.budget and sum(each > now - DAY for each in self._times) >= self.rule.budget:
            return BUDGET, f"there were {self.rule.budget} alerts within 24 hours"
        return None

    def _go_on(self, now: int, score: float) -> list[Event]:
        self._below = 0 if self._reached(score, self._leave) else self._below + 1
        if self._below < self.rule.calm or now - self._since < self._hold:
            return []
        self._end(now)
        self.state = NORMAL
        return [Event(now / 1000, OVER, f"{self.rule.watch.said(score)}, no longer {self._limit(self._leave)}", score)]

    def _why(self, score: float, count: int) -> str:
        answers = f"{count} of {self.rule.of} answers {self._limit(self._enter)}"
        return f"{self.rule.watch.said(score)}; {answers}"

    def _limit(self, limit: float) -> str:
        return f"{self.rule.watch.spelled(limit)} or {'more' if self._rising else 'less'}"


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, halves to the even one.

    Raises:
        InputError: When it is no finite number, or is beyond 64 bits.
    """
    if not abs(seconds) < 2**62 / 1000:
        raise InputError(f"a time of {seconds} s", expected="a finite number of seconds")
    return round(float(seconds) * 1000.0)
