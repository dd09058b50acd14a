"""Shu et al., 2021, equation 5: T² / C sum_c sum_i phi(y_ci) log(phi(y_ci) / phi(x_ci)), phi over the places i."""

import math
from typing import Any

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal layers do not give zero where a projector between them starts from random weights.
PROMISES = Promises(zero_when_equal=False)


def layers(student: tuple[int, ...], teacher: tuple[int, ...], seed: int, **arguments: Any) -> Case:
    names = {"student_layer": "up", "teacher_layer": "decoder.2"}
    return case(names | arguments, student={"up": student}, teacher={"decoder.2": teacher}, seed=seed)


def cases() -> list[Case]:
    return [
        layers((2, 2, 3), (2, 2, 3), seed=1),
        layers((3, 2, 2), (2, 2, 2), seed=2, temperature=1.0),
        layers((3, 2), (4, 3), seed=3, temperature=0.5, teacher_prefix=1),
    ]


def channels(said: Numbers, prefix: int) -> list[list[float]]:
    """Each channel's numbers, one for each place."""
    if isinstance(said[0][0], list):
        return [[number for line in channel for number in line] for channel in said]
    return [list(channel) for channel in zip(*said[prefix:], strict=True)]


def projected(lines: list[list[float]], weights: Weights) -> list[list[float]]:
    if "projector.weight" not in weights:
        return lines
    made = []
    for kernels, bias in zip(weights["projector.weight"], weights["projector.bias"], strict=True):
        flat = [kernel[0][0] if isinstance(kernel, list) else kernel for kernel in kernels]
        made.append(
            [bias + sum(w * line[place] for w, line in zip(flat, lines, strict=True)) for place in range(len(lines[0]))]
        )
    return made


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layer: str,
    teacher_layer: str,
    temperature: float = 4.0,
    teacher_prefix: int = 0,
) -> Numbers:
    values = []
    for said, told in zip(student.features[student_layer], teacher.features[teacher_layer], strict=True):
        total, theirs = 0.0, channels(told, teacher_prefix)
        for x, y in zip(projected(channels(said, 0), weights), theirs, strict=True):
            ours, taught = ([math.exp(number / temperature) for number in channel] for channel in (x, y))
            for q, p in zip(ours, taught, strict=True):
                total += p / sum(taught) * math.log((p / sum(taught)) / (q / sum(ours)))
        values.append(temperature * temperature / len(theirs) * total)
    return values
