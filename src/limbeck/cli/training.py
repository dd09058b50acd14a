"""The verbs that train: demo, distill, chain."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import typer

from limbeck.cli.options import Changes, Debug, Json, Quiet, RecipeFile, Resume, To
from limbeck.cli.screen import Screen

if TYPE_CHECKING:
    from limbeck.recipe import Recipe
    from limbeck.run import Run


def demo(
    context: typer.Context,
    to: To = None,
    changes: Changes = None,
    resume: Resume = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Distil on scikit-learn's digits, from nothing to a report, in less than three minutes."""
    from limbeck.recipe import Recipe

    screen = Screen.of(context)
    text = files("limbeck.cli").joinpath("demo.yaml").read_text(encoding="utf-8")
    recipe = Recipe.parse(text, source="demo.yaml", overrides=changes or [])
    recipe = recipe.replace(to=to or (recipe.folder if resume else _free(recipe.folder)))
    runs = _run_chain(recipe, resume, screen, f"limbeck demo --to {quote(str(recipe.folder))} --resume")
    _end(runs, recipe.folder, screen, only_last=True)
    student = runs[-1].folder
    screen.show(
        "\nNext, try:",
        f"  1. open {recipe.folder / 'report.html'} in a browser: what the teacher saw, curves, calibration",
        "  2. limbeck demo --set chain.student.data.labelled=20      with fewer labels; then compare the two:",
        f"     limbeck report {student} {_free(recipe.folder) / student.name} --to compared.html",
        "  3. limbeck methods kd      what the student was asked for; then write a recipe of your own, with",
        f"     {student / 'recipe.yaml'} as a beginning, and limbeck distill it",
    )


def distill(
    context: typer.Context,
    recipe: RecipeFile,
    changes: Changes = None,
    to: To = None,
    resume: Resume = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the student of a recipe, and the same student alone; without a teacher, this is plain training."""
    from limbeck.errors import RecipeError

    screen = Screen.of(context)
    read = _read(recipe, changes, to)
    if read.chain:
        raise RecipeError(f"{recipe} has a chain", remedy=f"limbeck chain {recipe}")
    from limbeck.distillation import run_recipe

    if resume and changes:
        screen.warn("--set changes nothing in a run that has begun: it goes on with its own recipe.yaml")
    progress = screen.progress()
    try:
        run = run_recipe(read, resume=resume, progress=progress)
    finally:
        progress.done()
    _end([run], run.folder, screen)


def chain(
    context: typer.Context,
    recipe: RecipeFile,
    changes: Changes = None,
    to: To = None,
    resume: Resume = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Distil several times: each link of the recipe is the next one's teacher."""
    from limbeck.errors import RecipeError

    screen = Screen.of(context)
    read = _read(recipe, changes, to)
    if not read.chain:
        raise RecipeError(f"{recipe} has no chain", expected="a list under chain", remedy=f"limbeck distill {recipe}")
    again = f"limbeck chain {quote(str(recipe))} --to {quote(str(read.folder))} --resume"
    again += "".join(f" --set {quote(change)}" for change in changes or [])
    _end(_run_chain(read, resume, screen, again), read.folder, screen)


def _read(path: Path, changes: Sequence[str] | None, to: Path | None) -> "Recipe":
    from limbeck.recipe import Recipe

    recipe = Recipe.read(path, changes or [])
    return recipe.replace(to=to) if to is not None else recipe


def _run_chain(recipe: "Recipe", resume: bool, screen: Screen, again: str) -> "list[Run]":
    """Runs the links; after an interruption the person is told how to resume the chain, not only the link."""
    from limbeck.errors import Interrupted
    from limbeck.plans.chain import run_chain

    progress = screen.progress()
    try:
        return run_chain(recipe, resume=resume, progress=progress)
    except Interrupted as error:
        raise Interrupted(error.happened, remedy=again) from error
    finally:
        progress.done()


def _end(runs: "Sequence[Run]", folder: Path, screen: Screen, *, only_last: bool = False) -> None:
    """Writes one report of several runs (each has its own already), then shows what was found and where it lies."""
    from limbeck.reporting.html import report
    from limbeck.reporting.table import headline_table

    together = folder / "report.html"
    if len(runs) > 1:
        report(*(run.folder for run in runs), to=together)
    for run in runs[-1:] if only_last else runs:
        screen.show(headline_table(run.record))
    screen.show(f"run:    {folder}", f"report: {together}")
    screen.answer(
        {
            "folder": folder,
            "report": together,
            "runs": [{"folder": run.folder, "record": run.record} for run in runs],
        }
    )


def _free(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that is not there yet."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free
