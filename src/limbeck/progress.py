"""What training tells whoever watches: a protocol, and the watcher who says nothing."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """A watcher of long work; its calls are cheap, and training may make one at every step."""

    def start(self, who: str, steps: int, unit: str = "steps") -> None:
        """A new piece of work begins.

        Args:
            who: What is being made, such as "student, seed 0" or "recording".
            steps: How many steps it will take; 0 when that is not known yet.
            unit: What a step is, as a plural.
        """
        ...

    def step(
        self, step: int, loss: float, shares: Mapping[str, float], rows_per_second: float, seconds_left: float
    ) -> None:
        """Some steps have been made.

        Args:
            step: Steps made so far, from 1.
            loss: The loss of late, averaged as the caller sees fit; not a number where there is none.
            shares: Share of each term in the loss, 0 to 1, by the term's name; may be empty.
            rows_per_second: Speed of late; 0 when unknown.
            seconds_left: Estimated wall seconds until this piece of work is done; not a number when unknown.
        """
        ...

    def say(self, message: str) -> None:
        """Something worth a line of its own: what `auto` chose and why, a warning, a validation score."""
        ...

    def done(self) -> None:
        """The piece of work that was started last has ended, well or badly."""
        ...


class Silent:
    """A watcher who says nothing."""

    def start(self, who: str, steps: int, unit: str = "steps") -> None:
        """Says nothing."""

    def step(
        self, step: int, loss: float, shares: Mapping[str, float], rows_per_second: float, seconds_left: float
    ) -> None:
        """Says nothing."""

    def say(self, message: str) -> None:
        """Says nothing."""

    def done(self) -> None:
        """Says nothing."""


@dataclass
class RowsDone:
    """Tells a watcher of work that counts rows, such as a recording; is called with the rows done and those in total.

    The first call says what an earlier sitting had done: nothing, some, or all.

    Args:
        watcher: Who is told.
        who: What is being made.
        clock: Seconds from any beginning.
    """

    watcher: Progress
    who: str
    clock: Callable[[], float] = time.monotonic
    _begun: tuple[int, float] | None = field(default=None, init=False)

    def __call__(self, done: int, total: int) -> None:
        """Says how far the work has come."""
        if self._begun is not None:
            first, since = self._begun
            speed = (done - first) / max(self.clock() - since, 1e-9)
            self.watcher.step(done, math.nan, {}, speed, (total - done) / speed if speed else math.nan)
            return
        self._begun = done, self.clock()
        if done == total:
            self.watcher.say(f"{self.who}: found finished, {total:,} rows")
            return
        self.watcher.start(self.who, total, "rows")
        if done:
            self.watcher.say(f"{self.who}: going on after {done:,} of {total:,} rows")
