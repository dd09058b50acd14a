"""Hinton, Vinyals, Dean, 2015, section 2, of two outcomes: p log(p / q) + (1 - p) log((1 - p) / (1 - q)), times T²."""

import math

from limbeck.signals import Batch
from limbeck.tasks.forecasting import Forecasting
from reference import Case, Numbers, Promises, Said, Weights, case_of

PROMISES = Promises()
AHEAD = Forecasting(horizon=3, below=0.0, scale=2.0)
QUANTILES = Forecasting(horizon=2, above=0.0, quantiles=(0.25, 0.5, 0.75), scale=2.0)


def cases() -> list[Case]:
    return [
        case_of(AHEAD, outputs=4, quantities=3, seed=1),
        case_of(AHEAD, {"temperature": 3.0}, outputs=4, quantities=3, seed=2),
        case_of(QUANTILES, {"temperature": 0.5}, outputs=7, quantities=2, seed=3),
    ]


def divergence(teacher: float, student: float, temperature: float) -> float:
    p, q = (1 / (1 + math.exp(-logit / temperature)) for logit in (teacher, student))
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def value(student: Said, teacher: Said, batch: Batch, weights: Weights, *, temperature: float = 1.0) -> Numbers:
    pairs = zip(student.logits, teacher.logits, strict=True)
    return [temperature**2 * divergence(taught[-1], said[-1], temperature) for said, taught in pairs]
