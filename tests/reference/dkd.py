"""Zhao et al., 2022, section 3.1: b = (p_t, 1 - p_t), p^_i = p_i / (1 - p_t) for i != t; equation 7, times T².

DKD = alpha sum_b b_T log(b_T / b_S) + beta sum_i p^_T log(p^_T / p^_S), from probabilities at the temperature. Of a row
that is mixed (mixup), both labels in turn, weighted by their shares.
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [
        case(seed=1),
        case({"alpha": 2.0, "beta": 0.5, "temperature": 1.0}, seed=2, mixed=True),
        case({"beta": 3.0, "temperature": 2.0}, seed=3, classes=3),
    ]


def counted(batch: Batch) -> list[bool]:
    rows = []
    for row in range(len(batch)):
        counts = bool(batch.mask[row]) and bool(batch.known[row])
        rows.append(counts and (batch.partner is None or bool(batch.partner.known[row])))
    return rows


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def divergence(teacher: list[float], student: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))


def decoupled(p: list[float], q: list[float], right: int, alpha: float, beta: float) -> float:
    tckd = divergence([p[right], 1 - p[right]], [q[right], 1 - q[right]])
    others = [[part / (1 - whole[right]) for i, part in enumerate(whole) if i != right] for whole in (p, q)]
    return alpha * tckd + beta * divergence(*others)


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Numbers:
    assert batch.labels is not None
    values = []
    for row, (said, taught) in enumerate(zip(student.logits, teacher.logits, strict=True)):
        q, p = softened(said, temperature), softened(taught, temperature)
        found = decoupled(p, q, int(batch.labels[row]), alpha, beta)
        if batch.partner is not None:
            share = float(batch.partner.share[row])
            found = share * found + (1 - share) * decoupled(p, q, int(batch.partner.labels[row]), alpha, beta)
        values.append(temperature * temperature * found)
    return values
