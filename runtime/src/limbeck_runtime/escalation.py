"""Small first, large when unsure: two artifacts that answer as one.

An answer's confidence is a number from 0 up to, but not including, 1. Where it is below the threshold, the larger
artifact is asked about that row. So a threshold of 1 asks the larger one about every row and gives its very bits, and a
threshold of 0 never asks it. The longest an answer can take is the sum of both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck_runtime.decoding import Answer, Floats, sigmoid, softmax
from limbeck_runtime.errors import ArtifactError
from limbeck_runtime.fields import built
from limbeck_runtime.manifest import Manifest
from limbeck_runtime.predictor import OnnxPredictor

_SUREST = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True)
class Handover:
    """When an answer is left to a larger artifact, as the manifest's `escalation` says it.

    Args:
        threshold: Of the confidence, 0 (never) to 1 (always).
        name: Of the larger artifact.
        graph: SHA-256 of its graph: the bound was measured with that one and no other.
        risk: The share of answers that may be another than the larger one's.
        confidence: With which that is so, 0 to 1.
        measured: What was measured when the threshold was chosen; nothing reads it but people.
    """

    threshold: float
    name: str
    graph: str
    risk: float = 0.0
    confidence: float = 0.0
    measured: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ArtifactError(f"escalation.threshold is {self.threshold:g}", expected="0 (never) to 1 (always)")


def confidences(manifest: Manifest, outputs: Floats) -> npt.NDArray[np.float64]:
    """How sure an artifact is of each answer, 0 up to 1 and never 1 itself.

    Of one class the probability of the likeliest; of several classes, or an event, that of what is said of the least
    certain one. Float64, from the outputs alone.

    Args:
        manifest: Of the artifact.
        outputs: Of shape (rows, *manifest.output.shape).

    Raises:
        ArtifactError: When its answers are numbers, which say nothing of how sure they are.
    """
    kind = str(manifest.output.reading.get("kind"))
    if kind in ("class", "steps"):
        found = softmax(outputs).max(axis=-1)
        found = found.min(axis=-1) if found.ndim == 2 else found
    elif kind == "classes":
        chances = sigmoid(outputs)
        found = np.maximum(chances, 1 - chances).min(axis=-1)
    elif kind == "forecast" and manifest.output.reading.get("event"):
        chances = sigmoid(outputs[:, -1])
        found = np.maximum(chances, 1 - chances)
    else:
        raise ArtifactError(
            f"answers of kind {kind!r} do not say how sure they are", expected="classes, or a forecast with an event"
        )
    return np.minimum(found, _SUREST)


def decisions(manifest: Manifest, outputs: Floats) -> npt.NDArray[Any]:
    """What is decided for each row, for comparison: its class, its classes, or whether the event is likely."""
    kind = str(manifest.output.reading.get("kind"))
    if kind in ("class", "steps"):
        return np.asarray(outputs.argmax(axis=-1))
    return np.asarray(outputs >= 0) if kind == "classes" else np.asarray(outputs[:, -1] >= 0)


class Escalation:
    """Two artifacts that answer as one; a predictor itself.

    Args:
        small: Asked about every row.
        large: Asked where the small one is unsure.
        threshold: Below which confidence; by default what the small one was tuned to.

    Raises:
        ArtifactError: When they do not read the same rows and give the same kind of answers, the small one was tuned
            to another one, or there is no threshold.
    """

    def __init__(self, small: OnnxPredictor, large: OnnxPredictor, threshold: float | None = None) -> None:
        _check_alike(small.manifest, large.manifest)
        if threshold is None:
            threshold = _tuned(small.manifest, large.manifest).threshold
        elif not 0 <= threshold <= 1:
            raise ArtifactError(f"a threshold of {threshold:g}", expected="0 (never) to 1 (always)")
        self.small, self.large, self.threshold = small, large, threshold
        self.manifest = small.manifest
        confidences(small.manifest, np.zeros((1, *small.manifest.output.shape), np.float32))
        self.rows = self.escalated = 0

    def outputs(self, rows: npt.ArrayLike) -> Floats:
        """Numbers of shape (rows, *manifest.output.shape) from raw rows; as `OnnxPredictor.outputs` refuses them."""
        return self.asked(rows)[0]

    def asked(self, rows: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The outputs, and for which rows the larger one gave them."""
        found = self.small.rows(rows)
        said = self.small.outputs(found)
        unsure = confidences(self.manifest, said) < self.threshold
        if unsure.any():
            said[unsure] = self.large.outputs(found[unsure])
        self.rows, self.escalated = self.rows + len(found), self.escalated + int(unsure.sum())
        return said, unsure

    def __call__(self, rows: npt.ArrayLike) -> list[Answer]:
        """A mapping a person can read for each row."""
        return self.decode(self.outputs(rows))

    def decode(self, outputs: Floats) -> list[Answer]:
        """What outputs mean."""
        return self.small.decode(outputs)

    @property
    def coverage(self) -> float:
        """The share of rows that the small one answered; 1 before the first."""
        return 1 - self.escalated / self.rows if self.rows else 1.0


def _check_alike(small: Manifest, large: Manifest) -> None:
    for what, one, other in (
        ("rows", (small.input.dtype, small.input.shape), (large.input.dtype, large.input.shape)),
        ("outputs", small.output.shape, large.output.shape),
        ("answers", dict(small.output.reading), dict(large.output.reading)),
    ):
        if one != other:
            raise ArtifactError(
                f"{large.name} has {what} {other}, and {small.name} {one}", expected="two students of one task"
            )


def _tuned(small: Manifest, large: Manifest) -> Handover:
    if small.escalation is None:
        raise ArtifactError(
            f"{small.name} was never tuned to leave answers to a larger one",
            expected="a threshold",
            remedy="limbeck tune --escalate-to, or threshold=",
        )
    found = built(Handover, small.escalation, "escalation")
    if found.graph != graph_hash(large):
        raise ArtifactError(
            f"{small.name} was tuned to leave answers to {found.name}, and {large.name} has another graph",
            expected="the artifact it was tuned with: its bound holds for no other",
            remedy="tune it again",
        )
    return found


def graph_hash(manifest: Manifest) -> str:
    """By which an artifact's graph is known to others."""
    return str(manifest.files[manifest.graph.file]["sha256"])
