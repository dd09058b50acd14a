"""Tian, Krishnan, Isola, 2019, equation 18: log h of the pair and, for N others, log(1 - h), both models as anchors.

h = e^(cosine / temperature) / (the same + N / M), where 1 / M is the mean of e^(cosine / temperature) over directions
that have nothing to do with each other: the integral over their cosine c, whose density goes with (1 - c²)^((d - 3)/2).
"""

import math
from functools import cache

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case, flat

# The heads start from random weights, so that equal models do not give zero; others are never as unlike as -infinity.
PROMISES = Promises(zero_when_equal=False)


def cases() -> list[Case]:
    layers = {"student_layer": "thin", "teacher_layer": "wide", "width": 3, "bank": 4}
    return [
        case({"width": 4, "temperature": 0.5, "bank": 0}, seed=1),
        case(layers | {"temperature": 0.2}, student={"thin": (1, 2, 2)}, teacher={"wide": (5,)}, seed=2),
    ]


def embedded(said: Said, layer: str | None, side: str, batch: Batch, weights: Weights) -> list[list[float]]:
    rows = said.logits if layer is None else said.features[layer]
    found = []
    for row, counts in zip(rows, batch.mask.tolist(), strict=True):
        if counts:
            matrix, shift = weights[f"{side}_head.weight"], weights[f"{side}_head.bias"]
            points = [
                sum(a * x for a, x in zip(line, flat(row), strict=True)) + b
                for line, b in zip(matrix, shift, strict=True)
            ]
            found.append([point / math.hypot(*points) for point in points])
    return found


@cache
def chance(width: int, temperature: float, pieces: int = 4_000) -> float:
    """The mean of e^(c / temperature), by angle: c = cos(a), whose density goes with sin(a)^(d - 2); Simpson's rule."""
    total = weight = 0.0
    for piece in range(pieces + 1):
        angle = math.pi * piece / pieces
        share = (1 if piece in (0, pieces) else 4 if piece % 2 else 2) * math.sin(angle) ** (width - 2)
        weight += share
        total += share * math.exp(math.cos(angle) / temperature)
    return total / weight


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layer: str | None = None,
    teacher_layer: str | None = None,
    width: int = 128,
    temperature: float = 0.07,
    bank: int = 4096,
) -> float:
    ours = embedded(student, student_layer, "student", batch, weights)
    theirs = embedded(teacher, teacher_layer, "teacher", batch, weights)
    ids = [name for name, counts in zip(batch.ids.tolist(), batch.mask.tolist(), strict=True) if counts]
    kept = [(place, owner[0]) for place, owner in enumerate(weights.get("owners", [])) if owner[0] != -1]
    total = 0.0
    for anchors, answers, memory in ((ours, theirs, "taught"), (theirs, ours, "learnt")):
        for i, anchor in enumerate(anchors):
            negatives: Numbers = [answers[j] for j in range(len(ids)) if ids[j] != ids[i]]
            negatives += [weights[memory][place] for place, owner in kept if owner != ids[i]]
            threshold = len(negatives) * chance(width, temperature)

            def h(other: list[float], anchor: list[float] = anchor, threshold: float = threshold) -> float:
                e = math.exp(sum(a * b for a, b in zip(anchor, other, strict=True)) / temperature)
                return e / (e + threshold)

            total -= math.log(h(answers[i])) + sum(math.log(1 - h(other)) for other in negatives)
    return total / len(ids)
