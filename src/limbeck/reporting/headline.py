"""The headline of a run, teacher, student and control over all seeds: what HTML report and terminal both show."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from limbeck.records import RunRecord, Scores, SeedResult, spread
from limbeck.reporting.units import Unit, cost, metric, times
from limbeck.reporting.verdict import Verdict, verdict

Who = Literal["teacher", "student", "control", "baseline"]
NAMES: dict[Who, str] = {
    "teacher": "Teacher",
    "student": "Student",
    "control": "Student alone",
    "baseline": "Baseline",
}
_COSTS = ("parameters", "bytes", "macs", "latency_ms", "latency_p95_ms")


@dataclass(frozen=True)
class Cell:
    """A mean over seeds with its sample standard deviation.

    Args:
        unit: How it is written.
        mean: Mean over seeds.
        deviation: Standard deviation with n - 1; not a number where fewer than two values are known.
        count: How many seeds; 0 for a model that was not trained here, such as the teacher.
        signed: Whether it is a difference.
    """

    unit: Unit
    mean: float
    deviation: float
    count: int
    signed: bool = False

    @property
    def value(self) -> str:
        """The mean with its unit."""
        return f"{self.number}{self.suffix}"

    @property
    def number(self) -> str:
        """The mean without its unit."""
        return self.unit.signed(self.mean) if self.signed else self.unit.number(self.mean)

    @property
    def suffix(self) -> str:
        """The unit, with its leading space."""
        return self.unit.suffix(self.mean, signed=self.signed)

    @property
    def spread(self) -> str:
        """`± 0.15`, in the unit of the value; `one seed` where no spread is known; nothing for a fixed quantity."""
        if self.count == 0 or (self.deviation == 0 and self.unit.style in {"count", "bytes"}):
            return ""
        if self.count == 1:
            return "" if self.unit.style in {"count", "bytes", "milliseconds"} else "one seed"
        return f"± {self.unit.number(self.deviation, like=self.mean)}"


@dataclass(frozen=True)
class Row:
    """One quantity of the headline; a cell is None where it was not measured."""

    unit: Unit
    kind: Literal["metric", "cost"]
    selection: bool
    teacher: Cell | None
    student: Cell | None
    control: Cell | None
    difference: Cell | None
    baseline: Cell | None = None

    def of(self, who: Who) -> Cell | None:
        """The cell of one model."""
        return {
            "teacher": self.teacher,
            "student": self.student,
            "control": self.control,
            "baseline": self.baseline,
        }[who]


@dataclass(frozen=True)
class Headline:
    """What a run found, in numbers and in words.

    `difference` cells are student minus control, paired by seed. `models` are those that the run has, in the order
    they are shown. `ratios` compare the student with its teacher; `notes` say how the numbers came about.
    """

    name: str
    seeds: int
    models: tuple[Who, ...]
    rows: tuple[Row, ...]
    verdict: Verdict
    ratios: str
    notes: tuple[str, ...]

    @property
    def selection(self) -> Row | None:
        """The row of the metric by which weights were chosen."""
        return next((row for row in self.rows if row.selection), None)


def headline(record: RunRecord) -> Headline:
    """The headline numbers of a run, over all its seeds."""
    models: list[Who] = []
    if record.teacher is not None:
        models.append("teacher")
    if record.results:
        models.append("student")
    if any(result.control is not None for result in record.results):
        models.append("control")
    if record.baseline is not None:
        models.append("baseline")
    rows = [_row(record, name, "metric") for name in _metrics(record)]
    rows += [_row(record, name, "cost") for name in _costs(record)]
    return Headline(
        name=record.name,
        seeds=len(record.results),
        models=tuple(models),
        rows=tuple(rows),
        verdict=verdict(record),
        ratios=_ratios(rows) if record.teacher is not None else "",
        notes=_notes(record),
    )


def measuring_note(record: RunRecord) -> str:
    """How latency was measured, as the run's environment says it; empty where it does not."""
    for key, value in record.environment.items():
        if "latency" in key.lower() and isinstance(value, str) and value:
            return value
    return ""


