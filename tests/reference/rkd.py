"""Park, Kim, Lu, Cho, 2019, section 3.2: the Huber loss between relational potentials, over distinct rows."""

import math
from itertools import permutations

from limbeck.signals import Batch
from reference import Case, Promises, Said, Weights, case, flat

PROMISES = Promises()


def cases() -> list[Case]:
    layers = {"student_layer": "thin", "teacher_layer": "wide"}
    return [
        case(seed=1),
        case({"distance": 1.0, "angle": 0.0}, seed=2),
        case({"distance": 0.0, "angle": 2.0}, seed=3),
        case(layers, student={"thin": (3,)}, teacher={"wide": (5,)}, seed=4),
        case(layers, student={"thin": (1, 2, 2)}, teacher={"wide": (3, 2)}, seed=5),
    ]


def huber(x: float, y: float) -> float:
    return (x - y) ** 2 / 2 if abs(x - y) <= 1 else abs(x - y) - 1 / 2


def norm(vector: list[float]) -> float:
    return math.sqrt(sum(part * part for part in vector))


def minus(a: list[float], b: list[float]) -> list[float]:
    return [left - right for left, right in zip(a, b, strict=True)]


def distances(points: list[list[float]]) -> dict[tuple[int, ...], float]:
    pairs = list(permutations(range(len(points)), 2))
    mean = sum(norm(minus(points[i], points[j])) for i, j in pairs) / len(pairs)
    return {(i, j): norm(minus(points[i], points[j])) / mean for i, j in pairs}


def angles(points: list[list[float]]) -> dict[tuple[int, ...], float]:
    found = {}
    for i, j, k in permutations(range(len(points)), 3):
        to_i, to_k = minus(points[i], points[j]), minus(points[k], points[j])
        product = sum(left * right for left, right in zip(to_i, to_k, strict=True))
        found[i, j, k] = product / (norm(to_i) * norm(to_k))
    return found


def points_of(said: Said, layer: str | None, batch: Batch) -> list[list[float]]:
    rows = said.logits if layer is None else said.features[layer]
    return [flat(row) for row, counts in zip(rows, batch.mask.tolist(), strict=True) if counts]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    distance: float = 25.0,
    angle: float = 50.0,
    student_layer: str | None = None,
    teacher_layer: str | None = None,
) -> float:
    learnt, taught = points_of(student, student_layer, batch), points_of(teacher, teacher_layer, batch)
    total = 0.0
    for weight, potential in ((distance, distances), (angle, angles)):
        ours, theirs = potential(learnt), potential(taught)
        total += weight * sum(huber(theirs[rows], ours[rows]) for rows in theirs) / len(theirs)
    return total
