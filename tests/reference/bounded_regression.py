"""Chen et al., 2017, section 3.3: || R_s - y ||² where || R_s - y ||² + m > || R_t - y ||², and 0 otherwise.

Of the quantities whose label y is known, in units of the task's scale, averaged in place of summed.
"""

import math

from limbeck.signals import Batch
from limbeck.tasks.forecasting import Forecasting
from reference import Case, Numbers, Promises, Said, Weights, case_of
from reference.regression import PLAIN

PROMISES = Promises(zero_when_equal=False)
AHEAD = Forecasting(horizon=3, above=1.0, scale=0.5)


def cases() -> list[Case]:
    return [
        case_of(PLAIN, outputs=3, quantities=3, seed=1),
        case_of(PLAIN, {"margin": 30.0}, outputs=3, quantities=3, seed=1),
        case_of(AHEAD, {"margin": 0.5}, outputs=4, quantities=3, seed=2),
    ]


def counted(batch: Batch) -> list[bool]:
    return [bool(mask) and bool(known) for mask, known in zip(batch.mask, batch.known, strict=True)]


def error(answer: list[float], label: list[float], units: list[float]) -> float:
    squares = [((r - y) / unit) ** 2 for r, y, unit in zip(answer, label, units, strict=False) if not math.isnan(y)]
    return sum(squares) / len(squares) if squares else 0.0


def value(student: Said, teacher: Said, batch: Batch, weights: Weights, *, margin: float = 0.0) -> Numbers:
    assert batch.labels is not None
    units = list(PLAIN.scale or ()) if batch.task is PLAIN else [0.5] * 3
    values = []
    for said, taught, label in zip(student.logits, teacher.logits, batch.labels.tolist(), strict=True):
        ours, theirs = error(said, label, units), error(taught, label, units)
        values.append(ours if ours + margin > theirs else 0.0)
    return values
