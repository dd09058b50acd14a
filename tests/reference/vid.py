"""Ahn et al., 2019, section 2.2: −log of a Gaussian's density without its constant, by channel, averaged."""

import math
from typing import Any

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# A density may be above 1, and the regressor starts from random weights.
PROMISES = Promises(non_negative=False, zero_when_equal=False)


def layers(student: tuple[int, ...], teacher: tuple[int, ...], seed: int, **arguments: Any) -> Case:
    names = {"student_layer": "thin", "teacher_layer": "wide.1"}
    return case(names | arguments, student={"thin": student}, teacher={"wide.1": teacher}, seed=seed)


def cases() -> list[Case]:
    return [
        layers((3,), (2,), seed=1),
        layers((2, 2, 1), (2, 2, 1), seed=2),
        layers((2, 3), (2, 2), seed=3, student_layout="channels", student_prefix=1),
    ]


def vectors(said: Numbers, layout: str, prefix: int) -> list[list[float]]:
    if not isinstance(said[0], list):
        return [said]
    if isinstance(said[0][0], list):
        return [[channel[y][x] for channel in said] for y in range(len(said[0])) for x in range(len(said[0][0]))]
    steps = said if layout == "tokens" else [list(step) for step in zip(*said, strict=True)]
    return steps[prefix:]


def applied(matrix: Numbers, vector: list[float]) -> list[float]:
    return [sum(weight * part for weight, part in zip(line, vector, strict=True)) for line in matrix]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layer: str,
    teacher_layer: str,
    student_layout: str = "tokens",
    student_prefix: int = 0,
) -> Numbers:
    first, second, third = (weights[f"regressor.{number}.weight"] for number in (0, 2, 4))
    deviations = [math.sqrt(math.log(1 + math.exp(alpha)) + 1e-5) for alpha in weights["scale"]]
    values = []
    for said, told in zip(student.features[student_layer], teacher.features[teacher_layer], strict=True):
        surprises = []
        for ours, theirs in zip(vectors(said, student_layout, student_prefix), vectors(told, "tokens", 0), strict=True):
            hidden = [max(number, 0.0) for number in applied(first, ours)]
            hidden = [max(number, 0.0) for number in applied(second, hidden)]
            for mean, target, deviation in zip(applied(third, hidden), theirs, deviations, strict=True):
                density = math.exp(-(((target - mean) / deviation) ** 2) / 2) / deviation
                surprises.append(-math.log(density))
        values.append(sum(surprises) / len(surprises))
    return values
