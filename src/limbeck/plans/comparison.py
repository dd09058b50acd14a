"""Methods side by side: one teacher, one recording, and the same student, steps, order and weights for each method."""

import contextlib
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task
from limbeck.distillation import RESUME, run_recipe
from limbeck.errors import LimbeckError, RecipeError, TrainingError
from limbeck.objective import Needs
from limbeck.plans.chain import linked
from limbeck.progress import Progress, Silent
from limbeck.recipe import Comparison, Recipe
from limbeck.records import RunRecord, read_record
from limbeck.reporting.methods import methods_page
from limbeck.reporting.ranking import Ranking, ranking
from limbeck.runfolder import held, refuse_existing
from limbeck.storage import write_text
from limbeck.training.engine import main_process
from limbeck.workshop import Given, Workshop


@dataclass(frozen=True)
class Compared:
    """What a comparison found: the ranking, the page it was written to, and the methods that could not be trained."""

    folder: Path
    ranking: Ranking
    page: Path
    failures: Mapping[str, str]


def compare(
    recipe: Recipe | str | Path,
    *,
    resume: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
    resume_command: str = RESUME,
    command: str = "",
) -> Compared:
    """Trains one teacher, records it once for all methods, and trains the same student by each of them.

    Every method gets the recipe's student, rows, views, steps and seeds; the baseline's runs bring the control. The
    best on validation rows then get more seeds. A method that cannot be trained (its loss is no longer a number) is
    listed with the reason and costs the others nothing.

    Args:
        recipe: One with the key `compare`, or its file; its chain, if it has one, is run first, and its last link
            teaches.
        resume: Goes on with an interrupted comparison in the same folder; what finished is kept.
        workers: How many runs are trained at a time, each in a process of its own.
        progress: Is told how it goes.
        resume_command: What a person shall do to go on after an interruption.
        command: What was typed, for the page.

    Raises:
        RecipeError: When the recipe compares nothing or has no teacher.
        LimbeckError: When a method, the teacher or the data do not fit, before any method is trained.
        TrainingError: When the baseline cannot be trained.
        RunError: When a run in the folder was begun with another recipe.
        FolderInUse: When another process is writing to the folder.
        Interrupted: After Ctrl-C, with everything saved.
    """
    if not isinstance(recipe, Recipe):
        recipe = Recipe.read(recipe)
    spec = recipe.compare
    if spec is None:
        raise RecipeError("the recipe compares nothing", expected="the key compare", remedy="limbeck distill")
    watcher = progress or Silent()
    with held(recipe.folder, writes=main_process()):
        if not resume and main_process():
            refuse_existing(recipe.folder)
        base = _base(recipe, workers)
        needs = _needs(spec)
        if recipe.chain:
            links = recipe.replace(compare=None, to=str(recipe.folder)).links()
            taught = linked(links, resume=True, watcher=watcher, resume_command=resume_command)
            base = base.replace(teacher=str(taught[-1].folder))
        base = _recorded(base, spec, needs, recipe.record or 1, watcher, resume_command)
        found, failures = _stages(base, spec, workers, watcher, resume_command)
        return _written(recipe, spec, found, failures, command)


def _stages(
    base: Recipe, spec: Comparison, workers: int, watcher: Progress, resume_command: str
) -> tuple[dict[str, list[RunRecord]], dict[str, str]]:
    """Trains all methods, then the leaders further; returns the runs of each, and why others could not be trained."""
    first = {name: _run(base, spec, name, "methods", base.seed, spec.seeds) for name in spec.methods}
    failures = _all(first, workers, watcher, resume_command)
    found = {name: [read_record(run.folder)] for name, run in first.items() if name not in failures}
    if spec.against not in found:
        raise TrainingError(f"the baseline {spec.against} could not be trained: {failures[spec.against]}")
    more = spec.leader_seeds - spec.seeds
    if spec.leaders and more:
        best = [each.name for each in _ranked(found, spec).contenders if each.name in found][: spec.leaders]
        names = dict.fromkeys([*best, spec.against])
        last = {name: _run(base, spec, name, "leaders", base.seed + spec.seeds, more) for name in names}
        late = _all(last, workers, watcher, resume_command)
        failures |= late
        for name in last.keys() - late.keys():
            found[name].append(read_record(last[name].folder))
    return found, failures


