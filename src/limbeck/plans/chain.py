"""A chain: each run is the next one's teacher (teacher assistants, Mirzadeh et al. 2020, arXiv 1902.03393)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.distillation import RESUME, distill, run_recipe
from limbeck.errors import RecipeError
from limbeck.progress import Progress, Silent
from limbeck.recipe import Recipe
from limbeck.run import Run
from limbeck.runfolder import held, refuse_existing
from limbeck.training.engine import main_process


def chain(
    models: Sequence[Any], data: Any, *, to: str | Path = "runs/chain", resume: bool = False, **as_distill: Any
) -> list[Run]:
    """Distils over a list: the first model is trained alone, each later one learns from the one before.

    Args:
        models: From the largest to the smallest: texts or modules, as `distill` takes them, or mappings with the key
            `student` and any keyword of `distill` that differs for this link, such as {"student": "cnn(size=8)",
            "budget": "40 epochs"}.
        data: As `distill` takes it, the same for all.
        to: The folder of the runs; they are numbered in it.
        resume: Goes on with an interrupted chain in that folder; the links that finished are kept.
        **as_distill: Every other keyword of `distill`, for all links.

    Returns:
        The runs in order; the last one's student is the smallest.
    """
    if not models:
        raise RecipeError("the chain is empty", expected="at least one model")
    runs: list[Run] = []
    teacher: Any = as_distill.pop("teacher", None)
    with held(Path(to), writes=main_process()):
        if not resume and main_process():
            refuse_existing(Path(to))
        for number, entry in enumerate(models):
            link = dict(entry) if isinstance(entry, Mapping) else {"student": entry}
            student = link.pop("student")
            place = Path(to) / f"{number}"
            run = distill(teacher, student, data, **{**as_distill, "to": place, "resume": resume, **link})
            teacher = run.folder if isinstance(student, str) else run.student(_bare(student))
            runs.append(run)
    return runs


def run_chain(
    recipe: Recipe, *, resume: bool = False, progress: Progress | None = None, resume_command: str = RESUME
) -> list[Run]:
    """Runs the links of a chain recipe in order; a resumed chain keeps the links that finished.

    Args:
        recipe: One with the key `chain`.
        resume: Goes on with an interrupted chain.
        progress: Is told how it goes.
        resume_command: What a person shall do to go on after an interruption.

    Raises:
        RecipeError: When the recipe has no links.
        RunError: When a link was begun or finished with another recipe.
        FolderInUse: When another process is writing to the chain's folder.
    """
    links = recipe.links()
    if not links:
        raise RecipeError(
            "the recipe has no chain", expected="the key chain: a list of links", remedy="limbeck distill"
        )
    with held(recipe.folder, writes=main_process()):
        if not resume and main_process():
            refuse_existing(recipe.folder)
        return linked(links, resume=resume, watcher=progress or Silent(), resume_command=resume_command)


def linked(links: Sequence[Recipe], *, resume: bool, watcher: Progress, resume_command: str) -> list[Run]:
    """Runs the links of a chain in order, in a folder that the caller holds; as `run_chain`."""
    runs = []
    for number, link in enumerate(links, start=1):
        watcher.say(f"link {number} of {len(links)}: {link.student} in {link.folder}")
        runs.append(run_recipe(link, resume=resume, progress=watcher, resume_command=resume_command))
    return runs


def _bare(student: Any) -> Any:
    return student if hasattr(student, "state_dict") else student()
