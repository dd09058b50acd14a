"""Regression on the teacher's numbers: the student learns to say what the teacher says, every step and every quantile.

Ba, Caruana, 2014, https://arxiv.org/abs/1312.6184, section 2, train a student on a teacher's real-valued outputs by the
squared error. Huber, 1964, https://doi.org/10.1214/aoms/1177703732, equation for the loss that grows straight beyond a
distance. Read: memory of both.
Deviations: the distance is taken in units of the task's scale (so that a weight means the same for sugar and for
kilowatts) and averaged over the numbers of a row, without the half of Ba and Caruana.
"""

import math
from typing import Annotated, Literal

from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor
from torch.nn import functional

from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals
from limbeck.task import SaysValues


class Regression(Objective):
    """The mean distance between the student's and the teacher's numbers, in units of the task's scale.

    Args:
        kind: "mse" squares the distance; "huber" squares it (and halves that) up to `delta` and goes on straight, so
            that a teacher's rare blunder pulls no harder than a large error.
        delta: Where huber's loss becomes straight, in units of the scale; "mse" does not use it.
    """

    family = "values"
    formula = "mean over numbers of ((student − teacher) / scale)², or Huber's loss of it"

    @validate_call
    def __init__(
        self, kind: Literal["mse", "huber"] = "mse", delta: Annotated[float, Gt(0), Lt(math.inf)] = 1.0
    ) -> None:
        super().__init__()
        self.kind, self.delta = kind, delta

    def needs(self) -> Needs:
        """The teacher's numbers."""
        return Needs(logits=True, meaning=frozenset({"values"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The mean distance of each row's numbers."""
        assert student.logits is not None and teacher.logits is not None
        assert isinstance(batch.task, SaysValues)
        ours, theirs = batch.task.numbers(student.logits), batch.task.numbers(teacher.logits.detach())
        if self.kind == "huber":
            return functional.huber_loss(ours, theirs.to(ours.dtype), reduction="none", delta=self.delta).mean(dim=-1)
        return (ours - theirs).square().mean(dim=-1)
