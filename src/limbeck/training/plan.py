"""What a training will do, settled before it starts: steps, optimiser, learning rate, precision."""

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

Precision = Literal["float32", "bfloat16"]
Placed = TypeVar("Placed", bound=nn.Module)


@dataclass(frozen=True)
class Plan:
    """A training whose every choice is made, so that running it again gives the same bits.

    `warmup` is the share of the steps over which the learning rate rises linearly from 0; `clip` bounds the gradient's
    norm; `ema` is the decay a step of an exponential moving average of the weights, which is then what is validated
    and kept; `validate_every` counts steps; `teacher_precision` is in which a live teacher is asked, and
    `teacher_compile` whether through torch.compile.
    """

    steps: int
    steps_per_epoch: int
    batch_size: int
    seed: int
    optimizer: Literal["adamw", "sgd"]
    lr: float
    momentum: float
    weight_decay: float
    schedule: Literal["cosine", "constant"]
    warmup: float
    clip: float | None
    ema: float | None
    precision: Precision
    channels_last: bool
    validate_every: int
    compile: bool = False
    teacher_precision: Precision = "float32"
    teacher_compile: bool = False

    def lr_at(self, step: int) -> float:
        """The learning rate of a step (0-based): linear warm-up, then constant or half a cosine down to 0."""
        rise = int(self.warmup * self.steps)
        if step < rise:
            return self.lr * (step + 1) / rise
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, self.steps - rise)))

    def placed(self, module: Placed, device: torch.device) -> Placed:
        """Moves a module, in place, to a device and into this plan's memory layout."""
        module.to(device)
        module.to(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        return module

    def build_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over a module's trainable parameters.

        Weight decay acts on matrices and kernels only: a bias or a normalisation's scale has no reason to be small
        (Goyal et al. 2017, arXiv 1706.02677, section 5.3).
        """
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if self.optimizer == "sgd":
            nesterov = self.momentum > 0
            return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=nesterov, fused=True)
        return torch.optim.AdamW(groups, lr=self.lr, fused=True)
