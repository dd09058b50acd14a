"""Inputs that are not one tensor in memory: windows of a longer series, or a file larger than memory."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

_BLOCK_BYTES = 1 << 22


@runtime_checkable
class Inputs(Protocol):
    """Rows of inputs that are fetched when they are asked for, in any order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first, then the shape of one row."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The type of the fetched tensors."""
        ...

    def take(self, positions: Int[Tensor, " taken"]) -> Shaped[Tensor, "taken ..."]:
        """The inputs at these positions (0 to rows - 1), in this order, as a tensor of their own on the CPU."""
        ...

    def select(self, positions: Int[Tensor, " taken"]) -> "Inputs":
        """The inputs at these positions as inputs of their own; nothing is copied."""
        ...


def blocks(inputs: Shaped[Tensor, "rows ..."] | Inputs) -> Iterator[Shaped[Tensor, "some ..."]]:
    """Every row once and in order, some at a time: about 4 MB, whatever the rows' size, so that memory stays small."""
    if isinstance(inputs, Tensor):
        yield inputs.detach().cpu().contiguous()
        return
    rows, row = inputs.shape[0], inputs.dtype.itemsize
    for length in inputs.shape[1:]:
        row *= length
    step = max(1, _BLOCK_BYTES // max(1, row))
    for first in range(0, rows, step):
        yield inputs.take(torch.arange(first, min(first + step, rows))).contiguous()
