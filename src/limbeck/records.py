"""Plain facts that go to disk as JSON: scores, panels, runs, findings. Reports and the runtime read only these."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from limbeck.errors import RunError, did_you_mean
from limbeck.storage import write_text

SCHEMA = 1

GENERATIONS = "generations.jsonl"
"""Where a run keeps what its models said after held-out prompts."""


@dataclass(frozen=True)
class Panel:
    """One picture or table of a report, as plain data; the task says what it shows, the report only how it looks.

    The kind decides what `data` holds:

    - `table`: `columns` (names) and `rows` (lists of values);
    - `matrix`: `labels` and `values` (rows are the truth, columns the answer);
    - `curve`: `x`, `y`, `x_label`, `y_label`, `diagonal` (true where the ideal is y = x) and, where that does not reach
      from 0 to 1, `range`;
    - `examples`: `classes`, `temperature` and `rows`, each with `image` (nested lists 0..1, or null), `label`, `cold`
      (probabilities at T=1) and `warm` (probabilities at the run's temperature), or `labels` where there are several;
    - `lines`: `rows`, each with `window` (the readings before), `truth` (those after, null where unknown), `forecast`,
      `low` and `high` (the ends of the `interval` between two quantiles, or null) and `probability` of the event (or
      null); `threshold` (or null), the `event` in words, and `interval` (two levels, or null).
    """

    name: str
    title: str
    kind: Literal["table", "matrix", "curve", "examples", "lines"]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Scores:
    """What a model scored on some rows: metrics, size and speed, with how each was measured."""

    rows: int
    metrics: Mapping[str, float]
    cost: Mapping[str, float] = field(default_factory=dict)
    panels: tuple[Panel, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something the preflight or the doctor noticed: how bad it is, the evidence, and the remedy."""

    severity: Literal["error", "warning", "note"]
    subject: str
    evidence: str
    remedy: str


@dataclass(frozen=True)
class SeedResult:
    """One seed of a run: the student and its control (the same student alone), each scored on the test rows.

    `steps` are optimiser steps; `selected_step` is the step whose weights won on validation data; `seconds` are wall
    seconds of training on the machine named in the run's environment.
    """

    seed: int
    student: Scores
    control: Scores | None
    steps: int
    selected_step: int
    validation: float
    seconds: float
    control_seconds: float | None = None
    control_validation: float | None = None


@dataclass(frozen=True)
class RunRecord:
    """`run.json`: everything a report needs about a run, without torch.

    `results` hold one entry for each seed; `chosen_seed` is the seed whose student did best on validation data and is
    the one that `student.safetensors` holds. `metrics.jsonl` lies beside it for each seed. `baseline` is what an answer
    without any learning scores on the same rows, and `baseline_name` says which.
    """

    name: str
    status: Literal["running", "finished", "interrupted"]
    task: str
    selection: str
    headline: tuple[str, ...]
    classes: tuple[str, ...]
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    teacher: Scores | None = None
    baseline: Scores | None = None
    baseline_name: str = ""
    results: tuple[SeedResult, ...] = ()
    chosen_seed: int | None = None
    findings: tuple[Finding, ...] = ()
    panels: tuple[Panel, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    schema: int = SCHEMA


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); the deviation of a single value is not a number."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def write_record(record: RunRecord, folder: Path) -> None:
    """Writes `run.json` so that a kill or a full disk leaves either the old file or the new one.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    write_text(folder / "run.json", json.dumps(asdict(record), indent=1, allow_nan=True))


def read_record(folder: Path) -> RunRecord:
    """Reads `run.json` of a run folder.

    Raises:
        RunError: When the folder is no run, or was written by a newer Limbeck.
    """
    path = folder / "run.json"
    if not path.is_file():
        near = did_you_mean(folder.name, [p.parent.name for p in folder.parent.glob("*/run.json")])
        raise RunError(f"{folder} is not a run folder: it has no run.json", remedy=f"{near} (beside it)")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunError(f"{path} is damaged: {error}", remedy="run the recipe again into another folder") from error
    if not isinstance(raw, dict):
        raise RunError(f"{path} is damaged: it holds a {type(raw).__name__}", expected="what limbeck wrote")
    if raw.get("schema") != SCHEMA:
        raise RunError(
            f"{path} has schema {raw.get('schema')}", expected=f"schema {SCHEMA}", remedy="a newer limbeck reads it"
        )
    try:
        return _run_record(raw)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged: {type(error).__name__} {error}", remedy="run the recipe again into another folder"
        ) from error


def write_generations(said: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Writes `generations.jsonl`: a line for each held-out prompt and way of going on, with who went on how.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    write_text(folder / GENERATIONS, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in said))


def read_generations(folder: Path) -> list[dict[str, Any]]:
    """Reads `generations.jsonl` of a run folder; empty where nothing was asked.

    Raises:
        RunError: When it is damaged.
    """
    path = folder / GENERATIONS
    if not path.is_file():
        return []
    try:
        # Only a line feed ends a line here; a text may hold other characters that end lines elsewhere.
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged: {error}", remedy="delete it; the report then shows no texts") from error
    if not all(isinstance(line, dict) and {"prompt", "way", "data"} <= line.keys() for line in found):
        raise RunError(f"{path} is damaged: a line lacks prompt, way or data", remedy="delete it")
    return found


def _scores(raw: Mapping[str, Any] | None) -> Scores | None:
    if raw is None:
        return None
    return Scores(raw["rows"], raw["metrics"], raw["cost"], tuple(Panel(**panel) for panel in raw["panels"]))


def _seed_result(raw: Mapping[str, Any]) -> SeedResult:
    student = _scores(raw["student"])
    assert student is not None
    return SeedResult(**{**raw, "student": student, "control": _scores(raw["control"])})


def _run_record(raw: Mapping[str, Any]) -> RunRecord:
    return RunRecord(
        **{
            **raw,
            "headline": tuple(raw["headline"]),
            "classes": tuple(raw["classes"]),
            "teacher": _scores(raw["teacher"]),
            "baseline": _scores(raw.get("baseline")),
            "results": tuple(_seed_result(result) for result in raw["results"]),
            "findings": tuple(Finding(**finding) for finding in raw["findings"]),
            "panels": tuple(Panel(**panel) for panel in raw["panels"]),
        }
    )
