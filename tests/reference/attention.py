"""Zagoruyko, Komodakis, 2016, equation 2: the maps are vectors q / ||q||, of which the code takes the mean square."""

import math
from typing import Any

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def layers(student: tuple[int, ...], teacher: tuple[int, ...], seed: int, **arguments: Any) -> Case:
    names = {"student_layer": "early", "teacher_layer": "deep.1"}
    return case(names | arguments, student={"early": student}, teacher={"deep.1": teacher}, seed=seed)


def cases() -> list[Case]:
    return [
        layers((2, 2, 3), (3, 2, 3), seed=1),
        layers((2, 4, 2), (3, 2, 2), seed=2, power=1.0),
        layers((4, 2), (4, 3), seed=3, power=4.0, student_prefix=1, teacher_prefix=1),
        layers((5, 3), (2, 2, 2), seed=4, student_prefix=1),
    ]


def places(said: Numbers, prefix: int) -> list[list[float]]:
    """The vectors of a sequence, or of an image row by row, halving an image of four lines."""
    if not isinstance(said[0][0], list):
        return [vector for number, vector in enumerate(said) if number >= prefix]
    if len(said[0]) == 4:
        said = [[[(a + b) / 2 for a, b in zip(*channel[y : y + 2], strict=True)] for y in (0, 2)] for channel in said]
    return [[channel[y][x] for channel in said] for y in range(len(said[0])) for x in range(len(said[0][0]))]


def attention(vectors: list[list[float]], power: float) -> list[float]:
    sums = [sum(abs(part) ** power for part in vector) for vector in vectors]
    length = math.hypot(*sums)
    return [number / length for number in sums]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layer: str,
    teacher_layer: str,
    power: float = 2.0,
    student_prefix: int = 0,
    teacher_prefix: int = 0,
) -> Numbers:
    values = []
    for said, told in zip(student.features[student_layer], teacher.features[teacher_layer], strict=True):
        ours = attention(places(said, student_prefix), power)
        theirs = attention(places(told, teacher_prefix), power)
        values.append(sum((q - p) ** 2 for q, p in zip(ours, theirs, strict=True)) / len(ours))
    return values
