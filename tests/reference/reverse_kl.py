"""Gu et al., 2024, section 2.1: KL(q || p) = sum_i q_i log(q_i / p_i) of a student q and a teacher p, times T².

Written as what it costs to code the student's symbols with the teacher's code, less the student's entropy.
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [case(seed=1), case({"temperature": 4.0}, seed=2)]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def value(student: Said, teacher: Said, batch: Batch, weights: Weights, *, temperature: float = 1.0) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        q, p = softened(said, temperature), softened(taught, temperature)
        cost = -sum(ours * math.log(theirs) for ours, theirs in zip(q, p, strict=True))
        entropy = -sum(ours * math.log(ours) for ours in q)
        values.append(temperature * temperature * (cost - entropy))
    return values
