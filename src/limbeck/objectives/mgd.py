"""Masked generative distillation: from a part of what the student sees, the teacher's whole layer shall be guessed.

Yang, Li, Shao, Shi, Yuan, Yuan, 2022, https://arxiv.org/abs/2205.01529, section 3, equations 2 to 6: the student's
layer, brought to the teacher's width by a 1x1 convolution, loses a random share of its places; a 3x3 convolution, ReLU
and a 3x3 convolution make the teacher's layer of it; the squared distance, summed over the layer. Read: memory; a copy
of the authors' code.
The default share 0.65 is that code's for detectors. Its weights are 2e-5 for detectors and 7e-5 for classifiers.
Deviations:
- the paper draws masks from one stream of random numbers; here a row's mask depends on its id, its view, the step, the
  seed and the layers, and on no other row, so that a batch in slices or in another order is masked alike, and a resumed
  training goes on with the same masks;
- their code for classifiers loses channels, 15 of 100, instead of places; here it is always places;
- the 1x1 convolution stands only where the widths differ, as in their code;
- resolutions are brought together as in `hint`; on a sequence the convolutions run along its steps.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Lt, MinLen
from jaxtyping import Bool, Float
from pydantic import validate_call
from torch import Tensor, nn

from limbeck.alignment import (
    Layout,
    beside,
    check_sides,
    matched,
    ready,
    same_resolution,
    seeded,
    sides,
    through,
    width_of,
)
from limbeck.objective import Needs, Objective
from limbeck.replay import Draw
from limbeck.schedules import Moment
from limbeck.signals import Batch, Signals


class MGD(Objective):
    """Squared distance between a teacher's layer and what is made of a masked layer of the student.

    Features may be images or sequences, as in `hint`. The convolutions, and a projector where the widths differ, are
    made in `setup`, train with the student and are saved with this objective.

    Args:
        student_layer: Name of a layer in the student's network.
        teacher_layer: Name of a layer in the teacher's network.
        masked: Share of the places that are lost.
        seed: Another one draws other masks.
        student_layout: Of a sequence in the student: "tokens" is (rows, steps, width), "channels" (rows, width, steps).
        teacher_layout: The same of the teacher's layer.
        student_prefix: Leading tokens of the student's sequence that stand for no step, such as 1 class token.
        teacher_prefix: The same of the teacher's sequence.
    """

    family = "features"
    formula = "Σ (generated from the masked student layer − teacher layer)², summed over the layer"

    @validate_call
    def __init__(
        self,
        student_layer: Annotated[str, MinLen(1)],
        teacher_layer: Annotated[str, MinLen(1)],
        masked: Annotated[float, Ge(0), Lt(1)] = 0.65,
        seed: Annotated[int, Ge(0)] = 0,
        student_layout: Layout = "tokens",
        teacher_layout: Layout = "tokens",
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.masked, self.seed = masked, seed
        self.student_layout, self.teacher_layout = student_layout, teacher_layout
        self.student_prefix, self.teacher_prefix = student_prefix, teacher_prefix
        self.projector: nn.Module | None = None
        self.generator: nn.Module | None = None
        self._step = 0

    def needs(self) -> Needs:
        """The two layers, and ids to draw masks by."""
        return Needs(
            student_layers=frozenset({self.student_layer}), teacher_layers=frozenset({self.teacher_layer}), ids=True
        )

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes new convolutions from the shapes of the two layers.

        Raises:
            ObjectiveError: When a layer has no places, or they cannot be compared.
        """
        check_sides(self, student, teacher, batch, whole_rows=True)
        learnt, taught = sides(self, student, teacher)
        self.projector = matched(learnt, taught, "mgd", self.student_layer, self.teacher_layer)
        kind, width = nn.Conv2d if learnt.ndim == 4 else nn.Conv1d, width_of(taught)
        with seeded("mgd generator", self.student_layer, self.teacher_layer):
            first, second = kind(width, width, 3, padding=1), kind(width, width, 3, padding=1)
        self.generator = beside(nn.Sequential(first, nn.ReLU(), second), learnt)

    def advance(self, moment: Moment) -> None:
        """Draws other masks at another step."""
        self._step = moment.step

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The squared distance of each row.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        learnt, taught = same_resolution(*sides(self, student, teacher))
        learnt = through(ready(self.projector, self), learnt)
        if learnt.ndim == 3:  # a convolution has its width first
            learnt, taught = learnt.mT, taught.mT
        kept = self._kept(batch, learnt.shape[2:].numel()).to(learnt.device).view(-1, 1, *learnt.shape[2:])
        generated = through(ready(self.generator, self), torch.where(kept, learnt, 0.0))
        return (generated - taught).square().flatten(1).sum(dim=-1)

    def _kept(self, batch: Batch, places: int) -> Bool[Tensor, "rows places"]:
        """The places of each row that are not lost: those whose number is not below the masked share."""
        purpose = f"mgd {self.student_layer} {self.teacher_layer}"
        draw = Draw.of(batch.ids, self.seed + (self._step << 32), batch.views, purpose)
        return draw.uniforms(places) >= self.masked
