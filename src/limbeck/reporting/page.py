"""One run made ready for the page: what the template needs, as text, charts and tables."""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from markupsafe import Markup

from limbeck.records import Finding, Panel, RunRecord, read_record
from limbeck.reporting.charts import TERMS, Strip, gradient_chart, loss_chart, strip_chart, validation_chart
from limbeck.reporting.generations import texts
from limbeck.reporting.headline import NAMES, Headline, headline
from limbeck.reporting.history import History, read_history
from limbeck.reporting.panels import View, views
from limbeck.reporting.units import Unit, duration, metric
from limbeck.reporting.verdict import sign_test

_LISTED = 12


@dataclass(frozen=True)
class SeedRow:
    """One seed as text; control cells are em dashes where there is none."""

    seed: str
    chosen: bool
    student: str
    control: str
    difference: str
    selected: str
    seconds: str
    control_seconds: str


@dataclass(frozen=True)
class Page:
    """Everything about one run, ready to be shown. `anchor` is unique among the runs of a report."""

    anchor: str
    record: RunRecord
    headline: Headline
    facts: tuple[tuple[str, str], ...]
    strip: Markup | None
    seeds: tuple[SeedRow, ...]
    seed_note: str
    validation: Markup | None
    loss: Markup | None
    loss_terms: tuple[tuple[str, str], ...]
    loss_seed: str
    likeness: Markup | None
    gradients: Markup | None
    gradient_terms: tuple[tuple[str, str], ...]
    conflicts: str
    history: History
    speeds: tuple[tuple[str, str], ...]
    views: tuple[View, ...]
    findings: tuple[Finding, ...]
    recipe: str
    data: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    seconds: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]


def read_page(folder: Path, anchor: str) -> Page:
    """Reads a run folder.

    Raises:
        RunError: When the folder is no run.
    """
    record = read_record(folder)
    history = read_history(folder, record.selection, record.chosen_seed)
    found = headline(record)
    unit = metric(record.selection)
    loss = history.loss
    axis = history.x_label
    return Page(
        anchor=anchor,
        record=record,
        headline=found,
        facts=_facts(record.recipe),
        strip=_strip(record, unit, anchor),
        seeds=tuple(_seeds(record, unit)),
        seed_note=_seed_note(record, unit),
        validation=_validation(history, unit, anchor),
        likeness=_likeness(history, anchor),
        gradients=_gradients(history, anchor),
        gradient_terms=_coloured(history.gradients.shares) if history.gradients else (),
        conflicts=_conflicts(history),
        loss=loss_chart(loss, axis, alt=_loss_words(history), name=f"{anchor}-loss") if loss else None,
        loss_terms=_coloured(loss.parts) if loss else (),
        loss_seed=str(loss.seed) if loss else "",
        history=history,
        speeds=tuple(
            (NAMES["control" if who == "control" else "student"], f"{speed:,.0f}")
            for who, speed in sorted(history.rows_per_second.items(), reverse=True)
        ),
        views=tuple(_views(record, texts(folder), anchor)),
        findings=record.findings,
        recipe=_recipe(folder, record),
        data=tuple(flat(record.data)),
        environment=tuple(flat(record.environment)),
        seconds=tuple((name.replace("_", " "), duration(value)) for name, value in record.seconds.items()),
        commands=(
            # The recipe names the folder that it made, which exists already.
            f"limbeck distill {shlex.quote(str(folder / 'recipe.yaml'))} --to {shlex.quote(f'{folder}-again')}",
            f"limbeck report {shlex.quote(str(folder))}",
        ),
    )


def flat(mapping: Mapping[str, object], before: str = "") -> list[tuple[str, str]]:
    """Nested facts as (name, value) lines; long lists are cut with their length said."""
    lines: list[tuple[str, str]] = []
    for key, value in mapping.items():
        name = f"{before}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping) and value and not _plain(value):
            lines += flat(value, f"{name} · ")
        else:
            lines.append((name, _written(value)))
    return lines


def _plain(mapping: Mapping[str, object]) -> bool:
    # Counts of classes and the like read better on one line than as one line each.
    return len(mapping) > 6 and all(isinstance(value, int | float) for value in mapping.values())


def _written(value: object) -> str:
    if isinstance(value, Mapping):
        return _listed([f"{key}: {_written(one)}" for key, one in value.items()])
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _listed([_written(one) for one in value])
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "—"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def _listed(words: Sequence[str]) -> str:
    if len(words) > 2 * _LISTED:
        return f"{', '.join(words[:_LISTED])}, … ({len(words)} in all)"
    return ", ".join(words) or "none"


