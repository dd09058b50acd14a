"""Passalis, Tefas, 2018, section 3: conditional probabilities of a cosine kernel, and their KL over the other rows."""

import math

from limbeck.signals import Batch
from reference import Case, Promises, Said, Weights, case, flat

PROMISES = Promises()


def cases() -> list[Case]:
    layers = {"student_layer": "thin", "teacher_layer": "wide"}
    return [case(seed=1), case(layers, student={"thin": (1, 2, 2)}, teacher={"wide": (5,)}, seed=2)]


def points_of(said: Said, layer: str | None, batch: Batch) -> list[list[float]]:
    rows = said.logits if layer is None else said.features[layer]
    return [flat(row) for row, counts in zip(rows, batch.mask.tolist(), strict=True) if counts]


def kernel(a: list[float], b: list[float]) -> float:
    """K(a, b) = 1/2 (a'b / (|a| |b|) + 1)."""
    return (math.fsum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b)) + 1) / 2


def conditional(points: list[list[float]], i: int, j: int) -> float:
    """p(i | j): how much of row j's kernel, its own place left out, belongs to row i."""
    return kernel(points[i], points[j]) / sum(kernel(points[k], points[j]) for k in range(len(points)) if k != j)


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layer: str | None = None,
    teacher_layer: str | None = None,
) -> float:
    learnt, taught = points_of(student, student_layer, batch), points_of(teacher, teacher_layer, batch)
    total = 0.0
    for j in range(len(taught)):
        for i in range(len(taught)):
            if i != j:
                p, q = conditional(taught, i, j), conditional(learnt, i, j)
                total += p * math.log(p / q)
    return total / len(taught)
