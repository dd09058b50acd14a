"""Saputra et al., 2019, section 4.2: Phi || p_S - p_T ||² with Phi = 1 - || p_T - p_gt ||² / eta.

In units of the task's scale, averaged in place of summed; eta is given, and a weight below 0 counts as 0.
"""

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case_of
from reference.bounded_regression import counted, error
from reference.regression import AHEAD, PLAIN, scales

__all__ = ["counted"]

PROMISES = Promises()


def cases() -> list[Case]:
    return [
        case_of(PLAIN, {"eta": 12.0}, outputs=3, quantities=3, seed=1),
        case_of(PLAIN, {"eta": 300.0}, outputs=3, quantities=3, seed=2),
        case_of(AHEAD, {"eta": 4.0}, outputs=7, quantities=2, seed=3),
    ]


def value(student: Said, teacher: Said, batch: Batch, weights: Weights, *, eta: float = 1.0) -> Numbers:
    assert batch.labels is not None
    units = scales(batch.task)
    # Of a forecast's three quantiles the middle one is what is held against the label.
    points, point_units = (slice(None), units) if batch.task is PLAIN else (slice(1, 6, 3), units[:2])
    values = []
    for said, taught, label in zip(student.logits, teacher.logits, batch.labels.tolist(), strict=True):
        phi = max(0.0, 1 - error(taught[points], label, point_units) / eta)
        squares = [((said[k] - taught[k]) / unit) ** 2 for k, unit in enumerate(units)]
        values.append(phi * sum(squares) / len(squares))
    return values
