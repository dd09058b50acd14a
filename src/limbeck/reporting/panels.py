"""Panels of a record made ready for the page: by their kind alone, whatever the task that drew them."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.image
import numpy as np
from markupsafe import Markup

from limbeck.records import Panel
from limbeck.reporting.charts import curve_chart, lines_chart, matrix_chart
from limbeck.reporting.units import metric

_LARGE_MATRIX = 20
_SHOWN_CONFUSIONS = 15
_SHOWN_CLASSES = 5
_SHOWN_EXAMPLES = 12


@dataclass(frozen=True)
class Bar:
    """One class of an example: its probability at T=1 and at the run's temperature, as shares and as text."""

    label: str
    truth: bool
    cold: float
    warm: float
    cold_text: str
    warm_text: str


@dataclass(frozen=True)
class Example:
    """One row that the teacher looked at; `image` is a data URI or empty."""

    image: str
    label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Line:
    """One row of a series with what came, what the teacher forecast, and what it thought of the event."""

    chart: Markup
    caption: str


@dataclass(frozen=True)
class Grid:
    """A table of text; `numeric` marks the columns that are aligned to the right, `small` holds text under a cell."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True)
class Matrix:
    """One model's matrix: cells of (text, depth of colour 0..1), or a chart and the largest cells off the diagonal."""

    who: str
    labels: tuple[str, ...]
    cells: tuple[tuple[tuple[str, float], ...], ...]
    chart: Markup | None
    confusions: Grid | None


@dataclass(frozen=True)
class View:
    """One panel of the page, for all the models that have it."""

    name: str
    title: str
    kind: str
    models: tuple[str, ...]
    chart: Markup | None = None
    grid: Grid | None = None
    matrices: tuple[Matrix, ...] = ()
    examples: tuple[Example, ...] = ()
    temperature: str = ""
    lines: tuple[Line, ...] = ()
    note: str = ""


def views(by_model: Mapping[str, Sequence[Panel]], prefix: str) -> list[View]:
    """Brings together the panels that several models share by name.

    Args:
        by_model: Panels of `student`, `control`, `teacher`; `shared` for those of the record itself.
        prefix: Makes the ids of charts unique in the page.
    """
    found: dict[str, dict[str, Panel]] = {}
    for who, panels in by_model.items():
        for panel in panels:
            found.setdefault(panel.name, {})[who] = panel
    return [_view(of_models, f"{prefix}-panel{place}") for place, of_models in enumerate(found.values())]


def _view(of_models: Mapping[str, Panel], prefix: str) -> View:
    first = next(iter(of_models.values()))
    models = tuple(of_models)
    same = {who: panel.data for who, panel in of_models.items() if panel.kind == first.kind}
    if first.kind == "curve":
        drawn = {("student" if who == "shared" else who): data for who, data in same.items()}
        chart = curve_chart(drawn, alt=f"{first.title}: {_curve_words(drawn)}", name=prefix)
        return View(first.name, first.title, "curve", models, chart=chart)
    if first.kind == "matrix":
        matrices = tuple(_matrix(who, data, first.title, f"{prefix}-{who}") for who, data in same.items())
        return View(first.name, first.title, "matrix", models, matrices=matrices)
    if first.kind == "examples":
        data = first.data
        return View(
            first.name, first.title, "examples", models,
            examples=tuple(_example(row, data["classes"]) for row in data["rows"][:_SHOWN_EXAMPLES]),
            temperature=f"{float(data['temperature']):g}",
        )  # fmt: skip
    if first.kind == "lines":
        lines = tuple(_line(row, first.data, f"{prefix}-{k}") for k, row in enumerate(first.data["rows"]))
        return View(first.name, first.title, "lines", models, lines=lines, note=_line_note(first.data))
    return View(first.name, first.title, "table", models, grid=_grid(first.data, same.get("control")))


def _curve_words(curves: Mapping[str, Mapping[str, Any]]) -> str:
    first = next(iter(curves.values()))
    return f"{first.get('y_label', '')} against {first.get('x_label', '')} for {', '.join(curves)}"


def _grid(data: Mapping[str, Any], control: Mapping[str, Any] | None) -> Grid:
    columns = tuple(str(column) for column in data["columns"])
    rows = [list(row) for row in data["rows"]]
    other: list[list[Any]] = []
    if control is not None and data is not control and list(control["columns"]) == list(data["columns"]):
        other = [list(row) for row in control["rows"]]
    comparable = [row[:1] for row in other] == [row[:1] for row in rows]
    numeric = tuple(
        place > 0 and all(isinstance(row[place], int | float | None) for row in rows) for place in range(len(columns))
    )
    made = []
    for place, row in enumerate(rows):
        against = other[place] if comparable and other else [None] * len(row)
        made.append(tuple(_cell(columns[k], value, against[k]) for k, value in enumerate(row)))
    return Grid(columns, numeric, tuple(made))


