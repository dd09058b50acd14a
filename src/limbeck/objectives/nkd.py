"""Normalised distillation: the label as sure as the teacher is of it, and the other classes as it ranks them.

Yang, Zeng, Li, Zhang, Yuan, Li, ICCV 2023, https://arxiv.org/abs/2303.13005, section 3.1. Read: memory for the paper,
copy for the authors' code (yzd-v/cls_KD), whose ImageNet recipe gives the defaults gamma 1.5 and temperature 1.
The other classes are renormalised to sum to 1 in both models, so that the student can reach the teacher's. The first
part knows no temperature. Both parts are cross-entropies, as in the paper: a student equal to its teacher is drawn
further towards the label, and the value is not zero there.
Deviations:
- the first code of the authors left the right class among the others (its mask was all ones); here it is taken out, as
  in the paper and in their later code;
- of a mixed row their code takes the label with the larger share; here both labels are the right class in turn,
  weighted by their shares, and the row counts only where both are known.
"""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float, Int
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import tempered, without
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class NKD(Objective):
    """Cross-entropy of the right class, weighted by the teacher, and cross-entropy over the other classes.

    It takes no account of the label beyond the teacher's trust in it: beside it stands `labels`, as in the paper. Rows
    without a known label are not counted.

    Args:
        gamma: Weight of the cross-entropy over the classes that are not right.
        temperature: Divides both models' logits of those classes before the softmax; the right class has none.
    """

    family = "soft targets"
    formula = "−p_right log q_right − gamma · T² · Σ p log q over the classes that are not right, renormalised"
    factor = "T²"

    @validate_call
    def __init__(
        self,
        gamma: Annotated[float, Ge(0), Lt(math.inf)] = 1.5,
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0,
    ) -> None:
        super().__init__()
        self.gamma, self.temperature = gamma, temperature

    def needs(self) -> Needs:
        """The teacher's dense logits, to part them at the label, and labels."""
        return Needs(logits=True, labels=True, meaning=frozenset({"classes"}))

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        """The rows whose label, and whose partner's label where there is one, is known."""
        return batch.labelled

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """Both parts of each row, in nats; rows that are not counted may hold any label."""
        assert student.logits is not None and teacher.logits is not None
        theirs, ours = teacher.logits.detach(), student.logits
        return batch.by_label(lambda right: self._parts(theirs, ours, right))

    def _parts(
        self,
        teacher: Float[Tensor, "*rows classes"],
        student: Float[Tensor, "*rows classes"],
        right: Int[Tensor, "*rows"],
    ) -> Float[Tensor, "*rows"]:
        trust, ours = (tempered(said, 1.0).gather(-1, right[..., None]).squeeze(-1) for said in (teacher, student))
        others, learnt = (tempered(without(said, right), self.temperature) for said in (teacher, student))
        ranked = (others.exp() * learnt).sum(dim=-1)
        return -trust.exp() * ours - self.gamma * self.temperature**2 * ranked
