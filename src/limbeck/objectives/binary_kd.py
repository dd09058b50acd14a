"""Soft targets for rows of several classes: each class is an event of its own, and there is no softmax over them.

Hinton, Vinyals, Dean, 2015, https://arxiv.org/abs/1503.02531, section 2, taken for each class alone; Yang, Xie, Zong,
Feng, Niu, Sugiyama, 2023, https://arxiv.org/abs/2308.06453, "Multi-label knowledge distillation", section 3, call this
divergence, summed over the classes, multi-label logits distillation. Read: memory of both.
The factor T² keeps the gradient's size about the same at every temperature (Hinton et al., same section).
Deviation: Yang et al. take no temperature.
"""

import math
from typing import Annotated

from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import binary_kl
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class BinaryKD(Objective):
    """KL(teacher || student) in nats of every class's presence, summed over classes, times the temperature squared.

    Args:
        temperature: Divides both models' logits before the sigmoid.
    """

    family = "soft targets"
    formula = "T² · Σ KL(sigmoid(teacher / T) || sigmoid(student / T)), summed over the classes"
    factor = "T²"

    @validate_call
    def __init__(self, temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def needs(self) -> Needs:
        """The teacher's logits, each of a class that is there or not."""
        return Needs(logits=True, meaning=frozenset({"binary"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² · KL(teacher || student) of each row, in nats."""
        assert student.logits is not None and teacher.logits is not None
        divergence = binary_kl(teacher.logits.detach(), student.logits, self.temperature)
        return self.temperature**2 * divergence.sum(dim=-1)
