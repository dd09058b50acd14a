"""How values, and things with arguments, are written down, such that the grammar reads the same back."""

import inspect
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


def written(value: object) -> str:
    """A number, text or tuple as the grammar writes it, such that reading it back gives the same value."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return repr(value)
