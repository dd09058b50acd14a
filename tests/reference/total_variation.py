"""Wen et al., 2023, section 2.2: half the sum of |p_i - q_i|, times T.

Written as the probability that the two have not in common: 1 - sum_i min(p_i, q_i).
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [case(seed=1), case({"temperature": 5.0}, seed=2)]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def value(student: Said, teacher: Said, batch: Batch, weights: Weights, *, temperature: float = 1.0) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        both = zip(softened(said, temperature), softened(taught, temperature), strict=True)
        values.append(temperature * (1 - sum(min(q, p) for q, p in both)))
    return values
