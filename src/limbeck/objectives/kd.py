"""Soft-target distillation: the student learns the teacher's whole distribution, softened by a temperature.

Hinton, Vinyals, Dean, 2015, https://arxiv.org/abs/1503.02531, section 2. Read: memory.
The factor T² keeps the gradient's size about the same at every temperature (same section).
Deviation: the paper writes the cross-entropy with the soft targets; this is KL(teacher || student), which differs from
it by the teacher's entropy, a constant, so that the gradient is the same and the value is zero for equal models.
"""

import math
from typing import Annotated

from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class KD(Objective):
    """KL(teacher || student) in nats, both softened by a temperature, times the temperature squared.

    Args:
        temperature: Divides both models' logits before the softmax. The default 4 is common practice for image
            classes; the paper used 2.5 to 20, lower for smaller students (section 3).
    """

    family = "soft targets"
    formula = "T² · KL(softmax(teacher / T) || softmax(student / T))"
    factor = "T²"

    @validate_call
    def __init__(self, temperature: Annotated[float, Gt(0), Lt(math.inf)] = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def needs(self) -> Needs:
        """Targets that answer the forward KL over classes at this temperature."""
        return Needs(soft=frozenset({(kl, self.temperature)}), meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² · KL(teacher || student) of each row, in nats."""
        assert student.logits is not None
        assert teacher.targets is not None
        return self.temperature**2 * teacher.targets.divergence(kl, student.logits, self.temperature)