def _cell(column: str, value: object, against: object) -> tuple[str, str]:
    if not isinstance(value, float):
        return (f"{value:,}" if type(value) is int else "—" if value is None else str(value)), ""
    unit = metric(column.lower().replace(" ", "_"))
    small = ""
    if isinstance(against, float) and math.isfinite(against) and math.isfinite(value) and against != value:
        small = unit.difference(value - against).replace(" points", "")
    return unit.write(value), small


def _matrix(who: str, data: Mapping[str, Any], title: str, prefix: str) -> Matrix:
    labels = tuple(str(label) for label in data["labels"])
    values = [[float(value) for value in row] for row in data["values"]]
    if len(labels) > _LARGE_MATRIX:
        right = sum(values[k][k] for k in range(len(values))) / max(sum(map(sum, values)), 1e-12)
        alt = f"{title}: {len(labels)} by {len(labels)} classes, {right:.1%} on the diagonal"
        return Matrix(who, labels, (), matrix_chart(values, alt=alt, name=prefix), _confusions(labels, values))
    # The root makes a confusion of one in a hundred visible beside a diagonal near one.
    cells = tuple(
        tuple((f"{value:,.0f}" if value else "", math.sqrt(max(value, 0.0) / (sum(row) or 1.0))) for value in row)
        for row in values
    )
    return Matrix(who, labels, cells, None, None)


def _confusions(labels: Sequence[str], values: Sequence[Sequence[float]]) -> Grid:
    pairs = [
        (value, truth, answer)
        for truth, row in enumerate(values)
        for answer, value in enumerate(row)
        if truth != answer and value > 0
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    rows = tuple(
        ((labels[truth], ""), (labels[answer], ""), (f"{value:,.0f}", ""), (f"{value / sum(values[truth]):.0%}", ""))
        for value, truth, answer in pairs[:_SHOWN_CONFUSIONS]
    )
    return Grid(("Truth", "Answer", "Rows", "Of this truth"), (False, False, True, True), rows)


def _example(row: Mapping[str, Any], classes: Sequence[str]) -> Example:
    label = row.get("label")
    if isinstance(label, int) and 0 <= label < len(classes):
        label = classes[label]
    cold, warm = row["cold"], row["warm"]
    names = [str(name) for name in classes]
    order = sorted(range(len(names)), key=lambda k: -warm[k])
    shown = order[:_SHOWN_CLASSES]
    true = [str(name) for name in row.get("labels") or ([] if label is None else [label])]
    shown += [names.index(name) for name in true if name in names and names.index(name) not in shown]
    if row.get("labels") is not None:
        label = ", ".join(true) or "none"
    bars = tuple(Bar(names[k], names[k] in true, cold[k], warm[k], _share(cold[k]), _share(warm[k])) for k in shown)
    return Example(_picture(row.get("image")), "unknown" if label is None else str(label), bars)


def _line(row: Mapping[str, Any], data: Mapping[str, Any], prefix: str) -> Line:
    chance = row.get("probability")
    caption = "" if chance is None else f"{_share(chance)} for {data['event']}"
    came = [value for value in row["truth"] if value is not None]
    alt = (
        f"{len(row['window'])} readings up to {row['window'][-1]:.4g}; forecast up to {row['forecast'][-1]:.4g}; "
        f"{f'{came[-1]:.4g} came' if came else 'what came is not known'}. {caption}"
    )
    return Line(lines_chart(row, data["threshold"], alt=alt.strip(), name=prefix), caption)


def _line_note(data: Mapping[str, Any]) -> str:
    said = "The solid line shows the readings, its dots those to come, and the dotted line the teacher's forecast."
    if data["interval"]:
        low, high = data["interval"]
        said += f" The band reaches from its quantile {low:g} to {high:g}."
    if data["threshold"] is not None:
        said += f" The fine dashes mark {data['threshold']:g}."
    return said


def _share(value: float) -> str:
    if value < 0.00005:
        return "< 0.01 %" if value > 0 else "0 %"
    per_cent = 100 * value
    return f"{per_cent:.2f} %" if per_cent < 1 else f"{per_cent:.1f} %" if per_cent < 99.95 else "100 %"


def _picture(image: object) -> str:
    """A PNG as a data URI from nested lists of 0..1, grey or colour, channels first or last; empty if it is none."""
    if image is None:
        return ""
    pixels = np.nan_to_num(np.array(image, dtype=float))
    if pixels.ndim == 3 and pixels.shape[0] in {1, 3} and pixels.shape[-1] not in {1, 3}:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in {1, 3}:
        return ""
    colour = np.broadcast_to(np.clip(pixels, 0, 1), (*pixels.shape[:2], 3))
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, colour, format="png", metadata={"Software": ""})
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
