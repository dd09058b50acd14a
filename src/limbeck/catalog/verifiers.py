"""Text -> verifier: the file `verifiers/NAME.py` holds one class whose name says NAME."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

from pydantic import ValidationError

import limbeck.verifiers
from limbeck.errors import RecipeError, did_you_mean
from limbeck.grammar import parse_call
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
    build = _class(call.name)
    known = list(inspect.signature(build).parameters)
    for name in call.keywords:
        if name not in known:
            raise RecipeError(f"the verifier {call.name} has no argument {name!r}", remedy=did_you_mean(name, known))
    try:
        return build(*call.arguments, **call.keywords)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(str(step) for step in wrong["loc"])
        raise RecipeError(
            f"the verifier {text} cannot be read: {place}: {wrong['msg']}",
            expected=f"{call.name}{inspect.signature(build)}",
        ) from error
    except TypeError as error:
        raise RecipeError(
            f"the verifier {text} cannot be read: {error}", expected=f"{call.name}{inspect.signature(build)}"
        ) from error


def _class(name: str) -> Callable[..., Verifier]:
    module = importlib.import_module(f"limbeck.verifiers.{name}")
    for thing in vars(module).values():
        if isinstance(thing, type) and thing.__module__ == module.__name__ and getattr(thing, "name", None) == name:
            return thing
    raise RecipeError(f"verifiers/{name}.py holds no class named {name!r}", expected=f"a class with name = {name!r}")
