"""The spine: data, teacher, objective, student, run, report, read from top to bottom."""

from pathlib import Path
from typing import Any

import torch

from limbeck import runfolder
from limbeck.data.source import Data, is_amount
from limbeck.errors import DataError, Interrupted
from limbeck.objective import Objective
from limbeck.progress import Progress, Silent
from limbeck.recipe import DataSpec, Recipe
from limbeck.records import SeedResult
from limbeck.reporting.html import report
from limbeck.run import Run
from limbeck.training.engine import main_process, threads
from limbeck.workshop import Given, Workshop

DATA_KEYS = tuple(key for key in DataSpec.model_fields if key not in ("source", "valid", "test", "seed"))
"""What `distill` takes beside its own arguments of how data is read and split."""

RESUME = "the same call with resume=True goes on where it stopped"


def distill(
    teacher: Any,
    student: Any,
    data: Any,
    *,
    objective: str | Objective | None = None,
    budget: str = "20 epochs",
    valid: Any = None,
    test: Any = None,
    to: str | Path | None = None,
    control: bool = True,
    seed: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    **more: Any,
) -> Run:
    """Makes a student that behaves like its teacher, beside the same student trained alone.

    Args:
        teacher: A module, a run or its folder, a recording, a model's text, {"model": one of these, "classes": what it
            calls the data's classes}, a list of these (an ensemble); None trains the student on the labels alone.
        student: A model's text such as `cnn(size=16)`, a module (its weights are the start; a copy is trained), or a
            function without arguments that builds one (called under each seed).
        data: A known name, a file or folder, `hf:NAME`, (inputs, labels), a torch or Hugging Face data set, a generator
            of rows, a dict of splits or of columns, or `Data`.
        objective: The grammar's text, or an objective; by default "auto": what the task learns by from a teacher, for
            classes `0.9 * kd(temperature=4) + 0.1 * labels`, and `labels` without one.
        budget: "20 epochs", "5000 steps", "10m".
        valid: The validation split: a share, a number of rows, or rows of its own. Weights are selected on it.
        test: The test split, likewise. It is read once, at the end.
        to: The run's folder, which must not exist; `runs/NAME` by default.
        control: Whether to train the same student alone, with the same steps, data order, views and initial weights.
        seed: Decides initial weights, data order and dropout. `seeds=5` makes five runs, from this seed on.
        resume: Goes on with an interrupted run in the same folder.
        progress: Is told how it goes.
        **more: Any other key of a recipe: `augment`, `record`, `training`, `task`, `seeds`, `device`, `trackers`,
            `generations`, `name`; of its data `path`, `columns`, `windows`, `tokens`, `size`, `unreadable`, `memory`,
            `split`, `labelled`, `omit`; and of its teacher `claims`, what it should score.

    Raises:
        LimbeckError: When anything does not fit, before training starts; see its text for the remedy.

    Returns:
        The finished run; `run.student()` is the module, `run.folder / "report.html"` the report.
    """
    said = {"objective": objective, "budget": budget, "valid": valid, "test": test, "control": control, "seed": seed}
    recipe, given = written_down(teacher, student, data, to=to, **said, **more)
    return run_recipe(recipe, given=given, resume=resume, progress=progress)


def run_recipe(
    recipe: Recipe,
    *,
    given: Given | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    resume_command: str = RESUME,
) -> Run:
    """Runs a recipe from its data to its report.

    Args:
        recipe: What to do.
        given: Objects in place of the recipe's texts.
        resume: Goes on with an interrupted run, whose settled recipe must not contradict this one; a run that has
            finished is opened.
        progress: Is told how it goes.
        resume_command: What a person shall do to go on after an interruption.

    Raises:
        LimbeckError: When anything does not fit, before training starts.
        FolderInUse: When another process is writing to the run's folder.
        Interrupted: After Ctrl-C or SIGTERM, with everything saved.
    """
    # Whatever is drawn in here, the caller's generators stay where they are.
    with torch.random.fork_rng(), runfolder.held(recipe.folder, writes=main_process()):
        return _run(recipe, given or Given(), resume, progress or Silent(), resume_command)


def _run(recipe: Recipe, given: Given, resume: bool, watcher: Progress, resume_command: str) -> Run:
    folder = recipe.folder
    resume = resume and runfolder.started(folder)
    if resume:
        recipe = runfolder.stored(folder, recipe)
        if runfolder.finished(folder) and (folder / "report.html").is_file():
            watcher.say(f"{folder} has finished already")
            return Run.open(folder)
    elif main_process():
        runfolder.refuse_existing(folder)
    shop = Workshop.open(recipe, given, folder, watcher, resume_command)
    shop.preflight()
    if not resume:
        shop.resolve()
    results: list[SeedResult] = []
    with threads(shop.recipe.training.threads), shop.followed():
        try:
            for seed in shop.recipe.all_seeds():
                results.append(shop.apprentice(seed))
                shop.write("running", results)
        except (Interrupted, KeyboardInterrupt):
            shop.write("interrupted", results)
            raise
        run = shop.finish(results)
    if shop.accelerator.is_main_process:
        report(folder, to=folder / "report.html")
    return run


def written_down(
    teacher: Any,
    student: Any,
    data: Any,
    *,
    objective: str | Objective | None = None,
    valid: Any = None,
    test: Any = None,
    **more: Any,
) -> tuple[Recipe, Given]:
    """A call of `distill` as a recipe, and the objects that no recipe can hold; the arguments are those of `distill`.

    Raises:
        RecipeError: When a value is out of its range.
    """
    if isinstance(teacher, Run):
        teacher = str(teacher.folder)
    source = str(data) if isinstance(data, str | Path) else "<object>"
    spec = {"source": source} | {name: part for name, part in (("valid", valid), ("test", test)) if is_amount(part)}
    spec |= {key: more.pop(key) for key in DATA_KEYS if key in more}
    claims = more.pop("claims", None)
    named = _named(teacher)
    recipe = Recipe.make(
        data=spec,
        teacher=named if claims is None or named is None else {**_member(named), "claims": claims},
        student=_named(student),
        objective=repr(objective) if isinstance(objective, Objective) else objective,
        **more,
    )
    given = Given(
        None if isinstance(named, dict) or isinstance(teacher, str | Path) else teacher,
        None if isinstance(student, str | Path) else student,
        _splits(None if source != "<object>" else data, valid, test),
    )
    return recipe, given


def _named(what: Any) -> Any:
    """How an object stands in a recipe: texts as they are, others by what they are."""
    if what is None or isinstance(what, str):
        return what
    if isinstance(what, dict) and isinstance(what.get("model"), str | Path):
        return {**what, "model": str(what["model"])}
    if isinstance(what, Path):
        return str(what)
    return f"<{type(what).__name__}>"


def _member(named: Any) -> dict[str, Any]:
    return named if isinstance(named, dict) else {"model": named}


def _splits(data: Any, valid: Any, test: Any) -> Any:
    """Adds splits that were given as rows to the training data; shares, numbers and groups stay in the recipe."""
    parts = (("valid", valid), ("test", test))
    rows = {name: part for name, part in parts if part is not None and not is_amount(part)}
    if not rows:
        return data
    if data is None or isinstance(data, Data):
        raise DataError(
            f"{next(iter(rows))} is given as rows, and the training data is {'named' if data is None else 'loaded'}",
            expected="a share, a number of rows, or names of groups",
            remedy="data={'train': ..., 'valid': ..., 'test': ...} with rows for each",
        )
    return {**(data if isinstance(data, dict) else {"train": data}), **rows}
