"""What is examined: a recipe with everything found that its first seed would be made with."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.catalog.data import data_of
from limbeck.catalog.models import is_run, seeds_of
from limbeck.catalog.tasks import task
from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.errors import LimbeckError
from limbeck.evaluation import Answers, teacher_answers
from limbeck.examination.accuracy import Claim
from limbeck.examination.content import Content, contents
from limbeck.model import Model
from limbeck.recipe import Recipe
from limbeck.records import Finding, read_record
from limbeck.signals import Batch
from limbeck.task import OF_NAMES, Task
from limbeck.teachers.protocol import Teacher, judged
from limbeck.training.loop import Lesson

_RECORDED_ROWS = 2048
# The keys of a recipe's data that decide which rows fall into which split.
_SPLITTING = ("source", "path", "columns", "windows", "tokens", "size", "valid", "test", "split", "seed")


@dataclass(frozen=True)
class Case:
    """A recipe, opened.

    `rows` are those the teacher was asked about, `said` what it answered, `where` which they are, in words: validation
    rows, or the first of the training rows for a recording, which knows no others. `found` is what the preflight found.
    """

    recipe: Recipe
    data: Data
    student: Model
    lesson: Lesson
    batch: Batch
    mean: Float[Tensor, "..."]
    deviation: Float[Tensor, "..."]
    rows: TensorRows
    said: Answers | None
    where: str
    found: tuple[Finding, ...]

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        data: Data,
        student: Model,
        lesson: Lesson,
        batch: Batch,
        mean: Float[Tensor, "..."],
        deviation: Float[Tensor, "..."],
        on_valid: Answers | None,
        found: list[Finding],
    ) -> "Case":
        """A case whose teacher is asked about rows it recorded where it has not said anything yet.

        Args:
            recipe: As it will be run.
            data: Its rows.
            student: With its initial weights.
            lesson: With a teacher that is prepared.
            batch: The first of training.
            mean: Of the training rows by channel.
            deviation: The same.
            on_valid: A live teacher's answers on the validation rows.
            found: What the preflight found.
        """
        rows, where = data.valid, "validation rows"
        partial = lesson.teacher is not None and lesson.teacher.views is None and not judged(lesson.teacher)
        if on_valid is None and lesson.teacher is not None and not partial:
            rows, where = (
                data.train.select(torch.arange(min(_RECORDED_ROWS, len(data.train)))),
                "recorded training rows",
            )
            try:
                on_valid = teacher_answers(lesson.teacher, rows, lesson.task, device=batch.inputs.device)
            except LimbeckError:  # recorded without logits: what it said cannot be scored
                on_valid = None
        return cls(recipe, data, student, lesson, batch, mean, deviation, rows, on_valid, where, tuple(found))

    @property
    def teacher(self) -> Teacher | None:
        """Who teaches."""
        return self.lesson.teacher

    @property
    def task(self) -> Task:
        """What is learnt."""
        return self.lesson.task

    @property
    def device(self) -> torch.device:
        """Where it would be trained."""
        return self.batch.inputs.device


def claim(recipe: Recipe, judge: Task) -> Claim | None:
    """What the recipe's teacher should score: what the recipe claims, or else what its own run recorded.

    Of several teachers the weighted mean, where each has one. A run's record counts only for the same task and data.
    """
    found = []
    for member in recipe.teacher:
        own = (
            _recorded(member.model, recipe, judge)
            if member.claims is None
            else Claim(member.claims, "the recipe", said=True)
        )
        if own is None:
            return None
        found.append((member.weight, own))
    if not found:
        return None
    whole = sum(weight for weight, _ in found)
    said = all(own.said for _, own in found)
    return Claim(sum(weight * own.value for weight, own in found) / whole, found[0][1].source, said)


def _recorded(what: str, recipe: Recipe, judge: Task) -> Claim | None:
    if not is_run(what):
        return None
    record = read_record(Path(what))
    same = (record.recipe.get("data") or {}).get("source") == recipe.data.source and record.task.partition("(")[0]
    if same != judge.name or recipe.data.source.startswith("<"):
        return None
    seed = recipe.seed if recipe.seed in seeds_of(what) else record.chosen_seed
    results = [result for result in record.results if result.seed == seed]
    if not results:
        return None
    if record.selection == judge.selection and _splits(Recipe.read(Path(what) / "recipe.yaml")) == _splits(recipe):
        return Claim(results[0].validation, f"its own run ({what}, the same rows)")
    # Other people are another population: what holds for those of the test need not hold for those of the validation.
    value = results[0].student.metrics.get(judge.selection)
    if value is None or "groups" in record.data.get("splits", {}).get("test", {}):
        return None
    return Claim(float(value), f"its own run ({what}, test rows)")


def teachers_training(recipe: Recipe) -> dict[str, Content]:
    """The training rows of each teacher that is a run whose data was split in another way, by the teacher's name.

    A run with the same data and splits was trained on this recipe's own training rows, so that nothing is to be found.
    """
    found = {}
    for member in recipe.teacher:
        if not is_run(member.model):
            continue
        try:
            theirs = Recipe.read(Path(member.model) / "recipe.yaml")
            if _splits(theirs) == _splits(recipe) or theirs.data.source.startswith("<"):
                continue
            if theirs.data.source == recipe.data.source:
                data = data_of(theirs.data, labels=task(theirs.task).labels)
                found[member.model] = contents({"train": data.train}, documents=OF_NAMES[data.labels])["train"]
        except LimbeckError:
            continue  # data that is gone cannot be compared; whether the teacher itself is there was asked before
    return found


def _splits(recipe: Recipe) -> dict[str, object]:
    return {key: getattr(recipe.data, key) for key in _SPLITTING}
