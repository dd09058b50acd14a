"""Answers that choose one class: scores by class, their means, the confusion matrix, and calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from limbeck.records import Panel

_BINS = 15
_LARGEST_MATRIX = 100


def class_means(truth: npt.NDArray[Any], answer: npt.NDArray[Any], classes: int) -> dict[str, float]:
    """`macro_f1` and `balanced_accuracy`, both 0 to 1: every class weighs the same, however rare it is.

    F1 of a class is 2 · hits / (rows of it + answers for it). `macro_f1` is its mean over the classes that occur in the
    truth or in the answers, `balanced_accuracy` the mean recall over those that occur in the truth; as in scikit-learn.
    """
    hits = np.bincount(truth[truth == answer], minlength=classes)
    rows, said = np.bincount(truth, minlength=classes), np.bincount(answer, minlength=classes)
    seen, there = rows + said > 0, rows > 0
    return {
        "macro_f1": float((2 * hits[seen] / (rows + said)[seen]).mean()),
        "balanced_accuracy": float((hits[there] / rows[there]).mean()),
    }


def by_class(truth: npt.NDArray[Any], answer: npt.NDArray[Any], classes: Sequence[str], counted: str = "rows") -> Panel:
    """A table of precision, recall and F1 (0 where nothing was said) and the number of rows (or steps) by class."""
    from sklearn.metrics import precision_recall_fscore_support

    numbers = np.arange(len(classes))
    scores = precision_recall_fscore_support(truth, answer, labels=numbers, zero_division=0)
    rows = [
        [name, float(precision), float(recall), float(f1), int(count)]
        for name, precision, recall, f1, count in zip(classes, *scores, strict=True)
    ]
    data = {"columns": ["class", "precision", "recall", "f1", counted], "rows": rows}
    return Panel("by_class", "Scores by class", "table", data)


def confusion(truth: npt.NDArray[Any], answer: npt.NDArray[Any], classes: Sequence[str]) -> list[Panel]:
    """The confusion matrix (rows are the truth), alone in a list; none for more than 100 classes."""
    from sklearn.metrics import confusion_matrix

    if len(classes) > _LARGEST_MATRIX:
        return []
    values = confusion_matrix(truth, answer, labels=np.arange(len(classes))).tolist()
    return [Panel("confusion", "Confusion matrix", "matrix", {"labels": list(classes), "values": values})]


def calibration_error(probability: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"]) -> float:
    """Expected calibration error: the mean distance, over rows, between confidence and accuracy of the row's bin.

    Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
    https://arxiv.org/abs/1706.04599, equation (3), with 15 bins ((m-1)/15, m/15] of the greatest probability. Read:
    memory.
    """
    return binned_error(*_sure(probability, labels))


def reliability(probability: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"]) -> Panel:
    """Accuracy by confidence, in the bins of the calibration error."""
    data = reliability_data(*_sure(probability, labels)) | {"x_label": "confidence", "y_label": "accuracy"}
    return Panel("reliability", "Reliability: accuracy by confidence", "curve", data)


def binned_error(said: Float[Tensor, " rows"], happened: Float[Tensor, " rows"]) -> float:
    """The mean distance, over rows, between what was said on average in the row's bin and how often it happened."""
    sure, right, counts = _bins(said, happened)
    return float(((sure - right).abs() * counts).sum() / counts.sum())


def reliability_data(said: Float[Tensor, " rows"], happened: Float[Tensor, " rows"]) -> dict[str, Any]:
    """How often it happened by the probability that was said: a curve's data without its labels."""
    sure, right, counts = _bins(said, happened)
    filled = counts > 0
    return {
        "x": sure[filled].tolist(),
        "y": right[filled].tolist(),
        "counts": counts[filled].long().tolist(),
        "diagonal": True,
    }


def _sure(probability: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    confidence, answer = probability.max(dim=1)
    return confidence, (answer == labels).double()


def _bins(said: Tensor, happened: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean probability, share that happened, and rows of each of the 15 bins; an empty bin has zeros."""
    edges = torch.linspace(0, 1, _BINS + 1, dtype=said.dtype)[1:-1]
    number = torch.bucketize(said.contiguous(), edges)
    counts = torch.bincount(number, minlength=_BINS).double()
    filled = counts.clamp(min=1)
    sure = torch.bincount(number, weights=said.double(), minlength=_BINS) / filled
    right = torch.bincount(number, weights=happened.double(), minlength=_BINS) / filled
    return sure, right, counts
