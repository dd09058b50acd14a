"""Text -> task: the file `tasks/NAME.py` holds one class whose name says NAME."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

from pydantic import ValidationError

import limbeck.tasks
from limbeck.errors import RecipeError, did_you_mean
from limbeck.grammar import parse_call
from limbeck.task import Task


def names() -> list[str]:
    """The tasks there are."""
    return sorted(module.name for module in pkgutil.iter_modules(limbeck.tasks.__path__))


def task(text: str) -> Task:
    """Finds a task by the name of its file, with its arguments: "classification", "forecasting(horizon=6, below=70)".

    Raises:
        RecipeError: When there is no such task, or an argument is unknown, missing or out of its range.
    """
    call = parse_call(text, "task")
    if call.name not in names():
        raise RecipeError(f"there is no task {call.name!r}", remedy=did_you_mean(call.name, names()))
    build = _class(call.name)
    known = list(inspect.signature(build).parameters)
    for name in call.keywords:
        if name not in known:
            raise RecipeError(f"the task {call.name} has no argument {name!r}", remedy=did_you_mean(name, known))
    try:
        return build(*call.arguments, **call.keywords)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(str(step) for step in wrong["loc"])
        raise RecipeError(
            f"the task {text} cannot be read: {place}: {wrong['msg']}",
            expected=f"{call.name}{inspect.signature(build)}",
        ) from error
    except TypeError as error:
        raise RecipeError(
            f"the task {text} cannot be read: {error}", expected=f"{call.name}{inspect.signature(build)}"
        ) from error


def _class(name: str) -> Callable[..., Task]:
    module = importlib.import_module(f"limbeck.tasks.{name}")
    for thing in vars(module).values():
        if isinstance(thing, type) and thing.__module__ == module.__name__ and getattr(thing, "name", None) == name:
            return thing
    raise RecipeError(f"tasks/{name}.py holds no class named {name!r}", expected=f"a class with name = {name!r}")
