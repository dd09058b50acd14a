"""Sun et al., 2019, equation 7: sum over layers of || h_s / ||h_s|| - h_t / ||h_t|| ||², as 2 - 2 times the cosine."""

import math

from lists_of_tokens import standing

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    pairs = {"student_layers": ("a", "b"), "teacher_layers": ("A", "B")}
    return [
        case(pairs, student={"a": (3, 2), "b": (3, 4)}, teacher={"A": (2, 2), "B": (2, 4)}, seed=1),
        case(
            {
                "student_layers": ("a",),
                "teacher_layers": ("A",),
                "of": "mean",
                "student_prefix": 1,
                "teacher_prefix": 1,
            },
            student={"a": (3, 3)},
            teacher={"A": (3, 3)},
            seed=2,
        ),
    ]


def state(said: Said, layer: str, row: int, of: str, prefix: int, batch: Batch) -> list[float]:
    vectors = said.features[layer][row]
    if of == "class":
        return vectors[0]
    vectors = [vectors[prefix + place] for place in standing(batch, row, len(vectors) - prefix)]
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layers: tuple[str, ...],
    teacher_layers: tuple[str, ...],
    of: str = "class",
    student_prefix: int = 0,
    teacher_prefix: int = 0,
) -> Numbers:
    rows: Numbers = []
    for row in range(len(batch)):
        total = 0.0
        for ours, theirs in zip(student_layers, teacher_layers, strict=True):
            if batch.mask.ndim == 1 or standing(batch, row, batch.mask.shape[1]):
                s = state(student, ours, row, of, student_prefix, batch)
                t = state(teacher, theirs, row, of, teacher_prefix, batch)
                product = sum(a * b for a, b in zip(s, t, strict=True))
                total += 2 - 2 * product / (math.hypot(*s) * math.hypot(*t))
        rows.append(total if batch.mask.ndim == 1 else [total] * batch.mask.shape[1])
    return rows
