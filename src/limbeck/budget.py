"""How long to train, as one dial: "20 epochs", "5000 steps", "10m"."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from limbeck.errors import RecipeError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """An amount of training in one of three units; wall time becomes steps once the speed has been measured."""

    amount: float
    unit: Literal["epochs", "steps", "seconds"]

    @classmethod
    def parse(cls, text: "str | int | Budget") -> "Budget":
        """Reads a budget; a bare number means epochs.

        Raises:
            RecipeError: When it is not a positive amount of epochs, steps or time.
        """
        if isinstance(text, Budget):
            return text
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(epochs?|steps?|s|m|h|)\s*", str(text))
        if match is None or float(match[1]) <= 0:
            raise RecipeError(
                f"the budget {text!r} cannot be read",
                expected='such as "20 epochs", "5000 steps", "90s", "10m" or "1.5h"',
            )
        amount, unit = float(match[1]), match[2]
        if unit in _SECONDS:
            return cls(amount * _SECONDS[unit], "seconds")
        if unit.startswith("step"):
            if amount != int(amount):
                raise RecipeError(f"the budget {text!r} has a broken number of steps", expected="whole steps")
            return cls(amount, "steps")
        return cls(amount, "epochs")

    def steps(self, steps_per_epoch: int, seconds_per_step: float | None = None) -> int:
        """The number of optimiser steps, at least 1.

        Args:
            steps_per_epoch: Steps that go once over the training rows.
            seconds_per_step: Measured wall seconds of a step; needed for a budget in time.
        """
        if self.unit == "steps":
            return int(self.amount)
        if self.unit == "epochs":
            return max(1, math.ceil(self.amount * steps_per_epoch))
        if seconds_per_step is None:
            raise ValueError("a budget in time needs the measured seconds of a step")
        return max(1, int(self.amount / seconds_per_step))

    def __str__(self) -> str:
        return f"{self.amount:g}s" if self.unit == "seconds" else f"{self.amount:g} {self.unit}"
