"""Li et al., 2023, section 3: tau = tau_init + tau_range * sigmoid(theta), tau² KL(p^tau || q^tau).

theta goes up the gradient, times lambda, where everything else goes down: `reversal` says so.
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Its one parameter starts at a number, not at a random one.
PROMISES = Promises(drawn=False)


def cases() -> list[Case]:
    return [case(seed=1), case({"strength": 0.25, "lowest": 2.0, "span": 3.0}, seed=2)]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def reversal(*, strength: float = 1.0, **others: float) -> dict[str, float]:
    return {"theta": -strength}


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    strength: float = 1.0,
    lowest: float = 1.0,
    span: float = 20.0,
) -> Numbers:
    theta: float = weights["theta"]
    tau = lowest + span / (1 + math.exp(-theta))
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        divergence = 0.0
        for q, p in zip(softened(said, tau), softened(taught, tau), strict=True):
            divergence += p * (math.log(p) - math.log(q))
        values.append(tau * tau * divergence)
    return values
