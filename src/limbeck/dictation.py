"""A teacher's recording for a recipe, made by itself: students learn from it later, here or elsewhere."""

import os
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path

from limbeck import cluster
from limbeck.catalog.objectives import objective
from limbeck.errors import Interrupted, RecipeError, RecordingError
from limbeck.objective import Needs
from limbeck.progress import Progress, Silent
from limbeck.recipe import Recipe
from limbeck.recordings.integrity import finished
from limbeck.recordings.manifest import FILE, Manifest, read_manifest
from limbeck.recordings.writer import Share
from limbeck.teachers.protocol import Teacher
from limbeck.training.engine import several_processes, threads
from limbeck.workshop import Given, Workshop


def dictated(
    recipe: Recipe,
    to: Path,
    *,
    share: Share | None = None,
    ray: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    resume_command: str = "the same call goes on where it stopped",
) -> tuple[Manifest, int]:
    """Records what a recipe's student will ask of its teacher, and trains nothing.

    A recording begun in the folder is gone on with; a finished one of the same teacher and data is left as it is. The
    recipe is then trained with `teacher: FOLDER` in the place of its teacher.

    Args:
        recipe: One with a teacher; `record` says how many views (left out: one for each epoch), `keep` in what form.
        to: The recording's folder.
        share: Which of its shards are made here, where other machines make the rest; None makes all.
        ray: Has Ray's workers make them: "local" starts Ray on this machine, "auto" or HOST:PORT is a cluster that
            runs, whose machines all see the folder and what the recipe reads, each at the same path. A worker has one
            thread where the recipe's `training.threads` does not say otherwise.
        workers: How many of them, 1 or more; None takes as many as the cluster has room for.
        progress: Is told how it goes.
        resume_command: What a person shall do to go on after an interruption.

    Returns:
        The manifest, and how many shards are finished.

    Raises:
        RecipeError: When the recipe has no teacher, or Ray cannot be used as asked.
        LimbeckError: When anything does not fit, before the teacher is asked.
        Interrupted: After Ctrl-C, with everything saved.
    """
    _refuse(recipe, share, ray)
    if ray is not None and recipe.training.threads is None:
        # The bits depend on it, and a worker's share of a machine is one processor.
        recipe = recipe.replace(training=recipe.training.model_dump(mode="json") | {"threads": 1})
    cpus = None if workers is None else workers * (recipe.training.threads or 1)
    with nullcontext() if ray is None else cluster.connected(ray, cpus):
        shop = Workshop.open(
            recipe if recipe.record else recipe.replace(record="auto"),
            Given(),
            to,
            progress or Silent(),
            resume_command,
        )
        shop.preflight()
        with _asked(shop) as (teacher, needs):
            shop.recipe = shop.archive().settled(teacher, needs, to)
            try:
                if ray is None:
                    shop.archive().record(teacher, needs, to, share)
                else:
                    _by_workers(shop, teacher, needs, to, workers)
            except Interrupted as stopped:
                raise Interrupted(stopped.happened, remedy=resume_command) from stopped
    manifest = read_manifest(to)
    return manifest, len(finished(to, manifest))


def part(recipe: str, to: str, here: str, number: int, of: int) -> list[str]:
    """Makes one share of a recording that another process has begun and concludes; a Ray worker calls this.

    Args:
        recipe: The settled recipe, as YAML.
        to: The recording's folder.
        here: The directory from which the recipe's relative paths count.
        number: Which share, from 0.
        of: How many shares there are.

    Returns:
        What was warned of.

    Raises:
        LimbeckError: As `dictated`.
    """
    with chdir(here), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        shop = Workshop.open(Recipe.parse(recipe), Given(), Path(to), Silent(), "")
        with _asked(shop) as (teacher, needs):
            shop.archive().work(teacher, needs, Path(to)).helped(Share(number, of))
    return [str(warning.message) for warning in heard if issubclass(warning.category, UserWarning)]


def _by_workers(shop: Workshop, teacher: Teacher, needs: Needs, to: Path, workers: int | None) -> None:
    """Has the workers of the cluster that this process is connected to make all shards that are not finished."""
    device = shop.accelerator.device.type
    demand = cluster.Demand(shop.recipe.training.threads or 1, 1 if device == "cuda" else 0)
    settled = shop.recipe.replace(device=device if device in ("cpu", "cuda") else "auto").yaml()
    work = shop.archive().work(teacher, needs, to)

    def make(manifest: Manifest) -> None:
        cluster.refuse_unseen(to / FILE)
        of = min(workers or cluster.room(demand), len(manifest.places()))
        there = finished(to, manifest)
        open_shares = [n for n in range(of) if any(p.file not in there for p in Share(n, of).places(manifest))]
        shop.watcher.say(f"recording by {len(open_shares)} of Ray's workers, {demand.cpus} thread(s) each")
        calls = [(settled, str(to), os.getcwd(), number, of) for number in open_shares]
        said = cluster.called(part, calls, demand, lambda: work.tell(manifest))
        for message in sorted({message for each in said for message in each}):
            warnings.warn(message, stacklevel=2)

    work.led(make)
    shop.watcher.done()


@contextmanager
def _asked(shop: Workshop) -> Iterator[tuple[Teacher, Needs]]:
    """The teacher and what is asked of it, while this process has the threads that the recipe says."""
    teacher = shop.teacher(shop.recipe.seed)
    assert teacher is not None
    if teacher.views is not None:
        raise RecordingError(
            f"the teacher {teacher.name} is a recording already", remedy="name the network it was made of"
        )
    with threads(shop.recipe.training.threads):
        yield teacher, objective(shop.recipe.objective).needs()


def _refuse(recipe: Recipe, share: Share | None, ray: str | None) -> None:
    if recipe.chain or recipe.compare:
        raise RecipeError(
            "a recipe with a chain or a comparison records its teachers itself",
            expected="a recipe with one teacher",
            remedy="leave the other links out, and name the finished run as the teacher",
        )
    if not recipe.teacher:
        raise RecipeError("the recipe has no teacher to record", expected="the key teacher")
    if ray is not None and share is not None:
        raise RecipeError("Ray's workers take all shares of a recording", remedy="say --share or --ray")
    if ray is not None and several_processes():
        raise RecipeError(
            "the processes of a launch record together already, without Ray", remedy="limbeck record --ray, by itself"
        )
