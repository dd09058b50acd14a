"""Pearson distillation: each channel of the student rises and falls with the teacher's, whatever its size.

Cao, Zhang, Gao, Cheng, Cheng, Cheng, 2022 (PKD), https://arxiv.org/abs/2207.02039, section 3: every channel of both
layers is brought to mean 0 and deviation 1 over batch and places; half the mean squared difference is then 1 − r, with
r Pearson's correlation, averaged over channels. Read: memory; a copy of the authors' code (mmrazor).
Deviations:
- the authors' code divides by the deviation with n − 1, here with n, so that the value is 1 − r as the paper says (but
  for the 1e-6 that is added to a deviation, as theirs is);
- a channel that never changes has no correlation: it counts as 0 and gets no gradient;
- a 1x1 convolution stands before the student's layer where the widths differ; the paper's have one width;
- they interpolate between resolutions; here both are brought together as in `hint`.
"""

from typing import Annotated

import torch
from annotated_types import Ge, MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor, nn

from limbeck.alignment import (
    Layout,
    by_position,
    check_sides,
    matched,
    ready,
    same_resolution,
    sides,
    through,
)
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals

# From the authors' code: keeps a channel that hardly changes from being blown up.
LEAST_DEVIATION = 1e-6


class PKD(Objective):
    """One minus Pearson's correlation of the models' channels over batch and places, averaged over channels.

    Features may be flat, sequences or images, as in `hint`; where the mask counts positions, a channel is followed over
    those it counts. Where the widths differ, `setup` makes a projector, which trains with the student and is saved with
    this objective.

    Args:
        student_layer: Name of a layer in the student's network.
        teacher_layer: Name of a layer in the teacher's network.
        student_layout: Of a sequence in the student: "tokens" is (rows, steps, width), "channels" (rows, width, steps).
        teacher_layout: The same of the teacher's layer.
        student_prefix: Leading tokens of the student's sequence that stand for no step, such as 1 class token.
        teacher_prefix: The same of the teacher's sequence.
    """

    family = "features"
    formula = "½ mean of (standardised student − standardised teacher)² = 1 − r, standardised by channel over the batch"
    per_row = False

    @validate_call
    def __init__(
        self,
        student_layer: Annotated[str, MinLen(1)],
        teacher_layer: Annotated[str, MinLen(1)],
        student_layout: Layout = "tokens",
        teacher_layout: Layout = "tokens",
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.student_layout, self.teacher_layout = student_layout, teacher_layout
        self.student_prefix, self.teacher_prefix = student_prefix, teacher_prefix
        self.projector: nn.Module | None = None

    def needs(self) -> Needs:
        """The two layers, and two rows to see a change in."""
        return Needs(
            student_layers=frozenset({self.student_layer}), teacher_layers=frozenset({self.teacher_layer}), rows=2
        )

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes a new projector where the widths differ.

        Raises:
            ObjectiveError: When the layers cannot be compared.
        """
        check_sides(self, student, teacher, batch)
        self.projector = matched(*sides(self, student, teacher), "pkd", self.student_layer, self.teacher_layer)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, ""]:
        """Half the mean squared difference of the standardised layers of the rows that the mask counts.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        learnt, taught = same_resolution(*sides(self, student, teacher))
        learnt = through(ready(self.projector, self), learnt)
        ours, theirs = (_standardised(_counted(side, batch)) for side in (learnt, taught))
        return (ours - theirs).square().sum() / max(ours.numel(), 1) / 2


def _counted(features: Float[Tensor, "rows ..."], batch: Batch) -> Float[Tensor, "values width"]:
    """The vectors of all counted rows' places, or of the counted positions."""
    return by_position(features)[batch.mask].flatten(0, -2) if batch.mask.ndim == 1 else features[batch.mask]


def _standardised(values: Float[Tensor, "values width"]) -> Float[Tensor, "values width"]:
    """Every channel with mean 0 and deviation 1; one that never changes as zeros."""
    apart = values - values.sum(dim=0) / max(len(values), 1)
    variance = apart.square().sum(dim=0) / max(len(values), 1)
    changes = variance > 0
    deviation = torch.where(changes, torch.where(changes, variance, 1.0).sqrt(), 0.0)
    return apart / (deviation + LEAST_DEVIATION)
