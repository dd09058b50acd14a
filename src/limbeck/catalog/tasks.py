"""Text -> task: the file `tasks/NAME.py` holds one class whose name says NAME."""

import importlib
import pkgutil

import limbeck.tasks
from limbeck.errors import RecipeError, did_you_mean
from limbeck.task import Task


def task(name: str) -> Task:
    """Finds a task by the name of its file.

    Raises:
        RecipeError: When there is no such task.
    """
    known = sorted(module.name for module in pkgutil.iter_modules(limbeck.tasks.__path__))
    if name not in known:
        raise RecipeError(f"there is no task {name!r}", remedy=did_you_mean(name, known))
    module = importlib.import_module(f"limbeck.tasks.{name}")
    for thing in vars(module).values():
        if isinstance(thing, type) and thing.__module__ == module.__name__ and getattr(thing, "name", None) == name:
            found: Task = thing()
            return found
    raise RecipeError(f"tasks/{name}.py holds no class named {name!r}", expected=f"a class with name = {name!r}")
