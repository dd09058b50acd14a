"""Networks that train and cannot be exported, for the tests; it is no test by itself."""

import torch
from torch import Tensor, nn


class Bessel(nn.Module):
    """An operation without a counterpart in ONNX, at a place of its own."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.special.i0e(inputs)


class Branching(nn.Module):
    """A path that depends on the numbers of the inputs."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if inputs.sum() > 0 else -inputs


class Unlike(nn.Module):
    """In eval mode, traced: other numbers than otherwise."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * 1.5 if torch.compiler.is_exporting() else inputs


def _network(odd: nn.Module) -> nn.Sequential:
    """For digits."""
    network = nn.Sequential()
    network.add_module("body", nn.Sequential(nn.Flatten(), nn.Linear(64, 16), odd))
    network.add_module("head", nn.Linear(16, 10))
    return network


def bessel() -> nn.Module:
    return _network(Bessel())


def branching() -> nn.Module:
    return _network(Branching())


def unlike() -> nn.Module:
    return _network(Unlike())
