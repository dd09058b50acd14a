"""Which number of an answer is watched: taken from a graph's outputs in float32, with one subtraction at most.

Nothing here is a probability, on purpose. A logit orders answers as its probability does, keeps its digits where the
probability is 0.9999999, and is the same number in C, where `exp` differs between libraries. What is said to people is
the probability.

- `event`, of forecasts that have one: the event's logit, the last output.
- `classes`, of one class a row: the greatest logit of the classes that are named, minus the greatest of the others. Of
  a class for each step: the same of the last step. Of several classes a row: the greatest logit of those named.
- `number`, of numbers and forecasts: the one that is named; of a forecast's step the median, or the quantile `level`.
- `reading`, of any row of a series: the last reading of the channel that is named, which needs no model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck_runtime.decoding import Floats
from limbeck_runtime.errors import ArtifactError
from limbeck_runtime.manifest import Manifest

WATCHED = ("event", "classes", "number", "reading")


@dataclass(frozen=True)
class Watch:
    """Which number of an answer is watched.

    Args:
        kind: One of `WATCHED`.
        names: Of the classes; of the number or channel, one.
        level: Of the quantile, of forecasts that have some.
    """

    kind: str
    names: tuple[str, ...] = ()
    level: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in WATCHED:
            raise ArtifactError(f"alerts watch {self.kind!r}", expected=f"one of {', '.join(WATCHED)}")

    def check(self, manifest: Manifest) -> None:
        """Raises `ArtifactError` where an artifact's answers hold no such number."""
        places(self, manifest)

    def scores(self, manifest: Manifest, rows: npt.NDArray[Any], outputs: Floats) -> Floats:
        """The score of each row.

        Args:
            manifest: Of the artifact that was asked.
            rows: Raw rows, of shape (rows, *manifest.input.shape).
            outputs: What its graph said, of shape (rows, *manifest.output.shape).
        """
        found = places(self, manifest)
        if self.kind == "reading":
            return rows[:, found[0], -1].astype(np.float32)
        if outputs.ndim == 3:
            outputs = outputs[:, -1]
        if self.kind != "classes":
            return outputs[:, found[0]].astype(np.float32)
        best = outputs[:, found].max(axis=1)
        if manifest.output.reading["kind"] == "classes":
            return best
        others = np.delete(outputs, found, axis=1).max(axis=1)
        return np.asarray(best - others, np.float32)

    def said(self, score: float) -> str:
        """A score in words."""
        what = {"event": "the event", "classes": " or ".join(self.names)}.get(self.kind, "".join(self.names))
        return f"{what} at {self.spelled(score)}"

    def spelled(self, score: float) -> str:
        """A score as a number for people: a logit as the probability it stands for."""
        if self.kind not in ("event", "classes"):
            return f"{score:g}"
        # exp of the negative magnitude never overflows.
        small = math.exp(-abs(score))
        return f"{(1 if score >= 0 else small) / (1 + small):.3g}"


def places(watch: Watch, manifest: Manifest) -> list[int]:
    """Where the numbers that are watched stand in a row or in outputs."""
    reading = manifest.output.reading
    kind, names = str(reading.get("kind")), tuple(reading.get("names", ()))
    fits = {
        "reading": manifest.input.kind == "series",
        "event": kind == "forecast" and bool(reading.get("event")),
        "classes": kind in ("class", "classes", "steps"),
        "number": kind in ("numbers", "forecast"),
    }
    if not fits[watch.kind]:
        raise ArtifactError(
            f"alerts watch a {watch.kind}, of rows that are {manifest.input.kind} and outputs of kind {kind!r}",
            expected=f"one of {', '.join(name for name, there in fits.items() if there)}",
        )
    if watch.kind == "reading":
        return _found(watch, manifest.input.names or _channels(manifest.stream), 1)
    if watch.kind == "event":
        return [manifest.output.shape[-1] - 1]
    if watch.kind == "number":
        return [_number(watch, names, reading)]
    found = _found(watch, names, None)
    if kind != "classes" and len(found) == len(names):
        raise ArtifactError("alerts watch every class", expected="at least one class that does not alarm")
    return found


def _number(watch: Watch, names: Sequence[str], reading: Mapping[str, Any]) -> int:
    place = _found(watch, names, 1)[0]
    if reading.get("kind") == "numbers":
        return place
    levels = [float(level) for level in reading.get("quantiles") or (0.5,)]
    if watch.level not in levels:
        raise ArtifactError(f"alerts watch the quantile {watch.level:g}", expected=f"one of {levels}")
    return place * len(levels) + levels.index(watch.level)


def _channels(stream: Mapping[str, Any] | None) -> tuple[str, ...]:
    return tuple(stream.get("channels", ())) if stream else ()


def _found(watch: Watch, names: Sequence[str], count: int | None) -> list[int]:
    unknown = [name for name in watch.names if name not in names]
    if unknown or not watch.names or len(set(watch.names)) != len(watch.names) or count not in (None, len(watch.names)):
        raise ArtifactError(
            f"alerts watch {', '.join(watch.names) or 'nothing'}",
            expected=f"{'some' if count is None else 'one'} of {', '.join(names)}",
        )
    return [list(names).index(name) for name in watch.names]
