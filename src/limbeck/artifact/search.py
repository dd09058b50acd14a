"""The search for a precision: int8 graphs measured beside float32 on validation rows, in answers, bytes and time."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy.typing as npt
import torch

from limbeck.artifact.candidates import FLOAT32, Candidate, Recipes
from limbeck.artifact.choice import Allowances, Measured, chosen, described
from limbeck.artifact.verification import outputs
from limbeck.data.rows import Rows
from limbeck.data.source import Data
from limbeck.errors import LimbeckError
from limbeck.evaluation import Answers
from limbeck.evaluation import score as scores_of
from limbeck.measures.latency import interleaved
from limbeck.progress import Progress
from limbeck.task import Task
from limbeck_runtime.errors import ArtifactError
from limbeck_runtime.predictor import OnnxPredictor

CALIBRATED = 256
"""So many training rows are calibrated on where nobody says otherwise."""

_ROUNDS, _CALLS, _SECONDS = 30, 10, 12.0
_TURNS = 3
"""So often everything is timed; the least median of each counts, since other work on a machine only adds."""


@dataclass(frozen=True)
class Found:
    """What a search ended with.

    Args:
        graph: ONNX bytes.
        recipe: How it was made.
        batch: How many rows it takes at a time; None: any number.
        precision: `float32` or `int8`.
        calibration: The rows int8 was calibrated on; empty for float32.
        facts: Candidates, choice and allowances, as JSON for the manifest.
    """

    graph: bytes
    recipe: str
    batch: int | None
    precision: str
    calibration: Mapping[str, Any]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Search:
    """What every candidate is held to.

    Args:
        task: Of the run.
        data: Of the run; training rows calibrate, validation rows judge, test rows are not looked at.
        opened: From ONNX bytes and the rows they take at a time to a predictor.
        allowed: What int8 may lose.
        progress: Is told what is being done.
        only: How the names of the recipes begin that are looked at, such as `static` for a processor that has integers
            alone; empty: all.
    """

    task: Task
    data: Data
    opened: Callable[[bytes, int | None], OnnxPredictor]
    allowed: Allowances
    progress: Progress
    only: str = ""

    def found(
        self, graph: bytes, batch: int | None, precision: Literal["int8", "auto"], calibrate: int | None
    ) -> Found:
        """Quantises, measures, chooses.

        Args:
            graph: float32, ONNX bytes.
            batch: How many rows it takes at a time; None: any number.
            precision: What was asked for.
            calibrate: How many training rows are calibrated on.

        Raises:
            ModelError: When `int8` was asked for and no graph is as good as it must be.
            DataError: When the training rows are none of the graph's.
        """
        rows = some(self.data.train, calibrate or CALIBRATED)
        recipes = Recipes(graph, rows, batch, only=self.only)
        self.progress.say(f"quantising, calibrated on {len(rows)} training rows")
        candidates = [Candidate(FLOAT32, graph, batch), *recipes.plain()]
        judged = self._judged(candidates)
        if (like := self._likeliest(judged)) is not None:
            more = list(recipes.mixed(like))
            judged += self._judged(more, judged[0])
            candidates += more
        self.progress.say(f"timing {len(judged)} graphs in turns")
        measured = _timed(judged, some(self.data.valid, batch or 1))
        taken, why = chosen(measured, precision, self.allowed)
        self.progress.say(why)
        candidate = next(each for each in candidates if each.recipe == taken.recipe)
        facts = {
            "candidates": described(measured, self.allowed, self.task.higher_is_better),
            "choice": why,
            "metric": self.task.selection,
            "judged_on": {"split": "valid", "rows": len(self.data.valid)},
            "allowances": dict(vars(self.allowed)),
        }
        number = "float32" if taken.recipe == FLOAT32 else "int8"
        said = {} if number == "float32" else calibration(rows)
        name = "as trained" if number == "float32" else taken.recipe
        return Found(candidate.graph, name, candidate.batch, number, said, facts)

    def _judged(self, candidates: Sequence[Candidate], float32: "_Judged | None" = None) -> list["_Judged"]:
        """Candidates asked about every validation row; the first of all is float32."""
        found: list[_Judged] = []
        for each in candidates:
            self.progress.say(f"asking {each.recipe} about {len(self.data.valid)} validation rows")
            found.append(self._asked(each, found[0] if float32 is None and found else float32))
        return found

    def _asked(self, candidate: Candidate, float32: "_Judged | None") -> "_Judged":
        size = len(candidate.graph)
        if candidate.failed:
            return _Judged(Measured(candidate.recipe, size, failed=candidate.failed))
        try:
            predictor = self.opened(candidate.graph, candidate.batch)
            said = torch.from_numpy(outputs(predictor, self.data.valid))
            metric = self._metric(said)
        except (ArtifactError, LimbeckError) as error:
            return _Judged(Measured(candidate.recipe, size, failed=" ".join(str(error).split())))
        if float32 is None or float32.said is None or float32.measured.metric is None:
            return _Judged(Measured(candidate.recipe, size, metric), predictor, said)
        like = self.task.likeness(said, float32.said)
        measured = Measured(
            candidate.recipe,
            size,
            metric,
            _lost(metric, float32.measured.metric, self.task.higher_is_better),
            like,
            self._distances(like, float32.said),
        )
        return _Judged(measured, predictor, said)

    def _metric(self, said: torch.Tensor) -> float:
        """The one by which the task chooses weights."""
        rows = self.data.valid
        labels = torch.zeros(rows.known.shape, dtype=torch.int64) if rows.labels is None else rows.labels
        answers = Answers(said, labels.long() if labels.dtype == torch.int32 else labels, rows.known)
        return float(scores_of(answers, self.task, self.data.classes, panels=False).metrics[self.task.selection])

    def _distances(self, like: Mapping[str, float], known: torch.Tensor) -> dict[str, float]:
        """Distances from float32's answers, as shares of what their own mean is away from them.

        A KL is about a square of a distance: its root is taken.
        """
        if "agreement" in like:
            return {}
        spread = self.task.likeness(known.mean(dim=0, keepdim=True).expand_as(known), known)
        shares = {name: value / max(spread[name], 1e-12) for name, value in like.items()}
        return {name: max(share, 0.0) ** 0.5 if "kl" in name else share for name, share in shares.items()}

    def _likeliest(self, judged: Sequence["_Judged"]) -> str | None:
        """The static recipe whose answers are nearest to float32's; the first of those that are equally near."""
        known = judged[0].said
        near = [
            (float(f"{float((each.said - known).square().mean()):.2g}"), place, each.measured.recipe)
            for place, each in enumerate(judged)
            if each.said is not None and known is not None and each.measured.recipe.startswith("static")
        ]
        return min(near)[2] if near else None


