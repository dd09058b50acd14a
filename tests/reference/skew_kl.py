"""Ko et al., 2024, section 3.1: KL(p || a p + (1 - a) q) and KL(q || (1 - a) p + a q), a the skew, times T²."""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [
        case(seed=1),
        case({"skew": 0.3, "direction": "reverse", "temperature": 3.0}, seed=2),
        case({"skew": 0.0}, seed=3),
    ]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    skew: float = 0.1,
    direction: str = "forward",
    temperature: float = 1.0,
) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        total = 0.0
        for q, p in zip(softened(said, temperature), softened(taught, temperature), strict=True):
            if direction == "forward":
                total -= p * math.log(skew + (1 - skew) * q / p)
            else:
                total -= q * math.log((1 - skew) * p / q + skew)
        values.append(temperature * temperature * total)
    return values
