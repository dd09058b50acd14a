"""Text -> verifier: the file `verifiers/NAME.py` holds one dataclass whose name says NAME."""

import importlib
import pkgutil

import limbeck.verifiers
from limbeck.errors import RecipeError, did_you_mean
from limbeck.grammar import arguments, parse_call
from limbeck.verification import Verifier


def names() -> list[str]:
    """The verifiers there are."""
    return sorted(module.name for module in pkgutil.iter_modules(limbeck.verifiers.__path__))


def verifier(text: str) -> Verifier:
    """Finds a verifier by the name of its file, with its arguments: "numbers", "python(seconds=5)".

    Raises:
        RecipeError: When there is no such verifier, or an argument is unknown, missing or out of its range.
    """
    call = parse_call(text, "verifier")
    if call.name not in names():
        raise RecipeError(f"there is no verifier {call.name!r}", remedy=did_you_mean(call.name, names()))
    module = importlib.import_module(f"limbeck.verifiers.{call.name}")
    kind = next(
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and thing.__module__ == module.__name__ and getattr(thing, "name", "") == call.name
    )
    found: Verifier = kind(**arguments(call, kind, text))
    return found
