"""The verbs that train: demo, distill, chain, compare."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.options import Changes, Debug, Json, Quiet, RecipeFile, Resume, To
from limbeck.cli.screen import Screen

if TYPE_CHECKING:
    from limbeck.progress import Progress
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
    usual = recipe.folder
    recipe = recipe.replace(to=to or (usual if resume else _free(usual)))
    again = command_of("demo", to or (recipe.folder if recipe.folder != usual else None), changes)
    runs = _run_chain(recipe, resume, screen, again)
    _end(runs, recipe.folder, screen, only_last=True)
    student, fewer = runs[-1].folder, _free(recipe.folder)
    screen.show(
        "\nNext, try:",
        f"  1. See what the teacher saw: open {student / 'report.html'} in a browser.",
        "  2. With fewer labels still, then the two side by side:",
        f"       limbeck demo --set chain.student.data.labelled=20 --to {quote(str(fewer))}",
        f"       limbeck report {quote(str(student))} {quote(str(fewer / student.name))} --to compared.html",
        "  3. Read what the student was asked for, then make its recipe your own:",
        "       limbeck methods kd",
        f"       cp {quote(str(student / 'recipe.yaml'))} mine.yaml",
        "       limbeck distill mine.yaml --to runs/mine",
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
    read = recipe_of(recipe, changes, to)
    for plan in ("compare", "chain", "reason"):
        if getattr(read, plan):
            raise RecipeError(f"{recipe} has the key {plan}", remedy=f"limbeck {plan} {recipe}")
    from limbeck.distillation import run_recipe

    again = command_of(f"distill {quote(str(recipe))}", to, changes)
    with stoppable(screen, again) as progress:
        run = run_recipe(read, resume=resume, progress=progress, resume_command=again)
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
    read = recipe_of(recipe, changes, to)
    if read.compare is not None:
        raise RecipeError(f"{recipe} has the key compare", remedy=f"limbeck compare {recipe}")
    if not read.chain:
        raise RecipeError(f"{recipe} has no chain", expected="a list under chain", remedy=f"limbeck distill {recipe}")
    again = command_of(f"chain {quote(str(recipe))}", to, changes)
    _end(_run_chain(read, resume, screen, again), read.folder, screen)


def compare(
    context: typer.Context,
    recipe: RecipeFile,
    changes: Changes = None,
    to: To = None,
    resume: Resume = False,
    workers: Annotated[int, typer.Option(min=1, help="Runs that are trained at a time, each in its process.")] = 1,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Hold methods against each other: one teacher, one recording, the same student for each of them."""
    from limbeck.plans.comparison import compare as held_against_each_other
    from limbeck.training.engine import main_process

    screen = Screen.of(context)
    read = recipe_of(recipe, changes, to)
    typed = f"compare {quote(str(recipe))}"
    again = command_of(typed, to, changes)
    with stoppable(screen, again) as progress:
        found = held_against_each_other(
            read, resume=resume, workers=workers, progress=progress, resume_command=again, command=f"limbeck {typed}"
        )
    if not main_process():
        return
    screen.show(found.page.read_text(encoding="utf-8"), f"page: {found.page}")
    screen.answer(
        {"folder": found.folder, "page": found.page, "ranking": found.ranking, "failures": dict(found.failures)}
    )


def recipe_of(path: Path, changes: Sequence[str] | None, to: Path | None) -> "Recipe":
    """The recipe in a file, with what the command line changes of it."""
    from limbeck.recipe import Recipe

    recipe = Recipe.read(path, changes or [])
    return recipe.replace(to=to) if to is not None else recipe


def _run_chain(recipe: "Recipe", resume: bool, screen: Screen, again: str) -> "list[Run]":
    from limbeck.plans.chain import run_chain

    with stoppable(screen, again) as progress:
        return run_chain(recipe, resume=resume, progress=progress, resume_command=again)


def command_of(verb: str, to: Path | None, changes: Sequence[str] | None) -> str:
    """What to type to go on after an interruption: what was typed, and --resume."""
    place = "" if to is None else f" --to {quote(str(to))}"
    return f"limbeck {verb}{place}{''.join(f' --set {quote(change)}' for change in changes or [])} --resume"


@contextlib.contextmanager
def stoppable(screen: Screen, again: str) -> Iterator["Progress"]:
    """Shows progress, and answers Ctrl-C and SIGTERM also where the training loop does not listen: between trainings.

    Raises:
        Interrupted: With the command that goes on.
    """
    from limbeck.errors import Interrupted

    progress = screen.progress()
    main_thread = threading.current_thread() is threading.main_thread()  # only there Python can listen
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if main_thread else None
    try:
        yield progress
    except KeyboardInterrupt as error:
        raise Interrupted("stopped; what was complete is kept", remedy=again) from error
    finally:
        if main_thread:
            signal.signal(signal.SIGTERM, before)
        progress.done()


def _end(runs: "Sequence[Run]", folder: Path, screen: Screen, *, only_last: bool = False) -> None:
    """Writes one report of several runs (each has its own already), then shows what was found and where it lies."""
    from limbeck.reporting.html import report
    from limbeck.reporting.table import headline_table
    from limbeck.training.engine import main_process

    if not main_process():
        return
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
