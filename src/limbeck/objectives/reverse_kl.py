"""Mode-seeking soft targets: the student says nothing the teacher holds unlikely, and may leave out what it likes less.

Gu, Dong, Wei, Huang, ICLR 2024 (MiniLLM), https://arxiv.org/abs/2306.08543, section 2.1. Read: copy for the abstract,
memory for the rest; copy for the token-wise form in later code (jongwooko/distillm).
The forward divergence of `kd` makes a student too small for its teacher spread over all that the teacher says; this one
lets it keep to the likeliest. The paper takes no temperature, whence the default 1.
Deviations:
- the paper takes the divergence of whole sequences, which the student samples, and minimises it by policy gradients;
  here it is that of each row's (or each step's) distribution, exactly, on the given data;
- T² as in `kd`: Hinton, Vinyals, Dean, 2015, https://arxiv.org/abs/1503.02531, section 2. At high temperatures both
  divergences become the same.
"""

import math
from typing import Annotated

from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import reverse_kl
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class ReverseKL(Objective):
    """KL(student || teacher) in nats, both softened by a temperature, times the temperature squared.

    Args:
        temperature: Divides both models' logits before the softmax.
    """

    family = "soft targets"
    formula = "T² · KL(softmax(student / T) || softmax(teacher / T))"
    factor = "T²"

    @validate_call
    def __init__(self, temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def needs(self) -> Needs:
        """Targets that answer the reverse KL over classes at this temperature."""
        return Needs(soft=frozenset({(reverse_kl, self.temperature)}), meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² · KL(student || teacher) of each row, in nats."""
        assert student.logits is not None and teacher.targets is not None
        return self.temperature**2 * teacher.targets.divergence(reverse_kl, student.logits, self.temperature)
