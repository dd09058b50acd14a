"""Cao et al., 2022, equation 3: 1 − r, from sums of products; each deviation is enlarged by 1e-6 where it divides.

With deviations s and t of a channel, and u, v those that divide: half the mean square is (s²/u² + t²/v²)/2 − cov/(u v).
"""

import math
from typing import Any

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal layers do not give zero where a projector between them starts from random weights.
PROMISES = Promises(zero_when_equal=False)


def layers(student: tuple[int, ...], teacher: tuple[int, ...], seed: int, **arguments: Any) -> Case:
    names = {"student_layer": "fpn", "teacher_layer": "fpn.0"}
    return case(names | arguments, student={"fpn": student}, teacher={"fpn.0": teacher}, seed=seed)


def cases() -> list[Case]:
    return [
        layers((2, 2, 2), (2, 2, 2), seed=1),
        layers((3,), (2,), seed=2),
        layers((4, 2), (3, 2), seed=3, student_prefix=1),
    ]


def channels(rows: Numbers, prefix: int, batch: Batch) -> list[list[float]]:
    """Each channel's numbers over all counted rows and places."""
    found: list[list[float]] = []
    for row, counts in zip(rows, batch.mask.tolist(), strict=True):
        if not isinstance(row[0], list):
            here = [[number] for number in row]
        elif isinstance(row[0][0], list):
            here = [[number for line in channel for number in line] for channel in row]
        else:
            here = [list(channel) for channel in zip(*row[prefix:], strict=True)]
        found = found or [[] for _ in here]
        for channel, numbers in zip(found, here, strict=True):
            channel += numbers if counts else []
    return found


def projected(lines: list[list[float]], weights: Weights) -> list[list[float]]:
    if "projector.weight" not in weights:
        return lines
    matrix, biases = weights["projector.weight"], weights["projector.bias"]
    return [
        [bias + sum(w * part for w, part in zip(line, vector, strict=True)) for vector in zip(*lines, strict=True)]
        for line, bias in zip(matrix, biases, strict=True)
    ]


def moment(x: list[float], y: list[float]) -> float:
    products = [a * b for a, b in zip(x, y, strict=True)]
    return (sum(products) - sum(x) * sum(y) / len(x)) / len(x)


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layer: str,
    teacher_layer: str,
    student_prefix: int = 0,
) -> float:
    ours = projected(channels(student.features[student_layer], student_prefix, batch), weights)
    theirs = channels(teacher.features[teacher_layer], 0, batch)
    total = 0.0
    for x, y in zip(ours, theirs, strict=True):
        u, v = (math.sqrt(moment(line, line)) + 1e-6 for line in (x, y))
        total += (moment(x, x) / u**2 + moment(y, y) / v**2) / 2 - moment(x, y) / (u * v)
    return total / len(ours)
