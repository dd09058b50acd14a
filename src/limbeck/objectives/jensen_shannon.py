"""Soft targets between both directions: each model is held against a mixture of the two, by the Jensen-Shannon measure.

Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem, ICLR 2024 (GKD), https://arxiv.org/abs/2306.13649, section 2,
equation 1; beta as there, the teacher's share in the mixture. Read: memory; copy for other code (huggingface/trl,
jongwooko/distillm).
The limits: as beta falls to 0 the value goes to 0 as beta · KL(teacher || student), as beta rises to 1 as (1 − beta) ·
KL(student || teacher), so that at the ends the weight in front must grow. The value is never above the entropy of
(beta, 1 − beta) in nats (log 2 at 1/2) times T²: no row of a teacher far away outweighs all others.
The paper tries beta 0.1, 0.5 and 0.9 and takes no temperature, whence the defaults 1/2, the symmetric one, and 1.
Deviation: T², which the paper has no need of. At high temperatures the measure tends to beta · (1 − beta) · KL, of
which T² keeps the gradient's size, as it does in `kd` (Hinton et al., 2015, section 2); beta · (1 − beta) is left in.
An early trl mixed logarithms in place of probabilities, and distillm calls the student's share beta: other measures.
"""

import math
from typing import Annotated

from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import JensenShannon
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class JensenShannonDistillation(Objective):
    """The generalised Jensen-Shannon divergence in nats, softened by a temperature, times the temperature squared.

    Args:
        beta: The teacher's share in the mixture, and the weight of its divergence from it: small is near `kd`, large
            is near `reverse_kl`, both much smaller in value.
        temperature: Divides both models' logits before the softmax.
    """

    family = "soft targets"
    formula = (
        "T² · (beta · KL(p || m) + (1 − beta) · KL(q || m)), m = beta · p + (1 − beta) · q, of teacher p, student q"
    )
    factor = "T²"

    @validate_call
    def __init__(
        self,
        beta: Annotated[float, Gt(0), Lt(1)] = 0.5,
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0,
    ) -> None:
        super().__init__()
        self.beta, self.temperature = beta, temperature

    def needs(self) -> Needs:
        """Targets that answer this divergence over classes at this temperature."""
        soft = frozenset({(JensenShannon(self.beta), self.temperature)})
        return Needs(soft=soft, meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the divergence of each row, in nats."""
        assert student.logits is not None and teacher.targets is not None
        divergence = JensenShannon(self.beta)
        return self.temperature**2 * teacher.targets.divergence(divergence, student.logits, self.temperature)
