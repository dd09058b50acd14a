"""Hinton, Vinyals, Dean, 2015, section 2: q_i = exp(z_i / T) / sum_j exp(z_j / T), times T².

Sun et al., 2024, algorithm 1: first z becomes (z - mean) / sigma, sigma² = sum_i (z_i - mean)² / K for K classes.
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [
        case(seed=1),
        case({"temperature": 1.0}, seed=2),
        case({"temperature": 20.0}, seed=3),
        case({"temperature": 2.0, "standardise": True}, seed=4),
    ]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def scored(logits: list[float]) -> list[float]:
    mean = sum(logits) / len(logits)
    sigma = math.sqrt(sum((logit - mean) ** 2 for logit in logits) / len(logits))
    return [(logit - mean) / sigma for logit in logits]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    temperature: float = 4.0,
    standardise: bool = False,
) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        if standardise:
            said, taught = scored(said), scored(taught)
        divergence = 0.0
        for q, p in zip(softened(said, temperature), softened(taught, temperature), strict=True):
            divergence += p * math.log(p / q)
        values.append(temperature * temperature * divergence)
    return values
