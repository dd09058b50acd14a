"""Ba, Caruana, 2014, section 2: squared distance of outputs; Huber, 1964: t²/2 up to k, and k|t| - k²/2 beyond.

Per number of the teacher's answer, in units of the task's scale, averaged over the numbers of a row.
"""

from typing import Any

from limbeck.signals import Batch
from limbeck.tasks.forecasting import Forecasting
from limbeck.tasks.regression import Regression
from reference import Case, Numbers, Promises, Said, Weights, case_of

PROMISES = Promises()
PLAIN = Regression(centre=(1.0, -2.0, 3.0), scale=(0.5, 2.0, 4.0))
AHEAD = Forecasting(horizon=2, below=0.0, quantiles=(0.1, 0.5, 0.9), scale=2.0)


def cases() -> list[Case]:
    return [
        case_of(PLAIN, outputs=3, quantities=3, seed=1),
        case_of(PLAIN, {"kind": "huber", "delta": 0.7}, outputs=3, quantities=3, seed=2),
        case_of(AHEAD, outputs=7, quantities=2, seed=3),
    ]


def scales(task: Any) -> list[float]:
    """The unit of each number that a row's outputs hold; an event's logit is no number."""
    if isinstance(task, Regression):
        return list(task.scale or ())
    return [task.scale] * (task.horizon * max(1, len(task.quantiles)))


def value(
    student: Said, teacher: Said, batch: Batch, weights: Weights, *, kind: str = "mse", delta: float = 1.0
) -> Numbers:
    units = scales(batch.task)
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        total = 0.0
        for place, unit in enumerate(units):
            t = abs(said[place] - taught[place]) / unit
            if kind == "mse":
                total += t * t
            else:
                total += t * t / 2 if t <= delta else delta * t - delta * delta / 2
        values.append(total / len(units))
    return values
