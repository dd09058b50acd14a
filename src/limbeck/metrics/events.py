"""Answers about what happens or does not: how well the likelier ones are found, and how far probabilities hold."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.metrics.classes import binned_error, reliability_data
from limbeck.records import Panel

_POINTS = 200


def event_metrics(logits: Float[Tensor, " rows"], happened: Float[Tensor, " rows"]) -> dict[str, float]:
    """`auprc`, `auroc`, `brier`, `ece` and `event_share`, all 0 to 1.

    `auprc` is the average precision: the sum of precision over the steps of recall, without interpolation. A guess has
    the share of the event there and one half in `auroc`. Both need rows of either kind and are left out without them;
    all are left out where there is no row. `brier` is the mean squared distance between the probability and 0 or 1, and
    `ece` the mean distance between probability and frequency in 15 bins of the probability.

    Args:
        logits: Of the event; only their order decides `auprc` and `auroc`.
        happened: 1 or 0.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not len(logits):
        return {}
    wide, truth = logits.double(), happened.double()
    values = {}
    if 0 < float(truth.sum()) < len(truth):
        values["auprc"] = float(average_precision_score(truth.numpy(), wide.numpy()))
        values["auroc"] = float(roc_auc_score(truth.numpy(), wide.numpy()))
    probability = torch.sigmoid(wide)
    values["brier"] = float((probability - truth).square().mean())
    values["ece"] = binned_error(probability, truth)
    return values | {"event_share": float(truth.mean())}


def event_panels(logits: Float[Tensor, " rows"], happened: Float[Tensor, " rows"], event: str) -> list[Panel]:
    """Precision by recall (where rows of either kind are there) and the reliability of the event's probability.

    Args:
        logits: Of the event.
        happened: 1 or 0.
        event: What it is, in words.
    """
    if not len(logits):
        return []
    panels = []
    if 0 < float(happened.sum()) < len(happened):
        panels.append(_precision_by_recall(logits.double(), happened.double(), event))
    data = reliability_data(torch.sigmoid(logits.double()), happened.double())
    data |= {"x_label": "probability", "y_label": "share that happened"}
    return [*panels, Panel("reliability", f"Reliability: how often {event} by its probability", "curve", data)]


def _precision_by_recall(logits: Tensor, happened: Tensor, event: str) -> Panel:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(happened.numpy(), logits.numpy())
    # Every change of recall is a point; a chart needs a few hundred of them, the ends among them.
    shown = np.unique(np.linspace(0, len(recall) - 1, min(_POINTS, len(recall))).round().astype(int))[::-1]
    data = {
        "x": recall[shown].tolist(),
        "y": precision[shown].tolist(),
        "x_label": "recall: announced share of the events",
        "y_label": "precision: right share of the alarms",
    }
    return Panel("precision_recall", f"Precision and recall of {event}", "curve", data)
