"""Jin, Wang, Lin, 2023, section 3: the sum over temperatures of three levels, over the n rows that count.

Instance: T² / n sum of KL. Batch: ||G_teacher - G_student||² / n, G_ab = sum over classes of p_a p_b of rows a and b.
Class: ||M_teacher - M_student||² / K, M_jk = sum over rows of p_j p_k of classes j and k.
"""

import math
from itertools import product

from limbeck.signals import Batch
from reference import Case, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [
        case(seed=1),
        case({"by_instance": 0.0, "by_batch": 3.0, "by_class": 0.5, "temperatures": (1.0, 2.5)}, seed=2),
        case({"by_instance": 2.0, "temperatures": (4.0,)}, seed=3, classes=3),
    ]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def gram_distance(teacher: list[list[float]], student: list[list[float]]) -> float:
    """The squared difference of all inner products of two lines each."""
    total = 0.0
    for a, b in product(range(len(teacher)), repeat=2):
        theirs, ours = (sum(x * y for x, y in zip(p[a], p[b], strict=True)) for p in (teacher, student))
        total += (theirs - ours) ** 2
    return total


def columns(rows: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*rows, strict=True)]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    by_instance: float = 1.0,
    by_batch: float = 1.0,
    by_class: float = 1.0,
    temperatures: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0),
) -> float:
    counts = [row for row in range(len(batch)) if bool(batch.mask[row])]
    total = 0.0
    for temperature in temperatures:
        p, q = ([softened(said.logits[row], temperature) for row in counts] for said in (teacher, student))
        for theirs, ours in zip(p, q, strict=True):
            kl = sum(a * math.log(a / b) for a, b in zip(theirs, ours, strict=True))
            total += by_instance * temperature * temperature * kl / len(counts)
        total += by_batch * gram_distance(p, q) / len(counts)
        total += by_class * gram_distance(columns(p), columns(q)) / len(p[0])
    return total
