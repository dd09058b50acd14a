"""1 − cos, from the angle's other side: half the squared distance between the two directions."""

import math
from typing import Any

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal layers do not give zero where a projector between them starts from random weights.
PROMISES = Promises(zero_when_equal=False)


def layers(student: tuple[int, ...], teacher: tuple[int, ...], seed: int, **arguments: Any) -> Case:
    names = {"student_layer": "block.1", "teacher_layer": "block.3"}
    return case(names | arguments, student={"block.1": student}, teacher={"block.3": teacher}, seed=seed)


def cases() -> list[Case]:
    return [
        layers((3,), (2,), seed=1),
        layers((3, 2), (2, 2), seed=2, student_layout="channels", teacher_layout="channels"),
        layers((4, 2), (2, 2, 2), seed=3),
    ]


def vectors(said: Numbers, layout: str) -> list[list[float]]:
    if not isinstance(said[0], list):
        return [said]
    if isinstance(said[0][0], list):
        return [[channel[y][x] for channel in said] for y in range(len(said[0])) for x in range(len(said[0][0]))]
    return said if layout == "tokens" else [list(step) for step in zip(*said, strict=True)]


def direction(vector: list[float]) -> list[float]:
    return [part / math.hypot(*vector) for part in vector]


def projected(vector: list[float], weights: Weights) -> list[float]:
    if "projector.weight" not in weights:
        return vector
    return [
        bias + sum(weight * part for weight, part in zip(line, vector, strict=True))
        for line, bias in zip(weights["projector.weight"], weights["projector.bias"], strict=True)
    ]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layer: str,
    teacher_layer: str,
    student_layout: str = "tokens",
    teacher_layout: str = "tokens",
) -> Numbers:
    values = []
    for said, told in zip(student.features[student_layer], teacher.features[teacher_layer], strict=True):
        halves = []
        for ours, theirs in zip(vectors(said, student_layout), vectors(told, teacher_layout), strict=True):
            pair = zip(direction(projected(ours, weights)), direction(theirs), strict=True)
            halves.append(sum((a - b) ** 2 for a, b in pair) / 2)
        values.append(sum(halves) / len(halves))
    return values
