"""Hinton, Vinyals, Dean, 2015, section 2: q_i = exp(z_i / T) / sum_j exp(z_j / T), times T²."""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [case(seed=1), case({"temperature": 1.0}, seed=2), case({"temperature": 20.0}, seed=3)]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def value(student: Said, teacher: Said, batch: Batch, weights: Weights, *, temperature: float = 4.0) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        divergence = 0.0
        for q, p in zip(softened(said, temperature), softened(taught, temperature), strict=True):
            divergence += p * math.log(p / q)
        values.append(temperature * temperature * divergence)
    return values
