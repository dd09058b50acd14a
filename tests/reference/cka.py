"""Kornblith et al., 2019, section 3: ||YᵀX||² / (||XᵀX|| ||YᵀY||), the feature side of the same products."""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case, flat

PROMISES = Promises()


def cases() -> list[Case]:
    layers = {"student_layer": "thin", "teacher_layer": "wide"}
    return [
        case(layers, student={"thin": (3,)}, teacher={"wide": (5,)}, seed=1),
        case(layers, student={"thin": (1, 2, 2)}, teacher={"wide": (3, 2)}, seed=2),
    ]


def columns(rows: Numbers, batch: Batch) -> list[list[float]]:
    """Each feature over the counted rows, its mean taken off."""
    kept = [flat(row) for row, counts in zip(rows, batch.mask.tolist(), strict=True) if counts]
    return [[number - sum(column) / len(column) for number in column] for column in zip(*kept, strict=True)]


def norm(x: list[list[float]], y: list[list[float]]) -> float:
    """The Frobenius norm of the matrix of all products of a feature of the one and a feature of the other."""
    return math.sqrt(sum(sum(a * b for a, b in zip(p, q, strict=True)) ** 2 for p in x for q in y))


def value(
    student: Said, teacher: Said, batch: Batch, weights: Weights, *, student_layer: str, teacher_layer: str
) -> float:
    x, y = columns(student.features[student_layer], batch), columns(teacher.features[teacher_layer], batch)
    return 1 - norm(x, y) ** 2 / (norm(x, x) * norm(y, y))
