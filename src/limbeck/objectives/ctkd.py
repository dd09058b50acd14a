"""Distillation at a temperature that is learnt against the student: it moves to where the student has it hardest.

Li, Li, Yang, Zhao, Song, Luo, Li, Yang, AAAI 2023 (CTKD), https://arxiv.org/abs/2211.16231, the global version: one
temperature T = lowest + span · sigmoid(θ) for all rows, whose gradient is reversed, times λ. Read: copy for the code
(zhengli97/CTKD), memory for the paper. The range (1 to 21) and the start θ = 1 (T = 15.6) are the code's, and as there
the gradient of θ goes through T² too.
λ rises from 0 to 1 along half a cosine over the first 10 of 240 epochs: `ctkd(cosine(0, 1, over='10 epochs'))`. A
default is one number: 1, where it ends.
Deviations:
- λ changes from step to step, where the authors change it from epoch to epoch;
- the authors' weight decay also draws θ to 0; here none does, as on every parameter that is one number;
- the temperature of each row from a small network (the paper's second version) is not here.
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor, nn

from limbeck.divergences import kl, tempered
from limbeck.objective import Needs, Objective
from limbeck.precision import wide
from limbeck.signals import Batch, Signals

# The authors' first θ.
START = 1.0


class CTKD(Objective):
    """KL(teacher || student) in nats at a learnt temperature, times that temperature squared.

    θ trains with the student, by the same optimiser, and is saved with this objective. The authors train with SGD,
    `training.optimizer: sgd`. AdamW, Limbeck's default, divides a gradient by its usual size, so that under it the
    strength hardly counts, but for 0, at which θ stands still.

    Args:
        strength: The λ by which the reversed gradient of θ is multiplied, which a schedule moves; at 0 the temperature
            stays, and the student learns all the same.
        lowest: The temperature is above this.
        span: And below `lowest` + `span`.
    """

    family = "soft targets"
    formula = "T² · KL(softmax(teacher / T) || softmax(student / T)), T = lowest + span · sigmoid(θ), θ climbs"
    factor = "T²"

    @validate_call
    def __init__(
        self,
        strength: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        lowest: Annotated[float, Gt(0), Lt(math.inf)] = 1.0,
        span: Annotated[float, Gt(0), Lt(math.inf)] = 20.0,
    ) -> None:
        super().__init__()
        self.strength, self.lowest, self.span = strength, lowest, span
        self.theta = nn.Parameter(torch.tensor(START))

    def needs(self) -> Needs:
        """The teacher's logits: a gradient flows through the temperature that divides them."""
        return Needs(logits=True, meaning=frozenset({"classes"}))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Puts θ where it starts, as precise as the student's logits and where they are."""
        assert student.logits is not None
        precision = torch.promote_types(student.logits.dtype, torch.float32)
        self.theta = nn.Parameter(torch.tensor(START, dtype=precision, device=student.logits.device))

    @property
    def temperature(self) -> Float[Tensor, ""]:
        """The temperature as it stands; its gradient reaches θ reversed."""
        held = self.theta.detach()
        # The same number as θ, whose gradient is −strength in place of 1.
        reversed_theta = held - self.strength * (self.theta - held)
        return self.lowest + self.span * torch.sigmoid(reversed_theta)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the divergence of each row."""
        assert student.logits is not None and teacher.logits is not None
        temperature = self.temperature
        ours, theirs = (wide(logits) / temperature for logits in (student.logits, teacher.logits.detach()))
        return temperature.square() * kl(tempered(theirs, 1.0), tempered(ours, 1.0))
