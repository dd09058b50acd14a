"""Distillation without a teacher: an invented one, always right, that knows no class from another beside the right one.

Yuan, Tay, Li, Wang, Feng, CVPR 2020, https://arxiv.org/abs/1909.11723, section 4, equations 8 and 9 (Tf-KD_reg), the
part besides the labels; its alpha is the weight: `0.9 * labels + 0.1 * teacher_free` on ImageNet (section 5.2).
Read: paper, and a copy of the authors' code (yuanli2333/Teacher-free-Knowledge-Distillation). The probability 0.99 and
the temperature 20 are those of ImageNet (section 5.2); section 4 asks for at least 0.9 and at least 20.
Deviations:
- equation 9 has no T²; here there is one, as for every term at a temperature (Hinton, Vinyals, Dean, 2015,
  https://arxiv.org/abs/1503.02531, section 2): without it the gradient at 20 would be 400 times smaller;
- the invented distribution is softened as a teacher's is, its logarithms divided by the temperature, and the student
  too, as equation 9 says. The authors' code divides the probabilities themselves, which leaves nearly nothing but the
  uniform distribution, does not soften the student, averages over classes and makes up for it by a factor of its own;
- the paper does not mix rows. Of a mixed row (mixup) both labels are the right class in turn, weighted by their shares,
  and it counts only where both are known.
"""

import math
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from jaxtyping import Bool, Float, Int
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl, tempered
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class TeacherFree(Objective):
    """KL(invented teacher || student), both softened by a temperature, times the temperature squared.

    It needs no teacher: run it as plain training with this term beside `labels`. Rows without a known label are not
    counted.

    Args:
        probability: What the invented teacher gives the right class; the others share the rest alike. The paper takes
            at least 0.9.
        temperature: Divides the logarithms of the invented teacher's probabilities, and the student's logits.
    """

    family = "labels"
    formula = "T² · KL(invented || student) at temperature T; invented = a on the label, (1 − a) / (K − 1) elsewhere"
    factor = "T²"

    @validate_call
    def __init__(
        self,
        probability: Annotated[float, Gt(0), Lt(1)] = 0.99,
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 20.0,
    ) -> None:
        super().__init__()
        self.probability, self.temperature = probability, temperature

    def needs(self) -> Needs:
        """Labels, and no teacher."""
        return Needs(labels=True, meaning=frozenset({"classes"}))

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        """The rows whose label, and whose partner's label where there is one, is known."""
        return batch.labelled

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the divergence of each row, in nats; rows that are not counted may hold any label."""
        assert student.logits is not None
        ours = tempered(student.logits, self.temperature)
        return batch.by_label(lambda right: self._divergence(ours, right))

    def _divergence(
        self, student: Float[Tensor, "*rows classes"], right: Int[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows"]:
        rest = (1 - self.probability) / max(student.shape[-1] - 1, 1)
        invented = torch.full_like(student, math.log(rest))
        invented.scatter_(-1, right[..., None], math.log(self.probability))
        return self.temperature**2 * kl(tempered(invented, self.temperature), student)
