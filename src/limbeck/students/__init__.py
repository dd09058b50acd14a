"""Small networks to distil into, one family a file; each file's `build` makes a plain `nn.Module`."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

from torch import nn

from limbeck.errors import ModelError, did_you_mean
from limbeck.grammar import Call, parse_call


def names() -> list[str]:
    """The families there are: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def inner(text: str, asker: str) -> Callable[[tuple[int, ...], int], nn.Module]:
    """What builds a network that is a part of another family's, from the shape of a row and the number of outputs.

    Args:
        text: A family with its arguments, as a recipe writes it.
        asker: The family that is made of it, for messages; it is not made of itself.

    Raises:
        ModelError: When there is no such family, or it does not take the arguments.
        RecipeError: When the text cannot be read.
    """
    call: Call = parse_call(text, f"network of {asker}")
    known = [name for name in names() if name != asker]
    if call.name not in known:
        raise ModelError(
            f"{asker} cannot be made of {call.name!r}",
            expected="another built-in student, such as cnn(size=16)",
            remedy=did_you_mean(call.name, known),
        )
    build = importlib.import_module(f"{__name__}.{call.name}").build
    takes = [each.name for each in inspect.signature(build).parameters.values() if each.kind is each.KEYWORD_ONLY]
    if call.arguments:
        raise ModelError(f"{call.name} of {asker} has an argument without a name", expected=f"of {', '.join(takes)}")
    for name in call.keywords:
        if name not in takes:
            raise ModelError(f"{call.name} has no argument {name!r}", remedy=did_you_mean(name, takes))

    def built(inputs: tuple[int, ...], outputs: int) -> nn.Module:
        network: nn.Module = build(inputs, outputs, **call.keywords)
        return network

    return built
