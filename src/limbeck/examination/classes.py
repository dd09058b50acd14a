"""Whether the teacher's outputs stand for the data's classes in another order."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from limbeck.records import Finding

# The assignment takes the cube of the classes; at 2,000 that is still under a second.
MOST_CLASSES = 2000
GAIN = 0.05
_SHOWN = 20


def class_order(
    logits: Float[Tensor, "rows classes"], truth: Int[Tensor, " rows"], classes: Sequence[str]
) -> list[Finding]:
    """Finds the order in which the outputs fit the labels best, and says it where it makes the teacher good.

    The order is the assignment of outputs to classes with the most rows right (scipy's `linear_sum_assignment` on the
    confusion matrix). An order found on half of the rows is judged on the other half, because on its own half some
    order always fits. It is an error where that gains more than 0.05 and three standard errors, and brings accuracy
    above the middle between the most frequent class and 1.
    """
    count = logits.shape[1]
    if not 2 <= count <= MOST_CLASSES or len(truth) < 4 or not bool(torch.isfinite(logits).all()):
        return []
    answer, labels = logits.argmax(dim=1).numpy(), truth.numpy()
    order = _order(answer, labels, count)
    if (order == np.arange(count)).all():
        return []
    now = float((answer == labels).mean())
    first = np.arange(len(labels)) % 2 == 0
    halves = [(_order(answer[half], labels[half], count), ~half) for half in (first, ~first)]
    restored = float(np.mean([(answer[rest] == found[labels[rest]]).mean() for found, rest in halves]))
    frequent = float(np.bincount(labels).max()) / len(labels)
    noise = 3 * math.sqrt(restored * (1 - restored) / len(labels))
    if restored - now <= max(GAIN, noise) or restored < (1 + frequent) / 2:
        return []
    meant = [""] * count
    for place, output in enumerate(order):
        meant[output] = classes[place]
    moved = [f"output {output} says {meant[output]!r}" for output in range(count) if order[output] != output]
    return [
        Finding(
            "error",
            "the teacher's class order",
            f"accuracy {now:.4g} on {len(labels):,} rows, and {restored:.4g} (on rows not used to find it) once its "
            f"outputs are read in another order: {', '.join(moved[:_SHOWN])}{', ...' if len(moved) > _SHOWN else ''}",
            f"give the teacher its own names: Model(network, transform, classes={_written(meant)})",
        )
    ]


def _order(answer: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """For each class the output that stands for it."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((count, count))
    np.add.at(table, (labels, answer), 1)
    # Classes without a row stay where they are.
    found: npt.NDArray[np.int64] = linear_sum_assignment(table + 1e-6 * np.eye(count), maximize=True)[1]
    return found


def _written(names: Sequence[str]) -> str:
    if len(names) <= _SHOWN:
        return repr(tuple(names))
    return f"({', '.join(repr(name) for name in names[:_SHOWN])}, ...), {len(names)} names in the order of its outputs"
