"""Chen et al., 2022, equation 3: mean of (f_t − P(f_s))², P a 1x1, a 3x3 and a 1x1 convolution with ReLU between."""

from typing import Any

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal layers do not give zero: the projector between them starts from random weights.
PROMISES = Promises(zero_when_equal=False)


def layers(student: tuple[int, ...], teacher: tuple[int, ...], seed: int, **arguments: Any) -> Case:
    names = {"student_layer": "pool", "teacher_layer": "head.norm"}
    return case(names | arguments, student={"pool": student}, teacher={"head.norm": teacher}, seed=seed)


def cases() -> list[Case]:
    return [
        layers((3,), (4,), seed=1),
        layers((2, 2), (2, 3), seed=2, narrowing=1),
        layers((2, 2, 3), (3, 2, 3), seed=5, narrowing=3),
        layers((2, 3), (2, 3), seed=6, projected=True),
    ]


def grid(said: Numbers) -> list[list[list[float]]]:
    """Vectors of channels by line and place; flat features and steps of a sequence stand alone, each on its line."""
    if not isinstance(said[0], list):
        return [[said]]
    if not isinstance(said[0][0], list):
        return [[step] for step in said]
    return [[[channel[y][x] for channel in said] for x in range(len(said[0][0]))] for y in range(len(said[0]))]


def kernel(weight: Any, y: int, x: int) -> float:
    """A weight at an offset; a linear map has one at none."""
    if not isinstance(weight, list):
        return float(weight) if y == x == 0 else 0.0
    middle = len(weight) // 2
    return float(weight[y + middle][x + middle]) if max(abs(y), abs(x)) <= middle else 0.0


def convolved(image: list[list[list[float]]], weight: Numbers, bias: list[float]) -> list[list[list[float]]]:
    made = []
    for y in range(len(image)):
        line = []
        for x in range(len(image[0])):
            sums = list(bias)
            for v in range(max(y - 1, 0), min(y + 2, len(image))):
                for u in range(max(x - 1, 0), min(x + 2, len(image[0]))):
                    for channel, kernels in enumerate(weight):
                        sums[channel] += sum(
                            kernel(each, v - y, u - x) * part for each, part in zip(kernels, image[v][u], strict=True)
                        )
            line.append(sums)
        made.append(line)
    return made


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layer: str,
    teacher_layer: str,
    narrowing: int = 2,
    projected: bool = False,
) -> Numbers:
    values = []
    for said, told in zip(student.features[student_layer], teacher.features[teacher_layer], strict=True):
        image, squares = grid(said), []
        for number in () if projected else (0, 2, 4):
            image = convolved(image, weights[f"projector.{number}.weight"], weights[f"projector.{number}.bias"])
            if number < 4:
                image = [[[max(part, 0.0) for part in vector] for vector in line] for line in image]
        for ours, theirs in zip(image, grid(told), strict=True):
            for p, t in zip(ours, theirs, strict=True):
                squares += [(target - part) ** 2 for part, target in zip(p, t, strict=True)]
        values.append(sum(squares) / len(squares))
    return values
