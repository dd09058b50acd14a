"""Text -> made-up problems as a block of a table: `arithmetic(problems=4000, seed=1)`."""

import importlib
import pkgutil

from limbeck.data import problems
from limbeck.data.forms.columns import Block
from limbeck.grammar import arguments, parse_call


def names() -> list[str]:
    """The kinds of problems there are."""
    return sorted(module.name for module in pkgutil.iter_modules(problems.__path__))


def is_generated(source: str) -> bool:
    """Whether a text names made-up problems, rather than a file."""
    return source.partition("(")[0].strip() in names()


def block(source: str) -> Block:
    """The problems, a column for each of their parts.

    Raises:
        RecipeError: When an argument is unknown or out of its range.
    """
    call = parse_call(source, "problems")
    module = importlib.import_module(f"limbeck.data.problems.{call.name}")
    kind = next(thing for thing in vars(module).values() if getattr(thing, "name", "") == call.name)
    rows = list(kind(**arguments(call, kind, source)).rows())
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return Block(columns, lambda place: f"{call.name} {place}")
