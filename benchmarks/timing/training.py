"""Steps of Limbeck's own trainer, as a variant to be timed."""

from pathlib import Path

from limbeck.data.loader import batches
from limbeck.model import Model
from limbeck.preflight import check
from limbeck.progress import Silent
from limbeck.recipe import Recipe
from limbeck.training.engine import engine
from limbeck.training.loop import Lesson, Trainer
from limbeck.training.settling import plan_of
from timing.turns import Steps


def trained(model: Model, lesson: Lesson, recipe: Recipe, folder: Path, kind: str) -> Steps:
    """Steps on batches of the trainer's own loader, after the checks that come before a training."""
    size = recipe.training.batch
    first = next(batches(lesson.train, lesson.task, batch_size=size, seed=0, epoch=0))
    check(model, lesson.teacher, lesson.objective, lesson.task, model.classes, first, lesson.train, lesson.augment)
    trainer = Trainer(
        model,
        lesson,
        plan_of(recipe, 0, len(lesson.train)),
        folder=folder / kind.replace(" ", "-"),
        who="student",
        identity=kind,
        accelerator=engine("cpu", (), folder),
        progress=Silent(),
        resume_command="",
    )
    for step, batch in enumerate(trainer._batches(0)):
        trainer._step(step, batch)
        yield
