"""Yuan et al., 2020, equations 8 and 9: p_d = a for the right class, (1 - a) / (K - 1) for each other; KL(p_d, p).

Both softened by a temperature: p_d to the power 1 / tau, divided by the sum. Times tau², by Hinton's section 2. Of a
row that is mixed (mixup), both labels in turn, weighted by their shares.
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises(zero_when_equal=False)


def cases() -> list[Case]:
    return [
        case(seed=1),
        case({"probability": 0.9, "temperature": 2.0}, seed=2, mixed=True),
        case({"temperature": 1.0}, seed=3, classes=3),
    ]


def counted(batch: Batch) -> list[bool]:
    rows = []
    for row in range(len(batch)):
        counts = bool(batch.mask[row]) and bool(batch.known[row])
        rows.append(counts and (batch.partner is None or bool(batch.partner.known[row])))
    return rows


def divergence(logits: list[float], right: int, a: float, tau: float) -> float:
    powers = [(a if k == right else (1 - a) / (len(logits) - 1)) ** (1 / tau) for k in range(len(logits))]
    exponentials = [math.exp(logit / tau) for logit in logits]
    total = 0.0
    for power, exponential in zip(powers, exponentials, strict=True):
        p, q = power / sum(powers), exponential / sum(exponentials)
        total += p * math.log(p / q)
    return tau * tau * total


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    probability: float = 0.99,
    temperature: float = 20.0,
) -> Numbers:
    assert batch.labels is not None
    values = []
    for row, logits in enumerate(student.logits):
        found = divergence(logits, int(batch.labels[row]), probability, temperature)
        if batch.partner is not None:
            share = float(batch.partner.share[row])
            other = divergence(logits, int(batch.partner.labels[row]), probability, temperature)
            found = share * found + (1 - share) * other
        values.append(found)
    return values
