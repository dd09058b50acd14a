"""How values, and things with arguments, are written down, such that the grammar reads the same back."""

import inspect
from collections.abc import Mapping
from typing import Any


def spelled(thing: Any) -> str:
    """A thing with a name and arguments as a recipe writes it: `forecasting(horizon=6, below=70)`; defaults left out.

    Args:
        thing: Keeps each argument of its constructor under its own name.
    """
    found = [
        f"{name}={written(getattr(thing, name))}"
        for name, parameter in inspect.signature(type(thing)).parameters.items()
        if getattr(thing, name) != parameter.default
    ]
    return f"{thing.name}({', '.join(found)})" if found else str(thing.name)


def called(name: str, thing: Any, instead: Mapping[str, object] | None = None) -> str:
    """A thing with a name and all its arguments, so that a record says what was used whatever the defaults become.

    But not a switch that is off, as it is by default: so the thing keeps the name it had before it had the switch, in
    the recipes and records of earlier runs.

    Args:
        name: What it is called.
        thing: Keeps each argument of its constructor under its own name.
        instead: What stands in the place of an argument's value, such as its schedule.
    """
    parameters = inspect.signature(type(thing)).parameters
    values = {each: (instead or {}).get(each, getattr(thing, each)) for each in parameters}
    arguments = ", ".join(
        f"{each}={written(value)}"
        for each, value in values.items()
        if not (value is False and parameters[each].default is False)
    )
    return f"{name}({arguments})" if arguments else name


def written(value: object) -> str:
    """A number, text or tuple as the grammar writes it, such that reading it back gives the same value."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return repr(value)
