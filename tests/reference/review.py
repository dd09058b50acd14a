"""Chen et al., 2021, section 3: fusion from the deepest stage to the first, and the pyramid of distances."""

import math
from typing import Any

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal layers do not give zero: the fusions start from random weights.
PROMISES = Promises(zero_when_equal=False)

Image = list[list[list[float]]]  # the vector of channels of each place of each line


def stages(student: dict[str, tuple[int, ...]], teacher: dict[str, tuple[int, ...]], **arguments: Any) -> Case:
    names = {"student_layers": tuple(student), "teacher_layers": tuple(teacher)}
    return case(names | arguments, student=student, teacher=teacher, seed=len(student))


def cases() -> list[Case]:
    return [
        stages({"s1": (1, 3, 3), "s2": (1, 1, 2)}, {"t1": (1, 3, 3), "t2": (2, 1, 1)}),
        stages({"s1": (1, 2, 2), "s2": (2,)}, {"t1": (5, 1), "t2": (1,)}, teacher_prefix=1),
    ]


def image(said: Numbers, prefix: int) -> Image:
    if not isinstance(said[0], list):
        return [[said]]
    if not isinstance(said[0][0], list):
        size = math.isqrt(len(said) - prefix)
        return [[said[prefix + size * y + x] for x in range(size)] for y in range(size)]
    return [[[channel[y][x] for channel in said] for x in range(len(said[0][0]))] for y in range(len(said[0]))]


def covered(number: int, size: int, length: int) -> range:
    """The places that a place of another resolution covers, in whole or in part."""
    return range(number * length // size, -(-(number + 1) * length // size))


def at_resolution(found: Image, height: int, width: int) -> Image:
    made = []
    for y in range(height):
        line = []
        for x in range(width):
            lines, places = covered(y, height, len(found)), covered(x, width, len(found[0]))
            vectors = [found[v][u] for v in lines for u in places]
            line.append([sum(parts) / len(vectors) for parts in zip(*vectors, strict=True)])
        made.append(line)
    return made


def convolved(found: Image, weight: Numbers, bias: list[float]) -> Image:
    reach = len(weight[0][0]) // 2
    made = []
    for y in range(len(found)):
        line = []
        for x in range(len(found[0])):
            sums = list(bias)
            for v in range(max(y - reach, 0), min(y + reach + 1, len(found))):
                for u in range(max(x - reach, 0), min(x + reach + 1, len(found[0]))):
                    for channel, kernels in enumerate(weight):
                        for kernel, part in zip(kernels, found[v][u], strict=True):
                            sums[channel] += kernel[v - y + reach][u - x + reach] * part
            line.append(sums)
        made.append(line)
    return made


def weighted(own: Image, deeper: Image, weights: Weights, stage: int) -> Image:
    deeper = at_resolution(deeper, len(own), len(own[0]))
    both = [[a + b for a, b in zip(*lines, strict=True)] for lines in zip(own, deeper, strict=True)]
    scores = convolved(both, weights[f"fusions.{stage}.attention.weight"], weights[f"fusions.{stage}.attention.bias"])
    made = []
    for y, line in enumerate(scores):
        shares = [[1 / (1 + math.exp(-score)) for score in place] for place in line]
        made.append(
            [
                [first * a + second * b for a, b in zip(own[y][x], deeper[y][x], strict=True)]
                for x, (first, second) in enumerate(shares)
            ]
        )
    return made


def distance(ours: Image, theirs: Image) -> float:
    squares = [
        (p - q) ** 2
        for lines in zip(ours, theirs, strict=True)
        for places in zip(*lines, strict=True)
        for p, q in zip(*places, strict=True)
    ]
    return sum(squares) / len(squares)


def context_loss(ours: Image, theirs: Image) -> float:
    total, weight, whole = distance(ours, theirs), 1.0, 1.0
    for level in (4, 2, 1):
        if level >= min(len(ours), len(ours[0])):
            continue
        weight /= 2
        whole += weight
        total += weight * distance(at_resolution(ours, level, level), at_resolution(theirs, level, level))
    return total / whole


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layers: tuple[str, ...],
    teacher_layers: tuple[str, ...],
    teacher_prefix: int = 0,
) -> Numbers:
    values = []
    for row in range(len(student.logits)):
        total, deeper = 0.0, None
        for stage in reversed(range(len(student_layers))):
            name = f"fusions.{stage}"
            layer = image(student.features[student_layers[stage]][row], 0)
            own = convolved(layer, weights[f"{name}.own.weight"], weights[f"{name}.own.bias"])
            deeper = own if deeper is None else weighted(own, deeper, weights, stage)
            target = image(teacher.features[teacher_layers[stage]][row], teacher_prefix)
            height, width = min(len(deeper), len(target)), min(len(deeper[0]), len(target[0]))
            fused, target = (at_resolution(each, height, width) for each in (deeper, target))
            outcome = convolved(fused, weights[f"{name}.out.weight"], weights[f"{name}.out.bias"])
            total += context_loss(outcome, target)
        values.append(total)
    return values
