"""Bounded regression: the teacher's error is what the student may reach, and is pressed no further than that.

Chen, Choi, Yu, Han, Chandraker, NeurIPS 2017, "Learning efficient object detection models with knowledge distillation",
section 3.3 (Knowledge distillation for regression with teacher bounds): the student's squared error where it plus a
margin m exceeds the teacher's, and 0 where the student is better than the teacher by at least m. Read: memory.
Deviations: the paper's loss is of the four numbers of a box and summed; here errors are in units of the task's scale
and averaged over the quantities of a row whose label is known, so that the margin means the same for any task. The
paper adds it to a smooth L1 loss against the labels; here that is what the term `labels` is for.
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from jaxtyping import Bool, Float
from pydantic import validate_call
from torch import Tensor

from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals
from limbeck.task import SaysValues


class BoundedRegression(Objective):
    """The student's mean squared error against the label where the teacher's is not larger by the margin; else 0.

    Args:
        margin: How much better than the teacher the student must be before it is left alone, in squared units of the
            task's scale. The paper gives no number.
    """

    family = "values"
    formula = "e(student) where e(student) + margin > e(teacher), else 0; e = mean ((answer − label) / scale)²"

    @validate_call
    def __init__(self, margin: Annotated[float, Ge(0), Lt(math.inf)] = 0.0) -> None:
        super().__init__()
        self.margin = margin

    def needs(self) -> Needs:
        """The teacher's numbers, and labels."""
        return Needs(logits=True, labels=True, meaning=frozenset({"values"}))

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        """The rows whose label is known: without one nobody's error is."""
        return batch.mask & batch.known

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The bounded error of each row."""
        assert student.logits is not None and teacher.logits is not None
        assert isinstance(batch.task, SaysValues)
        if batch.labels is None:
            return student.logits.new_zeros(batch.mask.shape)
        errors, there = batch.task.errors(student.logits, batch.labels)
        bounds, _ = batch.task.errors(teacher.logits.detach(), batch.labels)
        known = there.sum(dim=-1).clamp(min=1)
        ours, theirs = (found.square().sum(dim=-1) / known for found in (errors, bounds))
        return torch.where(ours + self.margin > theirs, ours, torch.zeros_like(ours))
