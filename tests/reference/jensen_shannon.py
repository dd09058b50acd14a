"""Agarwal et al., 2024, equation 1: beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q, times T².

Written by entropies, as Lin, 1991, defines it: H(m) - beta H(p) - (1 - beta) H(q).
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [case(seed=1), case({"beta": 0.1, "temperature": 4.0}, seed=2), case({"beta": 0.9}, seed=3)]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def entropy(distribution: list[float]) -> float:
    return -sum(probability * math.log(probability) for probability in distribution)


def value(
    student: Said, teacher: Said, batch: Batch, weights: Weights, *, beta: float = 0.5, temperature: float = 1.0
) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        q, p = softened(said, temperature), softened(taught, temperature)
        m = [beta * theirs + (1 - beta) * ours for ours, theirs in zip(q, p, strict=True)]
        values.append(temperature * temperature * (entropy(m) - beta * entropy(p) - (1 - beta) * entropy(q)))
    return values
