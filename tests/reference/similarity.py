"""Tung, Mori, 2019, equations 1 to 4: mean over all places of the squared difference of normalised Gram matrices."""

import math

from limbeck.signals import Batch
from reference import Case, Promises, Said, Weights, case, flat

PROMISES = Promises()


def cases() -> list[Case]:
    layers = {"student_layer": "thin", "teacher_layer": "wide"}
    return [case(seed=1), case(layers, student={"thin": (2, 1, 2)}, teacher={"wide": (5,)}, seed=2)]


def points_of(said: Said, layer: str | None, batch: Batch) -> list[list[float]]:
    rows = said.logits if layer is None else said.features[layer]
    return [flat(row) for row, counts in zip(rows, batch.mask.tolist(), strict=True) if counts]


def line(points: list[list[float]], i: int) -> list[float]:
    """Row i of the Gram matrix, of length 1."""
    products = [sum(x * y for x, y in zip(points[i], other, strict=True)) for other in points]
    return [product / math.hypot(*products) for product in products]


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
    squares = [
        (theirs - ours) ** 2
        for i in range(len(taught))
        for theirs, ours in zip(line(taught, i), line(learnt, i), strict=True)
    ]
    return sum(squares) / len(squares)
