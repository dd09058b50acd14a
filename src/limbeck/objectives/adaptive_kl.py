"""Soft targets in both directions: forward as far as the student is off in likely classes, reverse for the others.

Wu, Tao, Wang, Yang, Zhao, Wong, COLING 2025, https://arxiv.org/abs/2404.02657, "Rethinking Kullback-Leibler divergence
in knowledge distillation for large language models", section 4 (AKL). Read: copy for the abstract and the authors' code
(wutaiqiang/LLM_KD_AKL), whose head of 0.5 is the default; memory for the rest.
Early in training the forward divergence fits the likely classes, the head, first, and the reverse one the others, the
tail; each is weighted by its part of the total difference between probabilities. The weights are constants: no gradient
flows through them. The code takes no temperature, whence the default 1.
Deviations:
- T² as in `kd`: Hinton, Vinyals, Dean, 2015, https://arxiv.org/abs/1503.02531, section 2. The head is that of the
  softened probabilities;
- the class by which the sum of the likeliest rises above `head` belongs to the tail, unless it is the first, as in the
  code; as far as memory goes, the paper's head is the smallest that reaches it, and so one class larger;
- of classes the teacher holds equally likely, the first in order come first;
- equal models have no difference to weigh by: each direction counts half, where the code divides 0 by 0.
"""

import math
from typing import Annotated

from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import AdaptiveKL
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class AdaptiveKLDistillation(Objective):
    """KL(teacher || student) and KL(student || teacher), weighted by where the two differ, times T².

    Args:
        head: The probability that the teacher's likeliest classes, the head, have together at most; there is always
            one.
        temperature: Divides both models' logits before the softmax.
    """

    family = "soft targets"
    formula = "T² · (w · KL(p || q) + (1 − w) · KL(q || p)), w = Σ |p − q| in the head of p / Σ |p − q|, held constant"
    factor = "T²"

    @validate_call
    def __init__(
        self,
        head: Annotated[float, Gt(0), Lt(1)] = 0.5,
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0,
    ) -> None:
        super().__init__()
        self.head, self.temperature = head, temperature

    def needs(self) -> Needs:
        """Targets that answer this divergence over classes at this temperature."""
        soft = frozenset({(AdaptiveKL(self.head), self.temperature)})
        return Needs(soft=soft, meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the weighted divergences of each row, in nats."""
        assert student.logits is not None and teacher.targets is not None
        divergence = AdaptiveKL(self.head)
        return self.temperature**2 * teacher.targets.divergence(divergence, student.logits, self.temperature)
