"""Soft targets with a steadier gradient: a model is held against the other with a little of itself mixed in.

Ko, Kim, Chen, Yun, ICML 2024 (DistiLLM), https://arxiv.org/abs/2402.03898, section 3.1: the skew KL and the skew
reverse KL. Read: memory for the paper, copy for the authors' code (jongwooko/distillm), whose skew 0.1 is the default.
A class that the student all but rules out cannot make a row count without bound. With skew 0 they are `kd` and
`reverse_kl`. The paper takes no temperature, whence the default 1.
Deviations:
- T² as in `kd`: Hinton, Vinyals, Dean, 2015, https://arxiv.org/abs/1503.02531, section 2. At high temperatures the
  divergence tends to (1 − skew)² times that of `kd`, which is left in;
- the code leaves the teacher's entropy out of the forward form; here it stands, so that equal models have the value 0.
  The gradient is the same.
The paper's sampling from the student is no part of this.
"""

import math
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import SkewKL
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class SkewKLDistillation(Objective):
    """KL of one model from a mixture of both, softened by a temperature, times the temperature squared.

    Args:
        skew: The share in the mixture of the model that is held against it.
        direction: "forward" is KL(teacher || skew · teacher + (1 − skew) · student), "reverse" KL(student || skew ·
            student + (1 − skew) · teacher).
        temperature: Divides both models' logits before the softmax.
    """

    family = "soft targets"
    formula = (
        "T² · KL(p || skew · p + (1 − skew) · q), p the teacher's and q the student's at T; reverse: p and q swapped"
    )
    factor = "T²"

    @validate_call
    def __init__(
        self,
        skew: Annotated[float, Ge(0), Lt(1)] = 0.1,
        direction: Literal["forward", "reverse"] = "forward",
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0,
    ) -> None:
        super().__init__()
        self.skew, self.direction, self.temperature = skew, direction, temperature

    def needs(self) -> Needs:
        """Targets that answer this divergence over classes at this temperature."""
        return Needs(soft=frozenset({(self._divergence, self.temperature)}), meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the divergence of each row, in nats."""
        assert student.logits is not None and teacher.targets is not None
        return self.temperature**2 * teacher.targets.divergence(self._divergence, student.logits, self.temperature)

    @property
    def _divergence(self) -> SkewKL:
        return SkewKL(self.skew, reverse=self.direction == "reverse")
