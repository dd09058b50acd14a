"""Numbers that change while a student trains: a weight or an argument of an objective, written where a number stands.

linear(0.9, 0.1) * kd(temperature=cosine(8, 1)) + linear(0.1, 0.9, over='10 epochs') * labels
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from limbeck.budget import Budget
from limbeck.errors import RecipeError
from limbeck.notation import written

# How far a schedule has come, from 0 to 1, where that share of its time has passed.
SHAPES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda passed: passed,
    "cosine": lambda passed: (1 - math.cos(math.pi * passed)) / 2,
}


@dataclass(frozen=True)
class Moment:
    """Where a training stands: steps done, steps in all, steps of an epoch."""

    step: int
    steps: int
    steps_per_epoch: int


@dataclass(frozen=True)
class Schedule:
    """A number that goes from one value to another over the training, or over its first part, and stays there.

    Args:
        shape: "linear" in equal strides; "cosine" half a cosine, slow at both ends.
        start: The value of the first step.
        end: The value at the end; with `over` the value from there on.
        over: "10 epochs" or "500 steps"; None means the whole training, whose last step is then the first at `end`.

    Raises:
        RecipeError: When the shape is unknown, a value is not finite, or `over` is no number of epochs or steps.
    """

    shape: str
    start: float
    end: float
    over: str | None = None

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise RecipeError(f"there is no schedule {self.shape!r}", expected=" or ".join(SHAPES))
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise RecipeError(f"{self!r} does not stay finite", expected="two finite numbers")
        if self.over is not None and Budget.parse(self.over).unit == "seconds":
            raise RecipeError(
                f"{self!r} is given in time, and steps take no fixed time",
                expected="over='10 epochs' or over='500 steps'",
            )

    @classmethod
    def of(cls, shape: str, start: float, end: float, over: str | None = None) -> "Schedule":
        """A schedule from values of any numeric kind.

        Raises:
            TypeError: When a value is no number, or `over` no text.
        """
        for value in (start, end):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{value!r} is no number")
        if not isinstance(over, str | None):
            raise TypeError(f"{over!r} is no text")
        return cls(shape, float(start), float(end), over)

    def length(self, steps: int, steps_per_epoch: int) -> int:
        """How many steps it takes from the one value to the other, in a training of so many."""
        return max(1, steps - 1) if self.over is None else Budget.parse(self.over).steps(steps_per_epoch)

    def at(self, moment: Moment) -> float:
        """The value at a moment; the same for the same moment, so that a resumed training needs no memory of it."""
        passed = min(1.0, moment.step / self.length(moment.steps, moment.steps_per_epoch))
        come = SHAPES[self.shape](passed)
        return (1 - come) * self.start + come * self.end

    def scaled(self, factor: float) -> "Schedule":
        """The same schedule of a number that is `factor` times as large."""
        return Schedule(self.shape, factor * self.start, factor * self.end, self.over)

    def __repr__(self) -> str:
        values = [written(self.start), written(self.end)]
        over = [] if self.over is None else [f"over={self.over!r}"]
        return f"{self.shape}({', '.join(values + over)})"


def linear(start: float, end: float, over: str | None = None) -> Schedule:
    """From `start` to `end` in equal strides, over the whole training or its first `over` ("10 epochs")."""
    return Schedule.of("linear", start, end, over)


def cosine(start: float, end: float, over: str | None = None) -> Schedule:
    """From `start` to `end` along half a cosine, over the whole training or its first `over` ("10 epochs")."""
    return Schedule.of("cosine", start, end, over)
