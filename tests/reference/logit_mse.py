"""Ba, Caruana, 2014, equation 1: L = 1 / (2 T) sum_t || g(x_t) - z_t ||², T the number of rows."""

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [case(seed=1), case(seed=2, classes=2)]


def value(student: Said, teacher: Said, batch: Batch, weights: Weights) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        squares = 0.0
        for g, z in zip(said, taught, strict=True):
            squares += (g - z) ** 2
        values.append(squares / 2)
    return values
