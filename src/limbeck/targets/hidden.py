"""The teacher's last hidden states and its head: all logits for the bytes of a hidden state.

The logits are computed when they are asked for, some rows at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from limbeck.divergences import Divergence, tempered
from limbeck.targets.protocol import Places

# How many logits are multiplied with a head together, on a processor and elsewhere; and about how many of these are
# looked at together on a processor, whose cache they should fit, elsewhere all. Loss and gradients of 1,024 positions
# of 49,152 symbols in bfloat16 on one thread: products of 128 positions take a tenth longer than those of 256, and
# methods that are asked about 16 to 256 positions at once no more than a twentieth apart.
_LOGITS, _LOGITS_ELSEWHERE = 3 << 22, 1 << 26
_AT_ONCE = 3 << 20


@dataclass(frozen=True)
class HiddenTargets:
    """Hidden states with the head that makes logits of them: answers every divergence at every temperature, as dense.

    The logits are those of the head applied to what was kept, in the wider of the two precisions. What a network does
    to its logits after the head (a cap, a scale) is not in them unless the head's weights hold it.

    Args:
        hidden: What the teacher's head was given.
        weight: The head's.
        bias: The head's; None where it has none.
    """

    hidden: Float[Tensor, "*rows width"]
    weight: Float[Tensor, "classes width"]
    bias: Float[Tensor, " classes"] | None = None

    @property
    def kept(self) -> str:
        classes, width = self.weight.shape
        return f"hidden states of width {width} and the head that makes {classes} logits of them"

    @property
    def shape(self) -> tuple[int, ...]:
        """That of all logits."""
        return (*self.hidden.shape[:-1], len(self.weight))

    @torch.no_grad()
    def made_logits(self) -> Float[Tensor, "*rows classes"]:
        """All logits of all rows, for a method that reads them; this is what keeping hidden states saves."""
        precision = torch.promote_types(self.hidden.dtype, self.weight.dtype)
        bias = None if self.bias is None else self.bias.to(precision)
        return functional.linear(self.hidden.to(precision), self.weight.to(precision), bias)

    @property
    def temperatures(self) -> tuple[float, ...]:
        return ()

    def refuses(self, divergence: Divergence, temperature: float) -> str | None:
        """Hidden states with their head refuse nothing."""
        return None

    def divergence(
        self, divergence: Divergence, student: Float[Tensor, "*rows classes"], temperature: float
    ) -> Float[Tensor, "*rows"]:
        """The divergence over all classes, for each row; no gradient reaches the teacher.

        The student's gradient is computed with the value, chunk by chunk, so that of the teacher's logits and of what
        autograd would keep no more than a chunk exists at a time. It has no derivative of its own.

        Args:
            divergence: Any; a row's value must depend on that row alone, as a divergence's does.
            student: All logits of the student, on the device of these targets.
            temperature: Above 0.
        """
        flat = replace(self, hidden=self.hidden.detach().flatten(0, -2))
        value: Tensor = _Chunked.apply(student.reshape(-1, student.shape[-1]), flat, divergence, temperature)
        return value.view(student.shape[:-1])

    def rows(self, index: Places) -> "HiddenTargets":
        """The same targets for some of the rows."""
        return replace(self, hidden=self.hidden[index])

    def to(self, device: torch.device) -> "HiddenTargets":
        """The same hidden states and head on another device."""
        bias = None if self.bias is None else self.bias.to(device)
        hidden = self.hidden.to(device, non_blocking=True)
        return HiddenTargets(hidden, self.weight.to(device), bias)

    @torch.no_grad()
    def each(self, function: Callable[..., tuple[Tensor, ...]], *beside: Shaped[Tensor, "..."]) -> tuple[Tensor, ...]:
        """What a function that takes each row by itself makes of all logits, of which some rows' exist at a time.

        Args:
            function: From logits (rows, classes), and what stands beside these rows, to tensors with a row for each.
            *beside: Tensors with the dimensions of the rows first.
        """
        rows = self.hidden.shape[:-1]
        flat = replace(self, hidden=self.hidden.detach().flatten(0, -2))
        others = [tensor.flatten(0, len(rows) - 1) for tensor in beside]
        found = []
        for at in slices(len(flat.hidden), len(self.weight), self.hidden.device):
            logits = flat.rows(at).made_logits()
            found += [function(logits[few], *(tensor[at][few] for tensor in others)) for few in pieces(logits)]
        return tuple(torch.cat(parts).unflatten(0, rows) for parts in zip(*found, strict=True))


def slices(count: int, classes: int, device: torch.device) -> Iterator[slice]:
    """Of so many positions those that are multiplied with a head together, one after the other.

    Args:
        count: How many positions there are.
        classes: How many logits the head makes of each.
        device: Where.
    """
    step = max(1, (_LOGITS if device.type == "cpu" else _LOGITS_ELSEWHERE) // classes)
    return (slice(start, start + step) for start in range(0, count, step))


def pieces(logits: Float[Tensor, "positions classes"]) -> Iterator[slice]:
    """Of the logits of some positions those that are looked at together."""
    count, classes = logits.shape
    step = max(1, _AT_ONCE // classes) if logits.device.type == "cpu" else max(1, count)
    return (slice(start, start + step) for start in range(0, count, step))


class _Chunked(torch.autograd.Function):
    """Values of a divergence, and at once the gradient of each in its row of the student's logits."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, targets: HiddenTargets, divergence: Divergence, temperature: float
    ) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(student) if wanted else None
        values = []
        for rows in slices(len(student), len(targets.weight), student.device):
            made = targets.rows(rows).made_logits()
            ours, slopes = student[rows].detach(), None if gradient is None else gradient[rows]
            for few in pieces(made):
                theirs = tempered(made[few], temperature)
                with torch.set_grad_enabled(wanted):
                    said = ours[few].requires_grad_(wanted)
                    value = divergence(theirs, tempered(said, temperature))
                    if slopes is not None:
                        (slopes[few],) = torch.autograd.grad(value.sum(), said)
                values.append(value.detach())
        ctx.gradient = gradient
        return torch.cat(values) if values else student.new_zeros(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        # In place would spoil a second backward pass through a retained graph.
        return (ctx.gradient * upstream[:, None]).to(ctx.gradient.dtype), None, None, None
