"""The verbs that look before a run: doctor, layers."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from limbeck.cli.options import Changes, Debug, Json, Quiet, RecipeFile
from limbeck.cli.screen import Screen

if TYPE_CHECKING:
    from limbeck.records import Finding

FOUND = 9
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
_NAMES = {"error": "errors", "warning": "warnings", "note": "notes"}


def doctor(
    context: typer.Context,
    recipe: RecipeFile,
    changes: Changes = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Do not train the student for a minute.")] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Look for what would cost days: teacher, data, student, objective, time and memory, each finding with a remedy.

    Leaves with 9 where there is an error (with --strict also a warning), with 0 where there is none.
    """
    from limbeck.consultation import PROBE_SECONDS, examine, links_to_examine
    from limbeck.recipe import Recipe

    screen = Screen.of(context)
    progress = screen.progress()
    answers: list[dict[str, Any]] = []
    everything: list[Finding] = []
    for name, link, reason in links_to_examine(Recipe.read(recipe, changes or [])):
        if reason:
            screen.show(Text(f"{name}: not examined: {reason}", style="dim"), "")
            answers.append({"recipe": name, "examined": False, "reason": reason, "findings": []})
            continue
        found = examine(link, probe=0.0 if no_probe else PROBE_SECONDS, progress=progress)
        progress.done()
        everything += found
        _show(name, found, screen)
        answers.append({"recipe": name, "examined": True, "reason": "", "findings": found})
    counts = {kind: sum(finding.severity == kind for finding in everything) for kind in _NAMES}
    bad = counts["error"] > 0 or (strict and counts["warning"] > 0)
    screen.answer({"recipes": answers, "counts": counts, "exit_code": FOUND if bad else 0})
    if bad:
        sys.exit(FOUND)


def layers(
    context: typer.Context,
    recipe: RecipeFile,
    changes: Changes = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Propose which layers of the student may learn from which layers of the teacher, for hint and its kin."""
    from limbeck.consultation import layers as proposed
    from limbeck.recipe import Recipe

    screen = Screen.of(context)
    progress = screen.progress()
    pairs = proposed(Recipe.read(recipe, changes or []), progress=progress)
    progress.done()
    table = Table(box=SIMPLE)
    for heading in ("student's layer", "teacher's layer", "likeness (CKA)"):
        table.add_column(heading, justify="right" if heading.startswith("likeness") else "left")
    for pair in pairs:
        sides = ((pair.student, pair.student_shape), (pair.teacher, pair.teacher_shape))
        table.add_row(*(Text(f"{name}  {shape}") for name, shape in sides), f"{pair.similarity:.2f}")
    deepest = pairs[-1] if pairs else None
    hint = "" if deepest is None else f"hint({deepest.student!r}, {deepest.teacher!r})"
    screen.show(table, f"for example: objective: 0.1 * {hint} + labels" if hint else "no layers were found to pair")
    screen.answer({"pairs": pairs})


def _show(name: str, found: "Sequence[Finding]", screen: Screen) -> None:
    numbers = {kind: sum(finding.severity == kind for finding in found) for kind in _NAMES}
    counted = [f"{number} {kind if number == 1 else _NAMES[kind]}" for kind, number in numbers.items()]
    screen.show(Text(f"{name}: {', '.join(counted)}", style="bold"))
    for kind, style in _STYLES.items():
        chosen = [finding for finding in found if finding.severity == kind]
        if not chosen:
            continue
        table = Table(box=SIMPLE, title=_NAMES[kind], title_justify="left", title_style=style, expand=True)
        table.add_column("what", ratio=1)
        table.add_column("evidence, and what to try", ratio=3)
        for finding in chosen:
            told = Text(finding.evidence)
            if finding.remedy:
                told.append("\ntry: ", style="bold").append(finding.remedy)
            table.add_row(Text(finding.subject, style=style), told, end_section=True)
        screen.show(table)
