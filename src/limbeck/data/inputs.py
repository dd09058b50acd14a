"""Inputs that are not one tensor in memory: windows of a longer series, or a file larger than memory."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int, Shaped
from torch import Tensor


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

    def digest(self) -> str:
        """A hash of the content in order; equal content gives equal hashes, however it is kept."""
        ...
