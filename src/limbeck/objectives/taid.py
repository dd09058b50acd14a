"""Distillation by a moving target: between what the student says itself and what the teacher says, ever nearer to it.

Shing, Misaki, Bao, Yokoi, Akiba, ICLR 2025 (TAID), https://arxiv.org/abs/2501.16937, section 3:
p_t = softmax((1 − t) · student + t · teacher), with no gradient through the student's part, and KL(p_t || student).
Read: copy for the code (SakanaAI/TAID's, found under no repository's name), memory for the paper.
The paper's t rises from 0.4 to 1: `taid(share=linear(0.4, 1))`. A default is one number: 0.4, where the paper starts;
at a share of 1 this is `kd`.
Deviations:
- the paper also drives t ahead of the line, by how much the loss has just fallen; here t is what the
  schedule says. With the authors' rate 5e-4 (a step of about 5e-4 · 1/2 · (1 − t)) that part leads the line only in
  trainings longer than about 4,000 steps, and it would need a memory from step to step;
- the code's loss is the cross-entropy with p_t; the KL, which the paper writes, is that less the target's entropy,
  through which no gradient flows;
- the paper has no temperature: the default is 1. With another both sides are divided by it and the value is multiplied
  by T² (Hinton, Vinyals, Dean, 2015, https://arxiv.org/abs/1503.02531, section 2).
"""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl, tempered
from limbeck.objective import Needs, Objective
from limbeck.precision import wide
from limbeck.signals import Batch, Signals


class TAID(Objective):
    """KL(target || student) in nats, both softened by a temperature, times T²; the target lies between the two models.

    Mixed are logits, so that the target's probabilities are a weighted geometric mean of both models'. Its value says
    how far the student is from the target and not from the teacher: it grows with the share while the student learns.

    Args:
        share: The teacher's share in the target's logits, which a schedule moves; at 0 there is nothing to learn.
        temperature: Divides the logits of target and student before the softmax.
    """

    family = "soft targets"
    formula = "T² · KL(softmax(((1 − share) · student + share · teacher) / T) || softmax(student / T))"
    factor = "T²"

    @validate_call
    def __init__(
        self,
        share: Annotated[float, Ge(0), Le(1)] = 0.4,
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0,
    ) -> None:
        super().__init__()
        self.share, self.temperature = share, temperature

    def needs(self) -> Needs:
        """The teacher's logits, which are mixed with the student's."""
        return Needs(logits=True, meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the divergence of each row from its target."""
        assert student.logits is not None and teacher.logits is not None
        ours, theirs = wide(student.logits), wide(teacher.logits.detach())
        target = (1 - self.share) * ours.detach() + self.share * theirs
        return self.temperature**2 * kl(tempered(target, self.temperature), tempered(ours, self.temperature))
