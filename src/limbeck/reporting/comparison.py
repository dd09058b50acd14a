"""Several runs side by side, with a warning where they cannot be compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from limbeck.reporting.charts import Strip, strip_chart
from limbeck.reporting.headline import Cell
from limbeck.reporting.page import Page
from limbeck.reporting.units import metric

_COSTS = ("parameters", "bytes", "latency_ms")


@dataclass(frozen=True)
class ComparedRun:
    """One run's line in the comparison; costs are (label, cell) in the order of the comparison's `costs`."""

    page: Page
    objective: str
    teacher: Cell | None
    student: Cell | None
    control: Cell | None
    difference: Cell | None
    costs: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Comparison:
    """The table over runs, a chart of every seed of every run, and what makes them hard to compare."""

    label: str
    costs: tuple[str, ...]
    runs: tuple[ComparedRun, ...]
    chart: Markup | None
    warnings: tuple[str, ...]


def compare(pages: Sequence[Page]) -> Comparison:
    """Puts the headline of each run into one table, on the first run's selection metric."""
    unit = metric(pages[0].record.selection)
    costs = [row.unit for row in pages[0].headline.rows if row.kind == "cost" and row.unit.name in _COSTS]
    runs = []
    for page in pages:
        rows = {row.unit.name: row for row in page.headline.rows}
        main = rows.get(unit.name)
        runs.append(
            ComparedRun(
                page=page,
                objective=str(page.record.recipe.get("objective") or "—"),
                teacher=main.teacher if main else None,
                student=main.student if main else None,
                control=main.control if main else None,
                difference=main.difference if main else None,
                costs=tuple(rows[cost.name].student if cost.name in rows else None for cost in costs),
            )
        )
    return Comparison(
        unit.label, tuple(cost.label for cost in costs), tuple(runs), _chart(pages, unit.name), _warnings(pages)
    )


def _chart(pages: Sequence[Page], name: str) -> Markup | None:
    unit = metric(name)
    strips = []
    for page in pages:
        results = page.record.results
        students = tuple(r.student.metrics[name] for r in results if name in r.student.metrics)
        controls = tuple(r.control.metrics[name] for r in results if r.control and name in r.control.metrics)
        short = page.record.name if len(page.record.name) <= 24 else f"{page.record.name[:23]}…"
        if students:
            strips.append(Strip("student", short, students))
        if controls:
            strips.append(Strip("control", "alone", controls))
    if not strips:
        return None
    words = "; ".join(f"{strip.label}: {', '.join(unit.write(value) for value in strip.values)}" for strip in strips)
    return strip_chart(strips, unit, alt=f"{unit.label} on test rows for every seed. {words}", name="compare-strip")


def _warnings(pages: Sequence[Page]) -> tuple[str, ...]:
    found = []
    records = [page.record for page in pages]
    if len({str(record.data.get("fingerprint")) for record in records}) > 1:
        found.append("The runs used different data: their scores are of different rows and cannot be ranked.")
    if len({record.selection for record in records}) > 1:
        names = ", ".join(sorted({record.selection for record in records}))
        found.append(f"The runs chose their weights by different metrics: {names}.")
    if len({len(record.results) for record in records}) > 1:
        found.append("The runs have different numbers of seeds: a mean over fewer seeds is less certain.")
    if any(record.status != "finished" for record in records):
        unfinished = ", ".join(record.name for record in records if record.status != "finished")
        found.append(f"Not finished: {unfinished}.")
    return tuple(found)
