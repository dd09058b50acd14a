"""What is asked of a few symbols among many: their log-probabilities, or themselves beside all others as one.

Autograd by itself would keep several tensors of rows x symbols until the backward pass, and go through each. Here the
exponentials are taken once and kept, and the gradient is made of them in one pass.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from limbeck.precision import wide


def softened(logits: Float[Tensor, "*rows symbols"], temperature: float) -> Float[Tensor, "*rows symbols"]:
    """Logits divided by a temperature (> 0), in at least float32 whatever their precision; at 1 maybe themselves."""
    return wide(logits) if temperature == 1 else wide(logits) / temperature


def likelihoods(
    logits: Float[Tensor, "*rows symbols"], symbols: Int[Tensor, "*rows asked"], temperature: float = 1.0
) -> Float[Tensor, "*rows asked"]:
    """Log-probabilities of some symbols, each of which may stand there more than once; in at least float32.

    Args:
        logits: All of them, a finite one in each row.
        symbols: Whose.
        temperature: Divides the logits.
    """
    found: Tensor = _Likelihoods.apply(logits, symbols, temperature)
    return found


def merged(
    logits: Float[Tensor, "*rows symbols"],
    symbols: Int[Tensor, "*rows kept"],
    temperature: float,
    *,
    missing: bool = False,
) -> Float[Tensor, "*rows merged"]:
    """The softened logits of some symbols, each there once, then the log of the summed exponentials of all others.

    That last one is -inf where no other is left, or none has a probability; in at least float32.

    Args:
        logits: All of them.
        symbols: Which ones stay by themselves.
        temperature: Divides the logits.
        missing: Whether some of the symbols may be none, and numbers beyond all that there are: those are -inf.
    """
    found: Tensor = _Merged.apply(logits, symbols, temperature, missing)
    return found


@torch.no_grad()
def tails(
    logits: Float[Tensor, "*rows symbols"], symbols: Int[Tensor, "*rows kept"], temperatures: Sequence[float]
) -> Float[Tensor, "*rows temperatures"]:
    """The log of the summed exponentials of all but some symbols, at several temperatures; in at least float32.

    Each is the last of what `merged` says at that temperature: -inf where nothing is left.

    Args:
        logits: All of them.
        symbols: Which ones are left out, each there once.
        temperatures: One at least; each divides the logits.
    """
    soft = wide(logits)
    others = (soft.clone() if soft is logits else soft).scatter_(-1, symbols, -torch.inf)
    largest = others.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(others.dtype).min)
    others.sub_(largest)
    found = []
    for temperature in temperatures:
        raised = others.exp() if temperature == 1 else (others / temperature).exp_()
        found.append(largest / temperature + raised.sum(dim=-1, keepdim=True).log())
    return torch.cat(found, dim=-1)


def _exponentials(soft: Tensor, *, spent: bool) -> tuple[Tensor, Tensor, Tensor]:
    """exp(soft - largest) of each row, in place where nobody reads `soft` again; their sum, and the largest.

    The largest is finite also where all are -inf.
    """
    largest = soft.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(soft.dtype).min)
    raised = (soft.sub_(largest) if spent else soft - largest).exp_()
    return raised, raised.sum(dim=-1, keepdim=True), largest


class _Likelihoods(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, symbols: Tensor, temperature: float) -> Tensor:
        soft = softened(logits, temperature)
        asked = soft.gather(-1, symbols)
        raised, total, largest = _exponentials(soft, spent=soft is not logits)
        ctx.save_for_backward(raised, total, symbols)
        ctx.temperature, ctx.precision = temperature, logits.dtype
        return asked - (largest + total.log())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        raised, total, symbols = ctx.saved_tensors
        slope = gradient / ctx.temperature
        found = raised * (-slope.sum(dim=-1, keepdim=True) / total)
        return found.scatter_add_(-1, symbols, slope).to(ctx.precision), None, None


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, symbols: Tensor, temperature: float, missing: bool) -> Tensor:
        soft = softened(logits, temperature)
        if missing:  # one more symbol, of probability 0, stands for all that are none
            soft, symbols = pad(soft, (0, 1), value=-torch.inf), symbols.clamp(max=logits.shape[-1])
        kept = soft.gather(-1, symbols)
        # Summed over the others themselves: 1 minus the sum of the kept would have no digits left for a small rest.
        others = soft.clone() if soft is logits else soft
        raised, total, largest = _exponentials(others.scatter_(-1, symbols, -torch.inf), spent=True)
        ctx.save_for_backward(raised, total, symbols)
        ctx.temperature, ctx.precision, ctx.size = temperature, logits.dtype, logits.shape[-1]
        return torch.cat([kept, largest + total.log()], dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        raised, total, symbols = ctx.saved_tensors
        gradient = gradient / ctx.temperature
        # Where nothing is left the exponentials are 0, and so are their shares.
        shares = gradient[..., -1:] / total.clamp(min=torch.finfo(total.dtype).tiny)
        found = (raised * shares).scatter_(-1, symbols, gradient[..., :-1])
        return found[..., : ctx.size].to(ctx.precision), None, None, None
