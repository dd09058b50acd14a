"""What the models of a run are asked on test rows: scores, likeness, latency side by side, and texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from limbeck.catalog.objectives import objective as find_objective
from limbeck.data.source import Data
from limbeck.errors import RecipeError
from limbeck.evaluation import Answers, answers, score, spoken, teacher_answers
from limbeck.measures import latency
from limbeck.measures.complexity import cost
from limbeck.model import Model
from limbeck.recipe import Generations, Recipe
from limbeck.records import Panel, Scores, write_generations
from limbeck.task import Prompting, Speaks, Task
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.protocol import Teacher

ROWS_SEEN = 512


@dataclass(frozen=True)
class Hearing:
    """The test rows of a run, and where its models are asked about them."""

    recipe: Recipe
    data: Data
    task: Task
    device: torch.device

    @property
    def ends(self) -> tuple[str, ...]:
        """Of a text, the texts of the tokens with which its documents end."""
        return tuple(self.data.facts.get("tokens", {}).get("ends", ()))

    def teacher(self, teacher: Teacher) -> tuple[Answers, Scores, Panel]:
        """A live teacher's answers, their scores, and examples of what it saw."""
        test, classes = self.data.test, self.data.classes
        said = teacher_answers(teacher, test, self.task, device=self.device)
        scores = score(said, self.task, classes)
        size = cost(teacher.model, self._row()) if isinstance(teacher, ModuleTeacher) else {}
        needs = find_objective(self.recipe.objective).needs()
        heard = torch.arange(len(test)) if said.said is None else said.said.nonzero().flatten()
        piece = test.take(heard[:ROWS_SEEN])
        labels = torch.zeros(piece.known.shape, dtype=torch.int64) if piece.labels is None else piece.labels
        warm = max((temperature for _, temperature in needs.soft), default=1.0)
        outputs = said.outputs[heard[:ROWS_SEEN]]
        saw = self.task.teacher_saw(piece.inputs, outputs, labels, piece.known, classes, warm)
        return said, Scores(scores.rows, scores.metrics, size, scores.panels), saw

    def student(self, model: Model, judged: Answers | None) -> Scores:
        """A model's scores, beside its likeness to its teacher's answers where there are any."""
        said = answers(model, self.data.test, self.task, device=self.device, teacher=judged)
        scores = score(said, self.task, self.data.classes, teacher=judged)
        return Scores(scores.rows, scores.metrics, cost(model, self._row()), scores.panels)

    def latency(self, models: Mapping[str, Model]) -> dict[str, dict[str, float]]:
        """How long each takes for a row, in turns."""
        return latency.of_models(models, self._row())

    def speech(self, models: Mapping[str, Model], seed: int, folder: Path) -> Panel | None:
        """What models go on with after held-out prompts, written into the run's folder; the panel has its figures."""
        said, reads = self.recipe.generations, self.recipe.data.tokens
        if not isinstance(self.task, Speaks) or said is None or not said.prompts or reads is None:
            return None
        how = Prompting(reads.tokenizer, self.ends, said.prompts, said.length, said.temperature, seed)
        lines, panel = spoken(models, self.data.test, self.task, self.data.classes, how)
        write_generations(lines, folder)
        return panel

    def _row(self) -> torch.Tensor:
        return self.data.test.take(torch.tensor([0])).inputs.to(self.device)


def generations(recipe: Recipe, task: Task) -> Generations | None:
    """What is asked of models when the run ends: what the recipe says, or else its defaults for a task of texts.

    Raises:
        RecipeError: When texts are asked for where there are none.
    """
    if isinstance(task, Speaks):
        return recipe.generations or Generations()
    if recipe.generations is not None:
        raise RecipeError(f"the recipe asks for generations, and {task!r} has no texts", remedy="delete generations")
    return None
