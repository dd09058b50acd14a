"""`escalate`: from which confidence on a small artifact's answers stand, with a bound on how often they are another's.

The risk of a threshold is the share of all answers in which the small artifact is trusted and decides otherwise than
the large one would have. Thresholds are tested in an order that was fixed before any row was seen: from 1 (everything
is left to the large one, risk 0) down. Each test asks whether so few disagreements among n rows would be that rare, at
most 1 - confidence of the time, if the true risk were above the one allowed: the lower tail of a binomial, which is
Clopper and Pearson's upper bound (Biometrika, 1934, https://doi.org/10.1093/biomet/26.4.404) held against that risk.
The first threshold that fails ends it, and the last one that passed is taken. Because the first true hypothesis in the
order must be rejected for anything wrong to be chosen, the chance of that is at most 1 - confidence, whatever the
number of thresholds (fixed sequence testing, in: Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test", 2021,
https://arxiv.org/abs/2110.01052, section 4). Read: memory.

Rows must be independent for this. Beats of one patient and windows that overlap are not: then the bound holds for more
rows of the same records. What each record does is written beside it.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.catalog.tasks import task as find_task
from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.errors import DataError, ModelError, RecipeError
from limbeck.measures.latency import interleaved
from limbeck.progress import Progress, Silent
from limbeck.task import Task
from limbeck.tuning.files import Opened, data_for, refuse_test, told
from limbeck_runtime.errors import ArtifactError
from limbeck_runtime.escalation import Escalation, Handover, confidences, decisions, graph_hash

SEQUENCE = (1.0, *(round(1 - 10 ** (-5 + step / 8), 9) for step in range(38)), 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
"""Thresholds in the order in which they are tested; fixed here, before anybody's rows."""


@dataclass(frozen=True)
class Escalated:
    """An artifact that knows when to leave an answer to a larger one.

    Args:
        path: Where it lies.
        escalation: What was written into it, as JSON.
    """

    path: Path
    escalation: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Asked:
    """What both said about the rows of one split."""

    rows: TensorRows
    small: npt.NDArray[np.float32]
    large: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float64]
    differ: npt.NDArray[np.bool_]