def _metrics(record: RunRecord) -> list[str]:
    names = [record.selection, *record.headline]
    for scores in [record.teacher, *(result.student for result in record.results)]:
        names += scores.metrics if scores is not None else ()
    known = {name for result in record.results for name in result.student.metrics}
    known |= set(record.teacher.metrics) if record.teacher is not None else set()
    return [name for name in dict.fromkeys(names) if name in known]


def _costs(record: RunRecord) -> list[str]:
    found: list[str] = []
    for scores in [record.teacher, *(result.student for result in record.results)]:
        found += scores.cost if scores is not None else ()
    return [name for name in _COSTS if name in found] + [n for n in dict.fromkeys(found) if n not in _COSTS]


def _row(record: RunRecord, name: str, kind: Literal["metric", "cost"]) -> Row:
    unit = metric(name) if kind == "metric" else cost(name)

    def read(scores: Scores | None) -> float | None:
        if scores is None:
            return None
        return (scores.metrics if kind == "metric" else scores.cost).get(name)

    def pair(result: SeedResult) -> float | None:
        student, control = read(result.student), read(result.control)
        return None if student is None or control is None else student - control

    teacher, baseline = read(record.teacher), read(record.baseline)
    return Row(
        unit=unit,
        kind=kind,
        selection=kind == "metric" and name == record.selection,
        teacher=None if teacher is None else Cell(unit, teacher, math.nan, 0),
        student=_over_seeds(record.results, lambda result: read(result.student), unit),
        control=_over_seeds(record.results, lambda result: read(result.control), unit),
        # The control is the same network: a difference of its cost would be noise of the clock.
        difference=_over_seeds(record.results, pair, unit, signed=True) if kind == "metric" else None,
        baseline=None if baseline is None else Cell(unit, baseline, math.nan, 0),
    )


def _over_seeds(
    results: Sequence[SeedResult], read: Callable[[SeedResult], float | None], unit: Unit, *, signed: bool = False
) -> Cell | None:
    values = [value for result in results if (value := read(result)) is not None]
    if not values:
        return None
    mean, deviation = spread(values)
    return Cell(unit, mean, deviation, len(values), signed)


def _ratios(rows: Sequence[Row]) -> str:
    words = {
        "parameters": ("has {} times fewer parameters", "has {} times more parameters"),
        "bytes": ("is {} times smaller", "is {} times bigger"),
        "macs": ("needs {} times fewer multiply-accumulates", "needs {} times more multiply-accumulates"),
        "latency_ms": ("answers {} times faster", "answers {} times slower"),
    }
    said = []
    for row in rows:
        if row.unit.name not in words or row.teacher is None or row.student is None:
            continue
        if row.teacher.mean <= 0 or row.student.mean <= 0:
            continue
        ratio = row.teacher.mean / row.student.mean
        # Written with two digits, a ratio this near to one would say "1.0 times smaller".
        if max(ratio, 1 / ratio) < 1.05:
            continue
        said.append(words[row.unit.name][ratio < 1].format(times(max(ratio, 1 / ratio))))
    if not said:
        return ""
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"Next to its teacher the student {listed}."


def _notes(record: RunRecord) -> tuple[str, ...]:
    if not record.results:
        return ()
    count, rows = len(record.results), record.results[0].student.rows
    notes = [f"Scored on {rows:,} test rows, which chose nothing: weights were chosen on validation data."]
    # Only these are means over rows, so that a single row moves them by 1/rows.
    if record.selection in {"accuracy", "agreement"} and rows > 0:
        notes[0] += f" One test row is worth {100 / rows:.2g} points."
    if record.baseline is not None:
        notes.append(f"Baseline: {record.baseline_name}, without any learning.")
    if count > 1:
        notes.append(f"Mean ± standard deviation (n − 1) over {count} seeds; differences are paired by seed.")
    else:
        notes.append("One seed: no spread is known.")
    if any("latency_ms" in result.student.cost for result in record.results):
        how = measuring_note(record).rstrip(".") or "the run does not say how it was measured"
        notes.append(f"Latency {how}." if how.startswith("measured") else f"Latency: {how}.")
    if record.status != "finished":
        notes.append(f"The run is {record.status}: more seeds may follow.")
    return tuple(notes)
