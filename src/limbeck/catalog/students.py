"""Describes the built-in students for people: what they are, and their arguments as `build` declares them."""

import importlib
import inspect
from dataclasses import dataclass

from limbeck.catalog.models import students
from limbeck.catalog.objectives import Argument, kind_in_words
from limbeck.errors import ModelError, did_you_mean
from limbeck.notation import written


@dataclass(frozen=True)
class StudentCard:
    """What a person wants to know about a student family before using it.

    `details` is the docstring of the family's `build`; the arguments are those that a recipe may give, without the
    shape of a row and the number of outputs, which follow from the data.
    """

    name: str
    summary: str
    details: str
    arguments: tuple[Argument, ...]

    @property
    def call(self) -> str:
        """The student as a recipe writes it, with every default: `gru(size=64, depth=1, ...)`."""
        given = (
            argument.name if argument.default is None else f"{argument.name}={argument.default}"
            for argument in self.arguments
        )
        return f"{self.name}({', '.join(given)})"


def cards() -> list[StudentCard]:
    """A card for every family in `limbeck/students`, in alphabetical order."""
    return [card(name) for name in students()]


def card(name: str) -> StudentCard:
    """Describes a student family.

    Args:
        name: The name of its file.

    Raises:
        ModelError: When there is no such family.
    """
    if name not in students():
        raise ModelError(
            f"there is no student {name!r} to describe",
            expected="a student that `limbeck models` lists, by its name alone",
            remedy=did_you_mean(name, students()),
        )
    module = importlib.import_module(f"limbeck.students.{name}")
    parameters = [
        each for each in inspect.signature(module.build).parameters.values() if each.kind is each.KEYWORD_ONLY
    ]
    return StudentCard(
        name=name,
        summary=(inspect.getdoc(module) or "").split("\n", 1)[0],
        details=inspect.getdoc(module.build) or "",
        arguments=tuple(
            Argument(
                each.name,
                kind_in_words(each.annotation),
                None if each.default is each.empty else written(each.default),
            )
            for each in parameters
        ),
    )
