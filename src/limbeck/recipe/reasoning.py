"""The `reason` of a recipe: solutions that are sampled, verified, selected and learnt, and the problems they solve."""

from typing import Literal

from pydantic import Field, model_validator

from limbeck.recipe import spellings
from limbeck.recipe.data import Columns, DataSpec, Strict

PLACE = "{question}"


class Reasoning(Strict):
    """How `limbeck reason` asks a teacher, what it keeps of the answers, and how a student learns them.

    Attributes:
        verifier: A file of `verifiers/` with its arguments: "numbers", "python(seconds=5)".
        question: The column of questions.
        answer: The column of what the verifier reads; None is the verifier's own name for it.
        solution: The column of written solutions; without a teacher they are what is learnt.
        prompt: What the student is asked, with {question} in it.
        ask: What the teacher is asked, such as with examples before the question; None is `prompt`.
        chat: Whether the teacher is asked as a user, rather than shown a text that goes on.
        samples: Solutions a problem, 1 or more.
        temperature: Of the draws; 0 takes the likeliest token each time, which is one solution.
        warmer: Added to the temperature in each further round.
        nucleus: Only the likeliest tokens with this share are drawn from.
        length: Tokens of a solution at most.
        rounds: How often solutions are sampled, 1 or more; after the first only for problems that nobody solved.
        probe: After a round its student is asked so many training problems, and those it fails are sampled for again.
        keep: Solutions of a problem that are learnt, at most: one of what the teacher always solves, more of what it
            solves rarely.
        prefer: Which ones: near the median length of the right ones, or the shortest.
        form: "steps" lets a student say the steps and then the answer; "tasks" has it learn the two as tasks of their
            own, told apart by a word before the prompt, and asks it for the answer alone.
    """

    verifier: str = Field(default="numbers", min_length=1)
    question: str = Field(default="question", min_length=1)
    answer: str | None = Field(default=None, min_length=1)
    solution: str | None = Field(default=None, min_length=1)
    prompt: str = PLACE + "\n"
    ask: str | None = None
    chat: bool = False
    samples: int = Field(default=4, ge=1)
    temperature: float = Field(default=0.7, ge=0)
    warmer: float = Field(default=0.2, ge=0)
    nucleus: float = Field(default=1.0, gt=0, le=1)
    length: int = Field(default=256, ge=1)
    rounds: int = Field(default=1, ge=1)
    probe: int = Field(default=0, ge=0)
    keep: int = Field(default=2, ge=1)
    prefer: Literal["median", "shortest"] = "median"
    form: Literal["steps", "tasks"] = "steps"

    @model_validator(mode="after")
    def _check(self) -> "Reasoning":
        for name, text in (("prompt", self.prompt), ("ask", self.ask)):
            if text is not None and PLACE not in text:
                raise spellings.wrong(f"{name} does not say where the question stands", f"a text with {PLACE} in it")
        if self.samples > 1 and not self.temperature:
            raise spellings.wrong(
                f"{self.samples} samples at temperature 0 are all the same", "temperature above 0, or samples: 1"
            )
        return self

    def check_beside(self, task: str, data: DataSpec, teachers: int, planned: bool) -> None:
        """Problems are divided before they become documents, and who writes solutions is one.

        Args:
            task: The recipe's.
            data: Likewise.
            teachers: How many there are.
            planned: Whether the recipe is a chain or a comparison.

        Raises:
            PydanticCustomError: When the recipe says what does not go together.
        """
        for wrong, happened, remedy in (
            (planned, "this is a plan of its own", "delete chain and compare"),
            (task != "language" or data.tokens is None, "solutions are texts", "task: language, and data.tokens"),
            (teachers > 1, "several teachers write no text together", "one teacher"),
            (data.columns != Columns(), "data.columns is said", "name columns in reason: question, answer, solution"),
            (
                not teachers and not self.solution,
                "nobody says solutions",
                "set teacher, or name the column of written ones: reason: {solution: NAME}",
            ),
            (not teachers and self.rounds > 1, "written solutions are there once", "rounds: 1, or a teacher"),
        ):
            if wrong:
                raise spellings.wrong(f"reason: {happened}", "", remedy, key="reason")
