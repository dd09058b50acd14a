"""Classes and events that hardly occur where they are to be learnt, or not at all where they are to be scored."""

from collections.abc import Sequence

import torch

from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.records import Finding
from limbeck.task import SaysEvent, Task

# With 20 examples the share that a model gets right is known to within 0.2 (two binomial standard errors at 0.5).
FEW = 20
_SHOWN = 6


def rarity(data: Data, task: Task) -> list[Finding]:
    """Classes (or the event) without a labelled training row though they are judged, or with very few of them."""
    found = [finding for judged in ("valid", "test") for finding in _unseen(data, judged)]
    if task.labels == "several":
        found += _never(data)
    if "event" in task.says and isinstance(task, SaysEvent):
        for split, rows in data.splits().items():
            if rows.labels is not None:
                happens, certain = task.event_labels(rows.labels[rows.known])
                found += _event(split, int(happens[certain].sum()), int(certain.sum()))
    return found


def _unseen(data: Data, judged: str) -> list[Finding]:
    if data.labels not in ("single", "steps"):
        return []
    learnt, asked = _counts(data.train, data.classes), _counts(data.splits()[judged], data.classes)
    left_out = set(data.facts.get("omit", ()))
    missing = [
        f"{name!r} ({int(rows)} rows)"
        for name, known, rows in zip(data.classes, learnt, asked, strict=True)
        if rows and not known and name not in left_out
    ]
    if not missing:
        return []
    return [
        Finding(
            "warning",
            f"classes only in {judged}",
            f"{len(missing)} of {len(data.classes)} classes have no labelled training row and are judged in {judged}: "
            f"{', '.join(missing[:_SHOWN])}",
            "another data.seed or split, more data, or data.omit where it is meant: the student can know them from its "
            "teacher only",
        )
    ]


def _never(data: Data) -> list[Finding]:
    train = data.train
    if train.labels is None:
        return []
    seen = train.labels[train.known].reshape(-1, train.labels.shape[-1])
    count = (seen > 0).sum(dim=0).tolist()
    rare = [f"{name!r} {int(n)}" for name, n in zip(data.classes, count, strict=True) if n < FEW]
    if not rare:
        return []
    return [
        Finding(
            "warning",
            "labels that are hardly ever true",
            f"{len(rare)} of {len(count)} are true in fewer than {FEW} of {len(seen):,} training rows: "
            f"{', '.join(rare[:_SHOWN])}",
            "more data, or leave them out: a model that always says no is right about them",
        )
    ]


def _event(split: str, happens: int, rows: int) -> list[Finding]:
    if happens >= FEW or not rows:
        return []
    return [
        Finding(
            "warning",
            f"the event in {split}",
            f"it happens in {happens} of {rows:,} {split} rows",
            "a threshold that is crossed more often, or more data: with so few, scores of the event are chance",
        )
    ]


def _counts(rows: TensorRows, classes: Sequence[str]) -> list[int]:
    if rows.labels is None:
        return [0] * len(classes)
    found: list[int] = torch.bincount(rows.labels[rows.known].flatten().long(), minlength=len(classes)).tolist()
    return found
