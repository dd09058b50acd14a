"""Soft-target distillation: the student learns the teacher's whole distribution, softened by a temperature.

Hinton, Vinyals, Dean, 2015, https://arxiv.org/abs/1503.02531, section 2. Read: memory.
The factor T² keeps the gradient's size about the same at every temperature (same section).
Deviation: the paper writes the cross-entropy with the soft targets; this is KL(teacher || student), which differs from
it by the teacher's entropy, a constant, so that the gradient is the same and the value is zero for equal models.

With `standardise`: Sun, Ren, Li, Wang, Cao, CVPR 2024, https://arxiv.org/abs/2403.01427, section 4.2 and algorithm 1.
Read: copy for the authors' code (sunshangquan/logit-standardization-KD) and the abstract, memory for the rest.
Both models' logits are brought to mean 0 and standard deviation 1 over the classes before the (base) temperature, so
that a small student need not reach the range of its teacher's logits. The authors take the temperature 2 or 3 and the
weight 9 for CIFAR-100.
Deviations:
- the deviation is the population's, as in the paper, which bounds the standardised logits by the root of classes − 1;
  the code divides by classes − 1 in place of classes, as though its temperature were higher by the root of
  classes / (classes − 1);
- the code adds 1e-7 to the deviation; here a row whose logits are all alike becomes zeros without gradient.
"""

import math
from typing import Annotated

from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl, standardised
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals
from limbeck.targets.dense import DenseTargets
from limbeck.targets.protocol import SoftTargets


class KD(Objective):
    """KL(teacher || student) in nats, both softened by a temperature, times the temperature squared.

    Args:
        temperature: Divides both models' logits before the softmax. The default 4 is common practice for image
            classes; the paper used 2.5 to 20, lower for smaller students (section 3). With `standardise`, 2 or 3.
        standardise: Brings both models' logits to mean 0 and standard deviation 1 over the classes first. This takes
            the teacher's dense logits: over some of the classes, the mean and the deviation are others.
    """

    family = "soft targets"
    formula = "T² · KL(softmax(teacher / T) || softmax(student / T))"
    factor = "T²"

    @validate_call
    def __init__(self, temperature: Annotated[float, Gt(0), Lt(math.inf)] = 4.0, *, standardise: bool = False) -> None:
        super().__init__()
        self.temperature, self.standardise = temperature, standardise

    def needs(self) -> Needs:
        """Targets that answer the forward KL over classes at this temperature; standardised, the teacher's logits."""
        if self.standardise:
            return Needs(logits=True, meaning=frozenset({"classes"}))
        return Needs(soft=frozenset({(kl, self.temperature)}), meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² · KL(teacher || student) of each row, in nats."""
        assert student.logits is not None
        targets: SoftTargets | None = teacher.targets
        ours = student.logits
        if self.standardise:
            assert teacher.logits is not None
            targets, ours = DenseTargets(standardised(teacher.logits)), standardised(ours)
        assert targets is not None
        return self.temperature**2 * targets.divergence(kl, ours, self.temperature)
