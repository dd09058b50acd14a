"""Attentive imitation: the student copies the teacher's numbers, the less the further the teacher was from the label.

Saputra, de Gusmao, Almalioglu, Markham, Trigoni, 2019, "Distilling knowledge from a deep pose regressor network", ICCV,
https://arxiv.org/abs/1908.00858, section 4.2 (attentive imitation loss): the squared distance from the teacher times
1 − e/eta, with e the teacher's squared error and eta the range of e over the training set. Read: memory.
Deviations: eta is an argument, in squared units of the task's scale, and not the range over the training rows: a row's
value then depends on no other row, and one blunder of the teacher does not lift the weight of all its other errors.
What errs by more than eta weighs 0 (in the paper no weight is negative because eta bounds every error). Errors and
distances are averaged over the numbers of a row.
"""

import math
from typing import Annotated

from annotated_types import Gt, Lt
from jaxtyping import Bool, Float
from pydantic import validate_call
from torch import Tensor

from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals
from limbeck.task import SaysValues


class AttentiveRegression(Objective):
    """The mean squared distance between student and teacher, weighted by how near the teacher is to the label.

    Args:
        eta: The teacher's mean squared error in units of the scale from which on it is not followed. By default 1, for
            regression the error of the answer that never changes.
    """

    family = "values"
    formula = "max(0, 1 − e(teacher) / eta) · mean ((student − teacher) / scale)²"

    @validate_call
    def __init__(self, eta: Annotated[float, Gt(0), Lt(math.inf)] = 1.0) -> None:
        super().__init__()
        self.eta = eta

    def needs(self) -> Needs:
        """The teacher's numbers, and labels."""
        return Needs(logits=True, labels=True, meaning=frozenset({"values"}))

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        """The rows whose label is known: without one the teacher's error is not."""
        return batch.mask & batch.known

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The weighted distance of each row."""
        assert student.logits is not None and teacher.logits is not None
        assert isinstance(batch.task, SaysValues)
        if batch.labels is None:
            return student.logits.new_zeros(batch.mask.shape)
        ours, theirs = batch.task.numbers(student.logits), batch.task.numbers(teacher.logits.detach())
        errors, there = batch.task.errors(teacher.logits.detach(), batch.labels)
        error = errors.square().sum(dim=-1) / there.sum(dim=-1).clamp(min=1)
        return (1 - error / self.eta).clamp(min=0) * (ours - theirs).square().mean(dim=-1)