def escalate(
    small: str | os.PathLike[str],
    large: str | os.PathLike[str],
    data: Data | str | os.PathLike[str],
    *,
    risk: float = 0.02,
    confidence: float = 0.95,
    to: str | os.PathLike[str] | None = None,
    split: str = "valid",
    test: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Escalated:
    """Chooses, on validation rows, the lowest confidence from which on the small artifact's answers stand.

    Args:
        small: `NAME.limbeck`, into which the threshold is written.
        large: The one that is asked where it is unsure.
        data: The small one's run, a recipe, or the data itself.
        risk: Share of answers that may be another than the large one's, above 0 and below 1.
        confidence: Of the bound, above 0 and below 1.
        to: A file of its own; by default the small artifact is replaced, whole or not at all.
        split: Only "valid".
        test: Whether to count on test rows too, once everything is chosen.
        overrides: Changes to the recipe.
        progress: Is told what is being done.

    Raises:
        RecipeError: When a number is out of range or the split is another.
        ModelError: When the two are not of one task, or their answers say no confidence.
        DataError: When the rows are none they take.
    """
    refuse_test(split)
    if not 0 < risk < 1 or not 0 < confidence < 1:
        raise RecipeError(f"risk={risk:g}, confidence={confidence:g}", expected="each above 0 and below 1")
    watcher = progress or Silent()
    ours, theirs = Opened.of(small), Opened.of(large)
    _check(ours, theirs)
    watcher.say("reading the data")
    rows = data_for(data, ours.manifest, list(overrides))
    watcher.say("asking both about the validation rows")
    asked = _asked(ours, theirs, rows.valid)
    threshold, tested = lowest(asked.confidence, asked.differ, risk, confidence)
    judge = find_task(ours.manifest.task)
    most = bound(_wrong(asked, threshold), len(asked.differ), confidence)
    measured: dict[str, Any] = {
        "data": rows.fingerprint,
        "tested": tested,
        "valid": _facts(asked, threshold, judge, rows) | {"bound": most},
        "milliseconds": _milliseconds(ours, theirs, rows.valid),
    }
    if test:
        watcher.say("asking both about the test rows")
        measured["test"] = _facts(_asked(ours, theirs, rows.test), threshold, judge, rows)
    found = Handover(threshold, theirs.manifest.name, graph_hash(theirs.manifest), risk, confidence, measured)
    path = ours.written(to, escalation=asdict(found))
    return Escalated(path, asdict(found))


def lowest(
    confidences: npt.NDArray[np.float64], differ: npt.NDArray[np.bool_], risk: float, confidence: float
) -> tuple[float, int]:
    """The lowest threshold of `SEQUENCE` that is shown to keep to a risk, and how many were tested.

    Args:
        confidences: Of the small one, for each row.
        differ: Whether it decides otherwise than the large one.
        risk: Allowed.
        confidence: With which.
    """
    from scipy.special import bdtr

    best, tested = SEQUENCE[0], 0
    for threshold in SEQUENCE:
        tested += 1
        wrong = int((differ & (confidences >= threshold)).sum())
        if bdtr(wrong, len(differ), risk) > 1 - confidence:
            break
        best = threshold
    return best, tested


def bound(wrong: int, rows: int, confidence: float) -> float:
    """Clopper and Pearson's upper bound on a share of which `wrong` of `rows` were seen."""
    from scipy.special import betaincinv

    return 1.0 if wrong >= rows else float(betaincinv(wrong + 1, rows - wrong, confidence))


def _check(small: Opened, large: Opened) -> None:
    try:
        Escalation(small.predictor, large.predictor, threshold=1.0)
    except ArtifactError as fault:
        raise told(fault, ModelError) from fault


def _asked(small: Opened, large: Opened, rows: TensorRows) -> _Asked:
    if not len(rows):
        raise DataError("there are no rows", expected="validation rows")
    ours, theirs = small.asked(rows)[1], large.asked(rows)[1]
    manifest = small.manifest
    differ = decisions(manifest, ours) != decisions(manifest, theirs)
    differ = differ.reshape(len(differ), -1).any(axis=1)
    return _Asked(rows, ours, theirs, confidences(manifest, ours), differ)


def _wrong(asked: _Asked, threshold: float) -> int:
    return int((asked.differ & (asked.confidence >= threshold)).sum())


def _facts(asked: _Asked, threshold: float, judge: Task, data: Data) -> dict[str, Any]:
    """Shares 0 to 1 of the rows of one split, the metrics of either artifact and of both together."""
    trusted = asked.confidence >= threshold
    shape = (-1, *(1 for _ in asked.small.shape[1:]))
    both = np.where(trusted.reshape(shape), asked.small, asked.large)
    facts: dict[str, Any] = {
        "rows": len(trusted),
        "coverage": float(trusted.mean()),
        "disagreement": float((asked.differ & trusted).mean()),
        "alone": float(asked.differ.mean()),
    }
    labels, known = asked.rows.labels, asked.rows.known
    for name, said in (("small", asked.small), ("cascade", both), ("large", asked.large)):
        facts[name] = {} if labels is None else judge.metrics(torch.from_numpy(said), labels, known, data.classes)
    if asked.rows.groups is not None:
        facts["records"] = {
            data.groups[number]: _of_record(asked, trusted, (asked.rows.groups == number).numpy())
            for number in torch.unique(asked.rows.groups).tolist()
        }
    return facts


def _of_record(asked: _Asked, trusted: npt.NDArray[np.bool_], mine: npt.NDArray[np.bool_]) -> dict[str, float]:
    return {"coverage": float(trusted[mine].mean()), "disagreement": float((asked.differ & trusted)[mine].mean())}


def _milliseconds(small: Opened, large: Opened, rows: TensorRows) -> dict[str, float]:
    """Median wall time of one row on this machine, of either alone, and their sum: what the slowest answer takes."""
    row = rows.take(torch.arange(1)).inputs.numpy()
    timed = interleaved(
        {"small": lambda: small.predictor.outputs(row), "large": lambda: large.predictor.outputs(row)}, seconds=1.0
    )
    found = {name: each["latency_ms"] for name, each in timed.items()}
    return {**found, "worst": sum(found.values())}