def _base(recipe: Recipe, workers: int) -> Recipe:
    """The recipe that all methods share, without plan; its objective is the baseline's."""
    spec = recipe.compare
    assert spec is not None
    share = recipe.training.threads or (None if workers == 1 else max(1, (os.cpu_count() or 1) // workers))
    training = recipe.training.model_dump(mode="json") | {"threads": share}
    if not recipe.chain and not recipe.teacher:
        raise RecipeError("the comparison has no teacher", expected="teacher, or a chain whose last link teaches")
    return recipe.replace(
        chain=None,
        compare=None,
        record=None,
        seeds=None,
        control=False,
        training=training,
        objective=spec.methods[spec.against],
        to=str(recipe.folder),
    )


def _run(base: Recipe, spec: Comparison, name: str, stage: str, seed: int, seeds: int) -> Recipe:
    place = base.folder / stage / name
    changes = {"name": name, "objective": spec.methods[name], "seed": seed, "seeds": seeds}
    return base.replace(to=str(place), control=name == spec.against, **changes)


def _needs(spec: Comparison) -> Needs:
    """What all methods need together; a misspelt one is found here, before a teacher is trained."""
    needs = Needs()
    for name, text in spec.methods.items():
        with _named(name):
            needs = needs | objective(text).needs()
    return needs


def _recorded(
    base: Recipe, spec: Comparison, needs: Needs, views: int | Literal["auto"], watcher: Progress, resume_command: str
) -> Recipe:
    """Tries every method on a dry batch, records the teacher for all of them, and makes the recording the teacher.

    A teacher that is recorded already, or a list with a recording in it, teaches as it is.
    """
    shop = Workshop.open(base.replace(record=views), Given(), base.folder, watcher, resume_command)
    for name, text in spec.methods.items():
        with _named(name):
            shop.recipe = shop.recipe.replace(objective=text)
            shop.case()
    teacher = shop.teacher(base.seed)
    assert teacher is not None
    if teacher.views is not None:
        return base
    return base.replace(teacher=str(shop.recorded(teacher, needs, base.folder / "recording").recording.path))


@contextlib.contextmanager
def _named(method: str) -> Iterator[None]:
    """Says of an error which method it is about."""
    try:
        yield
    except LimbeckError as error:
        raise type(error)(
            f"the method {method}: {error.happened}", expected=error.expected, remedy=error.remedy
        ) from error


def _all(runs: Mapping[str, Recipe], workers: int, watcher: Progress, resume_command: str) -> dict[str, str]:
    """Trains what has not finished; returns why the others could not be trained, by name."""
    failures: dict[str, str] = {}
    for done, (name, reason) in enumerate(_each(runs, workers, watcher, resume_command), start=1):
        if reason:
            failures[name] = reason
        watcher.say(f"{done} of {len(runs)}: {name} {'failed: ' + reason if reason else 'has finished'}")
    return failures


def _each(
    runs: Mapping[str, Recipe], workers: int, watcher: Progress, resume_command: str
) -> Iterable[tuple[str, str]]:
    if workers == 1:
        for name, run in runs.items():
            yield name, _train(run, watcher, resume_command)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_train, run, None, resume_command): name for name, run in runs.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _train(recipe: Recipe, watcher: Progress | None, resume_command: str) -> str:
    """Trains one method; returns the reason where its loss or weights do not stay numbers, an empty text otherwise."""
    try:
        run_recipe(recipe, resume=True, progress=watcher, resume_command=resume_command)
    except TrainingError as error:
        return error.happened
    return ""


def _ranked(found: Mapping[str, Sequence[RunRecord]], spec: Comparison) -> Ranking:
    judge = task(found[spec.against][0].task)
    return ranking(found, spec.against, higher_is_better=judge.higher_is_better)


def _written(
    recipe: Recipe,
    spec: Comparison,
    found: Mapping[str, Sequence[RunRecord]],
    failures: Mapping[str, str],
    command: str,
) -> Compared:
    ranked = _ranked(found, spec)
    teacher = read_record(recipe.links()[-1].folder) if recipe.chain else None
    page = spec.results or recipe.folder / "methods.md"
    records = [record for several in found.values() for record in several]
    name = recipe.name or recipe.folder.name
    if main_process():
        write_text(page, methods_page(name, ranked, records, teacher=teacher, failures=failures, command=command))
    return Compared(recipe.folder, ranked, page, failures)
