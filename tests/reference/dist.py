"""Huang et al., 2022, section 3: d(u, v) = 1 - cov(u, v) / (std(u) std(v)) of probabilities, times T².

beta / B sum over rows of d(row, row) + gamma / C sum over classes of d(column, column), over the rows that count. Where
one of the two does not vary, d is 0: in the last case the teacher says the same of every row, and no column does.
"""

import math
from dataclasses import replace

from limbeck.signals import Batch, Signals
from reference import Case, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    alike = case(seed=4)
    assert alike.teacher.logits is not None
    return [
        case(seed=1),
        case({"beta": 2.0, "gamma": 0.0, "temperature": 4.0}, seed=2),
        case({"beta": 0.5, "gamma": 3.0, "temperature": 2.0}, seed=3, classes=3),
        replace(alike, teacher=Signals.dense(alike.teacher.logits[:1].repeat(6, 1))),
    ]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def covariance(u: list[float], v: list[float]) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True)) / len(u) - sum(u) / len(u) * sum(v) / len(v)


def distance(u: list[float], v: list[float]) -> float:
    if max(u) == min(u) or max(v) == min(v):
        return 0.0
    return 1 - covariance(u, v) / math.sqrt(covariance(u, u) * covariance(v, v))


def mean_distance(ours: list[list[float]], theirs: list[list[float]]) -> float:
    return sum(distance(u, v) for u, v in zip(ours, theirs, strict=True)) / len(ours)


def transposed(lines: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*lines, strict=True)]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> float:
    ours, theirs = (
        [softened(row, temperature) for row, counts in zip(said.logits, batch.mask.tolist(), strict=True) if counts]
        for said in (student, teacher)
    )
    by_row, by_class = mean_distance(ours, theirs), mean_distance(transposed(ours), transposed(theirs))
    return temperature * temperature * (beta * by_row + gamma * by_class)