@dataclass(frozen=True)
class _Judged:
    measured: Measured
    predictor: OnnxPredictor | None = None
    said: torch.Tensor | None = None


def _timed(judged: Sequence[_Judged], rows: npt.NDArray[Any]) -> list[Measured]:
    """What was measured, with the milliseconds of one call about these rows, one thread."""

    def call(predictor: OnnxPredictor) -> Callable[[], object]:
        return lambda: predictor.outputs(rows)

    calls = {each.measured.recipe: call(each.predictor) for each in judged if each.predictor is not None}
    turns = [interleaved(calls, rounds=_ROUNDS, calls=_CALLS, seconds=_SECONDS) for _ in range(_TURNS)]
    least = {name: min(turn[name]["latency_ms"] for turn in turns) for name in calls}
    return [
        replace(each.measured, latency_ms=least[name], slower=least[name] / least[FLOAT32])
        if name in least
        else each.measured
        for each in judged
        for name in (each.measured.recipe,)
    ]


def some(rows: Rows, count: int) -> npt.NDArray[Any]:
    """Raw rows, evenly from all of a split; all where there are fewer."""
    places = torch.linspace(0, len(rows) - 1, min(count, len(rows))).round().long()
    return rows.take(places).inputs.numpy()


def calibration(rows: npt.NDArray[Any]) -> dict[str, Any]:
    """Which rows int8 was calibrated on."""
    return {"split": "train", "rows": len(rows), "sha256": hashlib.sha256(rows.tobytes()).hexdigest()}


def _lost(metric: float, known: float, higher_is_better: bool) -> float:
    if higher_is_better:
        return known - metric
    return (metric - known) / max(abs(known), 1e-12)
