"""Romero et al., 2014, equation 3: 1/2 || u_h(x) - r(v_g(x)) ||², with r a 1x1 convolution after average pooling."""

from typing import Any

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal layers do not give zero: the projector between them starts from random weights.
PROMISES = Promises(zero_when_equal=False)


def layers(student: tuple[int, ...], teacher: tuple[int, ...], seed: int, **arguments: Any) -> Case:
    names = {"student_layer": "guided", "teacher_layer": "hint.1"}
    return case(names | arguments, student={"guided": student}, teacher={"hint.1": teacher}, seed=seed)


def cases() -> list[Case]:
    return [
        layers((3,), (5,), seed=1),
        layers((2, 3), (2, 4), seed=2),
        layers((4, 3), (2, 2), seed=3),
        layers((2, 2, 3), (3, 2, 3), seed=4),
        layers((2, 4, 4), (3, 2, 2), seed=5),
        layers((2, 2, 2), (3, 4, 6), seed=6),
        # Sequences of steps first or channels first, equally long, longer and shorter, in whole and in uneven bins.
        layers((3, 4), (2, 3), seed=7, student_layout="channels", teacher_layout="channels"),
        layers((3, 4), (2, 2), seed=8, student_layout="channels"),
        layers((3, 2), (2, 5), seed=9, teacher_layout="channels"),
        layers((5, 2), (3, 2), seed=10),
        layers((2, 5, 3), (2, 2, 4), seed=11),
        # A class token of the teacher, and two registers of the student, stand for no step.
        layers((4, 3), (3, 2), seed=12, teacher_prefix=1),
        layers((2, 5), (4, 2), seed=13, student_layout="channels", student_prefix=2, teacher_prefix=2),
    ]


def pooled(line: list[list[float]], size: int) -> list[list[float]]:
    """Averages neighbouring vectors: the bins are as even as whole places allow, and share a place where they must."""
    bins = []
    for number in range(size):
        first = number * len(line) // size
        members = [line[first]]
        while (first + len(members)) * size < (number + 1) * len(line):
            members.append(line[first + len(members)])
        bins.append([sum(vector[part] for vector in members) / len(members) for part in range(len(line[0]))])
    return bins


def steps(row: Numbers, layout: str, prefix: int) -> Numbers:
    """A sequence's vectors, one for each step, whatever way round they were said; anything else as it is."""
    if not isinstance(row[0], list) or isinstance(row[0][0], list):
        return row
    vectors = row if layout == "tokens" else [[channel[step] for channel in row] for step in range(len(row[0]))]
    return [vector for place, vector in enumerate(vectors) if place >= prefix]


def as_points(row: Numbers, height: int, width: int) -> list[list[float]]:
    """The vectors of channels at every point of space, after pooling to a height and a width."""
    if not isinstance(row[0], list):
        return [row]
    if not isinstance(row[0][0], list):
        return pooled(row, width)
    lines = [[[channel[y][x] for channel in row] for x in range(len(row[0][0]))] for y in range(len(row[0]))]
    narrow = [pooled(line, width) for line in lines]
    columns = [pooled([line[x] for line in narrow], height) for x in range(width)]
    return [columns[x][y] for y in range(height) for x in range(width)]


def space(row: Numbers) -> tuple[int, int]:
    if not isinstance(row[0], list):
        return 1, 1
    return (1, len(row)) if not isinstance(row[0][0], list) else (len(row[0]), len(row[0][0]))


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
    student_prefix: int = 0,
    teacher_prefix: int = 0,
) -> Numbers:
    values = []
    for said, told in zip(student.features[student_layer], teacher.features[teacher_layer], strict=True):
        guided, hint = steps(said, student_layout, student_prefix), steps(told, teacher_layout, teacher_prefix)
        height, width = (min(sizes) for sizes in zip(space(guided), space(hint), strict=True))
        squares = 0.0
        for v, u in zip(as_points(guided, height, width), as_points(hint, height, width), strict=True):
            for channel, target in enumerate(u):
                regressed = weights["projector.bias"][channel]
                for part, activation in enumerate(v):
                    weight = weights["projector.weight"][channel][part]
                    while isinstance(weight, list):  # a 1x1 convolution's kernel
                        (weight,) = weight
                    regressed += weight * activation
                squares += (target - regressed) ** 2
        values.append(squares / 2)
    return values
