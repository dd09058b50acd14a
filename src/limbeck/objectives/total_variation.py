"""Soft targets by the plain difference of probabilities: symmetric, bounded, and the same pull however far off.

Wen, Li, Du, Mou, ACL 2023 (f-distill), https://arxiv.org/abs/2307.15190, section 2.2: the total variation distance,
half the sum of |p − q|, for each step. Read: copy for the abstract, memory for the rest; copy for other code
(jongwooko/distillm).
The pull on a class has the same strength whether the student is a little or much too low; it is strongest where the
student itself is unsure, so that a student sure of the wrong class is hardly moved. The paper takes no temperature,
whence the default 1.
Deviations:
- the factor T, and not T²: at high temperatures the probabilities lie 1 / T closer together, which the distance takes
  without its square. T times the distance tends to half the mean difference of centred logits, without its sign;
- the paper weighs steps by samples of both models; here it is taken exactly, on the given data.
"""

import math
from typing import Annotated

from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import total_variation
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class TotalVariation(Objective):
    """Half the sum of the differences between both models' softened probabilities, times the temperature.

    Args:
        temperature: Divides both models' logits before the softmax.
    """

    family = "soft targets"
    formula = "T · ½ Σ |softmax(teacher / T) − softmax(student / T)|"
    factor = "T"

    @validate_call
    def __init__(self, temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def needs(self) -> Needs:
        """Targets that answer the total variation over classes at this temperature."""
        return Needs(soft=frozenset({(total_variation, self.temperature)}), meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T times the distance of each row."""
        assert student.logits is not None and teacher.targets is not None
        return self.temperature * teacher.targets.divergence(total_variation, student.logits, self.temperature)
