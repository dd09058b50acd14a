"""Xia et al., 2008, section 4.1: P(y | g) = prod_i exp(g(y_i)) / sum_{k >= i} exp(g(y_k)); minus its logarithm.

y is the teacher's order, the product is over its first places (Xia, Liu, Li, 2009); of equal scores the lower number
stands first. Here the candidates are drawn one by one out of those that are left.
"""

import math
from dataclasses import replace

from limbeck.signals import Batch, Signals
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises(zero_when_equal=False)


def cases() -> list[Case]:
    tied = case({"top": 3}, seed=4)
    assert tied.teacher.logits is not None
    return [
        case(seed=1),
        case({"top": 1}, seed=2),
        case({"top": 2}, seed=3),
        replace(tied, teacher=Signals.dense((tied.teacher.logits / 3).round())),
    ]


def value(student: Said, teacher: Said, batch: Batch, weights: Weights, *, top: int = 10) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        left, probability = list(range(len(said))), 1.0
        for _ in range(min(top, len(said))):
            chosen = left[0]
            for candidate in left:
                if taught[candidate] > taught[chosen]:
                    chosen = candidate
            probability *= math.exp(said[chosen]) / sum(math.exp(said[candidate]) for candidate in left)
            left.remove(chosen)
        values.append(-math.log(probability))
    return values
