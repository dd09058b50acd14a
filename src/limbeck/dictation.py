"""A teacher's recording for a recipe, made by itself: students learn from it later, here or elsewhere."""

from pathlib import Path

from limbeck.catalog.objectives import objective
from limbeck.errors import Interrupted, RecipeError, RecordingError
from limbeck.progress import Progress, Silent
from limbeck.recipe import Recipe
from limbeck.recordings.integrity import finished
from limbeck.recordings.manifest import Manifest, read_manifest
from limbeck.recordings.writer import Share
from limbeck.training.engine import threads
from limbeck.workshop import Given, Workshop


def dictated(
    recipe: Recipe,
    to: Path,
    *,
    share: Share | None = None,
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
        progress: Is told how it goes.
        resume_command: What a person shall do to go on after an interruption.

    Returns:
        The manifest, and how many shards are finished.

    Raises:
        RecipeError: When the recipe has no teacher.
        LimbeckError: When anything does not fit, before the teacher is asked.
        Interrupted: After Ctrl-C, with everything saved.
    """
    if recipe.chain or recipe.compare:
        raise RecipeError(
            "a recipe with a chain or a comparison records its teachers itself",
            expected="a recipe with one teacher",
            remedy="leave the other links out, and name the finished run as the teacher",
        )
    if not recipe.teacher:
        raise RecipeError("the recipe has no teacher to record", expected="the key teacher")
    shop = Workshop.open(
        recipe if recipe.record else recipe.replace(record="auto"), Given(), to, progress or Silent(), resume_command
    )
    shop.preflight()
    teacher = shop.teacher(recipe.seed)
    assert teacher is not None
    if teacher.views is not None:
        raise RecordingError(
            f"the teacher {teacher.name} is a recording already", remedy="name the network it was made of"
        )
    needs = objective(recipe.objective).needs()
    shop.recipe = shop.archive().settled(teacher, needs, to)
    with threads(shop.recipe.training.threads):
        try:
            shop.archive().record(teacher, needs, to, share)
        except Interrupted as stopped:
            raise Interrupted(stopped.happened, remedy=resume_command) from stopped
    manifest = read_manifest(to)
    return manifest, len(finished(to, manifest))
