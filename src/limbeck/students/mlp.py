"""Fully connected networks of ReLU layers, such as the 2 x 1200 and 2 x 800 nets of Hinton, Vinyals and Dean (2015)."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import ModelError


def build(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    size: int = 256,
    depth: int = 2,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    max_norm: float | None = None,
) -> nn.Module:
    """Builds a fully connected network with `depth` hidden layers of `size` ReLU units.

    The submodules are `stem` (flattens the row, drops inputs), `layer1` to `layer<depth>` and `head`. With
    D numbers in a row it has (D + 1) * size + (depth - 1) * (size + 1) * size + (size + 1) * outputs parameters:
    2,395,210 for 28 x 28 pixels, 10 outputs and the defaults of Hinton's teacher (size 1200, depth 2).

    Args:
        inputs: Shape of one row; any shape will do, since the row is flattened.
        outputs: How many logits.
        size: Units in each hidden layer.
        depth: How many hidden layers.
        dropout: Chance that a hidden unit is dropped in training.
        input_dropout: Chance that an input is dropped in training.
        max_norm: Bound on the length of each hidden unit's incoming weights, for inputs as the network sees them
            (standardised ones, as a rule); None without one.

    Raises:
        ModelError: If a number is out of range.
    """
    _check(inputs, outputs, size, depth, dropout, input_dropout)
    if max_norm is not None and not 0 < max_norm < math.inf:
        raise ModelError(f"mlp was asked for max_norm={max_norm}", expected="above 0, such as 1.5")
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(nn.Flatten(), nn.Dropout(input_dropout)))
    width = math.prod(inputs)
    for number in range(1, depth + 1):
        layers[f"layer{number}"] = nn.Sequential(_linear(width, size, max_norm), nn.ReLU(), nn.Dropout(dropout))
        width = size
    layers["head"] = nn.Linear(width, outputs)
    return nn.Sequential(layers)


class BoundedLinear(nn.Linear):
    """A linear layer, the weights of each of whose units are no longer than a bound (max-norm).

    Srivastava et al. 2014, section 5.1 (read: memory): weights that have grown past it are scaled back before they are
    used again. In training that is done in place, as in `torch.nn.Embedding`; an answer changes nothing.
    """

    def __init__(self, inputs: int, outputs: int, bound: float) -> None:
        super().__init__(inputs, outputs)
        self.bound = bound

    def forward(self, rows: Tensor) -> Tensor:
        """The layer's answers, with weights within the bound."""
        if self.training:
            with torch.no_grad():
                self.weight.copy_(self._bounded())
            return super().forward(rows)
        return functional.linear(rows, self._bounded(), self.bias)

    def extra_repr(self) -> str:
        """The bound decides the answers, so it belongs in the fingerprint."""
        return f"{super().extra_repr()}, bound={self.bound:g}"

    def _bounded(self) -> Tensor:
        return torch.renorm(self.weight, p=2, dim=0, maxnorm=self.bound)


def _linear(inputs: int, outputs: int, max_norm: float | None) -> nn.Linear:
    return nn.Linear(inputs, outputs) if max_norm is None else BoundedLinear(inputs, outputs, max_norm)


def _check(inputs: tuple[int, ...], outputs: int, size: int, depth: int, dropout: float, input_dropout: float) -> None:
    if not inputs or min(inputs) < 1:
        raise ModelError(
            f"mlp was asked for rows of shape {tuple(inputs)}",
            expected="the shape of one row, every length at least 1, such as (64,) or (1, 28, 28)",
            remedy="leave the batch dimension out and look for an empty one",
        )
    for name, count in {"outputs": outputs, "size": size, "depth": depth}.items():
        if count < 1:
            raise ModelError(f"mlp was asked for {name}={count}", expected="1 or more", remedy=f"raise {name}")
    for name, chance in {"dropout": dropout, "input_dropout": input_dropout}.items():
        if not 0.0 <= chance < 1.0:
            raise ModelError(
                f"mlp was asked for {name}={chance}",
                expected="a chance from 0 up to, not including, 1",
                remedy=f"use {name}=0.5 for hidden units and 0.2 for inputs, as Hinton did, or 0 for none",
            )
