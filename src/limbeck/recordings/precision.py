"""In how many bits a number is kept."""

from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from limbeck.errors import RecipeError, RecordingError, did_you_mean

Precision: TypeAlias = Literal["as said", "float32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("as said", "float32", "float16", "bfloat16")


def refuse_unknown(form: str, precision: str, known: tuple[str, ...] = PRECISIONS) -> None:
    """Refuses a precision that no form knows.

    Raises:
        RecipeError: Which are known.
    """
    if precision not in known:
        raise RecipeError(
            f"{form} was asked for precision={precision!r}",
            expected=", ".join(map(repr, known)),
            remedy=did_you_mean(str(precision), known),
        )


def kept_in(precision: str, numbers: Float[Tensor, "..."], what: str) -> Float[Tensor, "..."]:
    """The numbers in a precision, on the CPU.

    Args:
        precision: One of `PRECISIONS`.
        numbers: Finite, or minus infinity.
        what: What they are, for the message.

    Raises:
        RecordingError: When one of them is too large for the precision.
    """
    own = numbers.detach().cpu().contiguous()
    if precision == "as said":
        return own
    kept = own.to(getattr(torch, precision))
    if bool((kept.isinf() & ~own.isinf()).any()):
        raise RecordingError(
            f"{what} reach {float(own[own.isfinite()].abs().max()):g}, which {precision} cannot hold",
            expected="numbers up to 65,504" if precision == "float16" else "numbers of float32",
            remedy="keep them as precision='bfloat16' or 'float32'",
        )
    return kept


def whole_numbers(numbers: Integer[Tensor, "..."], below: int) -> Integer[Tensor, "..."]:
    """Whole numbers from 0 up to, not including, `below`, in as few bytes as hold them, on the CPU."""
    for kind, limit in ((torch.uint8, 1 << 8), (torch.int16, 1 << 15), (torch.int32, 1 << 31)):
        if below <= limit:
            return numbers.cpu().to(kind).contiguous()
    return numbers.cpu().contiguous()
