"""Decoupled distillation: how sure the teacher is of the right class, and what it says of the others, each for itself.

Zhao, Cui, Song, Qiu, Liang, CVPR 2022, https://arxiv.org/abs/2203.08679, sections 3.1 and 3.3, equation 7. Read: memory
for the paper, copy for the authors' code (megvii-research/mdistiller, whose recipe for CIFAR-100 gives the defaults).
TCKD is the KL between right and not right, NCKD the KL over the classes that are not right, renormalised. Hinton's KL
is TCKD + (1 - teacher's probability of the right class) · NCKD; here NCKD is freed from that factor.
Deviations:
- the authors' code subtracts 1000 from the right class's logit to leave it out; here it is taken out, so that no scale
  of logits brings it back;
- their recipe raises the weight of the term over the first 20 epochs; here it is constant;
- the paper does not mix rows. Of a mixed row (mixup) both labels are the right class in turn, weighted by their shares,
  and it counts only where both are known.
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float, Int
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import binary_kl, kl, tempered, without
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class DKD(Objective):
    """KL over (right, not right) and KL over the classes that are not right, weighted, times the temperature squared.

    Rows without a known label are not counted: nobody can say which class is the right one.

    Args:
        alpha: Weight of TCKD, the KL between right and not right.
        beta: Weight of NCKD, the KL over the other classes. The paper takes 0.5 to 8, more for surer teachers.
        temperature: Divides both models' logits before the softmax.
    """

    family = "soft targets"
    formula = "T² · (alpha · KL(right, not right) + beta · KL(classes that are not right)), teacher || student"
    weights = ("alpha", "beta")
    factor = "T²"

    @validate_call
    def __init__(
        self,
        alpha: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        beta: Annotated[float, Ge(0), Lt(math.inf)] = 8.0,
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 4.0,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def needs(self) -> Needs:
        """The teacher's dense logits, to part them at the label, and labels."""
        return Needs(logits=True, labels=True, meaning=frozenset({"classes"}))

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        """The rows whose label, and whose partner's label where there is one, is known."""
        return batch.labelled

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the weighted sum of both parts for each row; rows that are not counted may hold any label."""
        assert student.logits is not None and teacher.logits is not None
        theirs, ours = (tempered(said, self.temperature) for said in (teacher.logits.detach(), student.logits))
        return batch.by_label(lambda right: self._parts(theirs, ours, right))

    def _parts(
        self,
        teacher: Float[Tensor, "*rows classes"],
        student: Float[Tensor, "*rows classes"],
        right: Int[Tensor, "*rows"],
    ) -> Float[Tensor, "*rows"]:
        target = binary_kl(_certainty(teacher, right), _certainty(student, right))
        others = kl(*(tempered(without(said, right), 1.0) for said in (teacher, student)))
        return self.temperature**2 * (self.alpha * target + self.beta * others)


def _certainty(logarithms: Float[Tensor, "*rows classes"], right: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """The logit of the right class against all others together."""
    others = torch.logsumexp(without(logarithms, right), dim=-1)
    return logarithms.gather(-1, right[..., None]).squeeze(-1) - others
