"""Boizard et al., 2024, section 3.2: the cost of moving p onto q where every two ranks are one apart.

Written as the mass of each that is above the other at the same rank, added up.
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [case(seed=1), case(seed=2, classes=7)]


def ranked(logits: list[float]) -> list[float]:
    exponentials = [math.exp(logit) for logit in logits]
    return sorted((exponential / sum(exponentials) for exponential in exponentials), reverse=True)


def value(student: Said, teacher: Said, batch: Batch, weights: Weights) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        both = list(zip(ranked(said), ranked(taught), strict=True))
        values.append(sum(max(q - p, 0.0) for q, p in both) + sum(max(p - q, 0.0) for q, p in both))
    return values