def _facts(recipe: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    lines = []
    for key in ("data", "teacher", "student", "objective", "budget", "augment"):
        value = recipe.get(key)
        if key == "data" and isinstance(value, Mapping):
            value = value.get("source", value)
        if key == "teacher":
            value = _teachers(value)
        if value is not None:
            lines.append((key.capitalize(), _written(value)))
    return tuple(lines)


def _teachers(value: object) -> object:
    """A teacher as a recipe holds it: text, a mapping of model and weight, or a list of these."""
    if isinstance(value, list | tuple):
        return [_teachers(one) for one in value]
    if isinstance(value, Mapping) and "model" in value:
        weight = value.get("weight", 1)
        return str(value["model"]) if weight == 1 else f"{_written(weight)} × {value['model']}"
    return value


def _strip(record: RunRecord, unit: Unit, anchor: str) -> Markup | None:
    students, controls = _values(record)
    teacher = record.teacher.metrics.get(record.selection) if record.teacher is not None else None
    # A single mark on an axis says less than its number.
    if not students or len(students) + len(controls) + (teacher is not None) < 2:
        return None
    strips = [Strip("student", "student", students)]
    if controls:
        strips.append(Strip("control", "alone", controls))
    words = [f"{strip.label}: {', '.join(unit.write(value) for value in strip.values)}" for strip in strips]
    if teacher is not None:
        words.append(f"teacher: {unit.write(teacher)}")
    alt = f"{unit.label} on test rows for every seed. {'. '.join(words)}"
    return strip_chart(strips, unit, alt=alt, name=f"{anchor}-strip", teacher=teacher)


def _values(record: RunRecord) -> tuple[tuple[float, ...], tuple[float, ...]]:
    name = record.selection
    students = [result.student.metrics.get(name, math.nan) for result in record.results]
    controls = [result.control.metrics.get(name, math.nan) for result in record.results if result.control is not None]
    return tuple(v for v in students if math.isfinite(v)), tuple(v for v in controls if math.isfinite(v))


def _seeds(record: RunRecord, unit: Unit) -> list[SeedRow]:
    rows = []
    for result in record.results:
        student = result.student.metrics.get(record.selection, math.nan)
        control = None if result.control is None else result.control.metrics.get(record.selection, math.nan)
        rows.append(
            SeedRow(
                seed=str(result.seed),
                chosen=result.seed == record.chosen_seed,
                student=unit.write(student),
                control="—" if control is None else unit.write(control),
                difference="—" if control is None else unit.difference(student - control),
                selected=f"{result.selected_step:,} of {result.steps:,}",
                seconds=duration(result.seconds),
                control_seconds=duration(result.control_seconds),
            )
        )
    return rows


def _seed_note(record: RunRecord, unit: Unit) -> str:
    if unit.better is None or len(record.results) < 2:
        return ""
    direction = 1 if unit.better == "higher" else -1
    gains = [
        direction * (result.student.metrics[record.selection] - result.control.metrics[record.selection])
        for result in record.results
        if result.control is not None
        and record.selection in result.student.metrics
        and record.selection in result.control.metrics
    ]
    wins, losses = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    if wins + losses == 0:
        return ""
    more, verb, noun = (wins, "wins", "wins") if wins >= losses else (losses, "loses", "losses")
    chance = sign_test(more, wins + losses - more)
    return (
        f"The student {verb} {more} of {len(gains)} pairs. If the teacher made no difference, chance would give at "
        f"least {more} {noun} with probability {chance:.2g} (one-sided sign test over seeds, same test rows)."
    )


def _validation(history: History, unit: Unit, anchor: str) -> Markup | None:
    if not history.validation:
        return None
    words = [
        f"{NAMES['control' if who == 'control' else 'student'].lower()} ends at {unit.write(band.mean[-1])}"
        for who, band in history.validation.items()
    ]
    alt = f"Validation {unit.spoken} by {history.x_label}: {'; '.join(words)}"
    return validation_chart(history.validation, unit, history.x_label, alt=alt, name=f"{anchor}-validation")


def _coloured(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"term-{k % TERMS}") for k, name in enumerate(names))


def _likeness(history: History, anchor: str) -> Markup | None:
    if not history.likeness:
        return None
    unit = metric(history.likeness_name)
    words = [
        f"{NAMES['control' if who == 'control' else 'student'].lower()} ends at {unit.write(band.mean[-1])}"
        for who, band in history.likeness.items()
    ]
    alt = f"{unit.label} on validation rows by {history.x_label}: {'; '.join(words)}"
    return validation_chart(history.likeness, unit, history.x_label, alt=alt, name=f"{anchor}-likeness")


def _gradients(history: History, anchor: str) -> Markup | None:
    found = history.gradients
    # One point makes no area.
    if found is None or len(found.x) < 2:
        return None
    words = [f"{name} from {100 * share[0]:.0f} % to {100 * share[-1]:.0f} %" for name, share in found.shares.items()]
    alt = f"Share of each term in the gradient by {history.x_label}: {', '.join(words)}"
    return gradient_chart(found, history.x_label, alt=alt, name=f"{anchor}-gradients")


def _conflicts(history: History) -> str:
    if history.gradients is None:
        return ""
    said = [
        f"{first} and {second} pulled against each other at {against} of {of} points"
        for first, second, against, of in history.gradients.conflicts
    ]
    return f"{'; '.join(said)}." if said else ""


def _loss_words(history: History) -> str:
    assert history.loss is not None
    first, last = history.loss.total[0], history.loss.total[-1]
    split = f", split into {', '.join(history.loss.parts)}" if history.loss.parts else ""
    return f"Training loss by {history.x_label}, from {first:.3g} to {last:.3g}{split}"


def _views(record: RunRecord, said: Sequence[Panel], anchor: str) -> list[View]:
    chosen = next((result for result in record.results if result.seed == record.chosen_seed), None)
    if chosen is None and record.results:
        chosen = record.results[0]
    by_model = {"shared": (*record.panels, *said)}
    if chosen is not None:
        by_model["student"] = chosen.student.panels
        by_model["control"] = chosen.control.panels if chosen.control is not None else ()
    by_model["teacher"] = record.teacher.panels if record.teacher is not None else ()
    return views(by_model, anchor)


def _recipe(folder: Path, record: RunRecord) -> str:
    path = folder / "recipe.yaml"
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    return yaml.safe_dump(dict(record.recipe), sort_keys=False, allow_unicode=True)
