"""What happened while a run trained, read from its `metrics.jsonl` and thinned to what a chart can show."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_POINTS = 160


@dataclass(frozen=True)
class Band:
    """A curve over seeds: mean, lowest and highest at each place of `x`."""

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: int


@dataclass(frozen=True)
class LossTerms:
    """The training loss of one seed's student, split into its terms' parts (loss times share); parts may be empty."""

    seed: int
    x: tuple[float, ...]
    total: tuple[float, ...]
    parts: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Gradients:
    """The share of each term in the gradients of one seed's student.

    `conflicts` are pairs of terms, at how many points their gradients pointed against each other, and of how many.
    """

    seed: int
    x: tuple[float, ...]
    shares: Mapping[str, tuple[float, ...]]
    conflicts: tuple[tuple[str, str, int, int], ...]


@dataclass(frozen=True)
class History:
    """Curves of a run. `x` is in epochs where every line has one, else in steps.

    `likeness` follows `likeness_name`, by which student and control are compared with the teacher on validation rows.
    """

    x_label: str
    validation: Mapping[str, Band]
    likeness: Mapping[str, Band]
    likeness_name: str
    loss: LossTerms | None
    gradients: Gradients | None
    rows_per_second: Mapping[str, float]
    damaged_lines: int


def read_history(folder: Path, selection: str, seed: int | None) -> History:
    """Reads `metrics.jsonl` of a run folder and of its `seed-N` folders; missing files give empty curves.

    Args:
        folder: The run folder.
        selection: The validation metric to follow.
        seed: The seed whose training loss is shown; the first one found where None.
    """
    lines, damaged = [], 0
    for path in [folder / "metrics.jsonl", *sorted(folder.glob("seed-*/metrics.jsonl"))]:
        for line in _lines(path):
            if line is None:
                damaged += 1
            else:
                lines.append(line)
    axis = "epoch" if lines and all("epoch" in line for line in lines) else "step"
    speeds: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if line.get("event") == "train" and "rows_per_second" in line:
            speeds[line.get("who", "student")].append(float(line["rows_per_second"]))
    alike = list(dict.fromkeys(name for line in lines for name in line.get("likeness") or ()))
    name = "agreement" if "agreement" in alike or not alike else alike[0]
    return History(
        x_label=axis,
        validation=_validation(lines, axis, "metrics", selection),
        likeness=_validation(lines, axis, "likeness", name),
        likeness_name=name,
        loss=_loss(lines, axis, seed),
        gradients=_gradients(lines, axis, seed),
        rows_per_second={who: statistics.median(values) for who, values in speeds.items()},
        damaged_lines=damaged,
    )


def _lines(path: Path) -> Iterator[dict[str, Any] | None]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                # A run that is still writing, or was killed, ends in half a line.
                yield None
                continue
            yield line if isinstance(line, dict) and "step" in line else None


def _validation(lines: Sequence[Mapping[str, Any]], axis: str, kind: str, name: str) -> dict[str, Band]:
    series: dict[str, dict[int, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        value = line.get(kind, {}).get(name)
        if line.get("event") == "valid" and value is not None and np.isfinite(value):
            # A resumed run may repeat steps: the last word counts.
            series[line.get("who", "student")][line.get("seed", 0)][float(line[axis])] = float(value)
    return {who: _band(list(of_seeds.values())) for who, of_seeds in series.items()}


def _band(series: Sequence[Mapping[float, float]]) -> Band:
    first, last = max(min(curve) for curve in series), min(max(curve) for curve in series)
    places = sorted({x for curve in series for x in curve if first <= x <= last})
    if not places:
        places = [last]
    if len(places) > _POINTS:
        chosen = np.unique(np.linspace(0, len(places) - 1, _POINTS).round().astype(int))
        places = [places[k] for k in chosen]
    values = np.stack([np.interp(places, sorted(curve), [curve[x] for x in sorted(curve)]) for curve in series])
    return Band(
        tuple(places),
        tuple(values.mean(axis=0).tolist()),
        tuple(values.min(axis=0).tolist()),
        tuple(values.max(axis=0).tolist()),
        len(series),
    )


def _loss(lines: Sequence[Mapping[str, Any]], axis: str, seed: int | None) -> LossTerms | None:
    shown, mine = _of_one_student(lines, "train", seed)
    ordered = [line for line in mine if np.isfinite(line["loss"])]
    if not ordered:
        return None
    names = list(dict.fromkeys(name for line in ordered for name in line.get("shares") or ()))
    total = np.array([line["loss"] for line in ordered], dtype=float)
    parts = {
        name: np.array([float((line.get("shares") or {}).get(name, 0.0)) for line in ordered]) * total for name in names
    }
    x = np.array([line[axis] for line in ordered], dtype=float)
    return LossTerms(shown, _thin(x), _thin(total), {name: _thin(part) for name, part in parts.items()})


def _gradients(lines: Sequence[Mapping[str, Any]], axis: str, seed: int | None) -> Gradients | None:
    shown, mine = _of_one_student(lines, "diagnosis", seed)
    if not mine:
        return None
    names = list(dict.fromkeys(name for line in mine for name in line["shares"]))
    cosines: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in mine:
        for first, others in line["cosines"].items():
            for second, cosine in others.items():
                if cosine is not None:
                    cosines[first, second].append(cosine)
    return Gradients(
        shown,
        tuple(float(line[axis]) for line in mine),
        {name: tuple(float(line["shares"].get(name) or 0.0) for line in mine) for name in names},
        tuple((*pair, sum(cosine < 0 for cosine in known), len(known)) for pair, known in cosines.items()),
    )


def _of_one_student(
    lines: Sequence[Mapping[str, Any]], event: str, seed: int | None
) -> tuple[int, list[Mapping[str, Any]]]:
    """One seed's lines of one kind in the order of their steps: that seed's, or the first one's that has any."""
    mine = [line for line in lines if line.get("event") == event and line.get("who", "student") == "student"]
    seeds = sorted({line.get("seed", 0) for line in mine})
    if not seeds:
        return 0, []
    shown = int(seed if seed in seeds and seed is not None else seeds[0])
    by_step = {line["step"]: line for line in mine if line.get("seed", 0) == shown}
    return shown, [by_step[step] for step in sorted(by_step)]


def _thin(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, ...]:
    if len(values) <= _POINTS:
        return tuple(values.tolist())
    return tuple(float(chunk.mean()) for chunk in np.array_split(values, _POINTS))
