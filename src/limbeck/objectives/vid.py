"""Variational information distillation: the student's layer predicts the teacher's, and says how surely.

Ahn, Hu, Damianou, Lawrence, Dai, 2019, https://arxiv.org/abs/1904.05835, section 2.2: the mutual information between
two layers is bounded from below by the likelihood of the teacher's layer under a Gaussian whose mean comes from the
student's and whose variance is learnt, one for each channel: softplus(α) + ε. Read: memory; a copy of the authors'
code.
The regressor is that of their code: three 1x1 convolutions (linear maps for flat features and sequences) without bias,
ReLU between them, as wide as the teacher's layer; ε = 1e-5, and the variances start at 5.
Deviations:
- the paper sums over the layer; their code averages, and so does this, so that the value does not grow with the layer;
- as in their code the constant log(2π) / 2 is left out. The value falls below zero where the prediction is good;
- resolutions are brought together as in `hint`.
"""

from typing import Annotated

import torch
from annotated_types import Ge, MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor, nn
from torch.nn.functional import softplus

from limbeck.alignment import (
    Layout,
    beside,
    by_position,
    check_sides,
    ready,
    same_resolution,
    seeded,
    sides,
    through,
    width_of,
)
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals

# Both from the authors' code (init_pred_var and eps).
FIRST_VARIANCE, LEAST_VARIANCE = 5.0, 1e-5


class VID(Objective):
    """Negative log-likelihood of a teacher's layer, predicted from a student's; it may be negative.

    Features may be flat, sequences or images, as in `hint`. Regressor and variances are made in `setup`, train with
    the student and are saved with this objective.

    Args:
        student_layer: Name of a layer in the student's network.
        teacher_layer: Name of a layer in the teacher's network.
        student_layout: Of a sequence in the student: "tokens" is (rows, steps, width), "channels" (rows, width, steps).
        teacher_layout: The same of the teacher's layer.
        student_prefix: Leading tokens of the student's sequence that stand for no step, such as 1 class token.
        teacher_prefix: The same of the teacher's sequence.
    """

    family = "features"
    formula = "½ mean of (regressor(student layer) − teacher layer)² / σ² + log σ², σ² of each channel"

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
        self.regressor: nn.Module | None = None
        self.scale: nn.Parameter | None = None

    def needs(self) -> Needs:
        """The two layers."""
        return Needs(student_layers=frozenset({self.student_layer}), teacher_layers=frozenset({self.teacher_layer}))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes a new regressor and new variances from the shapes of the two layers.

        Raises:
            ObjectiveError: When the layers cannot be compared.
        """
        check_sides(self, student, teacher, batch)
        learnt, taught = sides(self, student, teacher)
        ours, theirs = width_of(learnt), width_of(taught)
        with seeded("vid", self.student_layer, self.teacher_layer):
            maps = [nn.Linear(ours, theirs, False), *(nn.Linear(theirs, theirs, False) for _ in range(2))]
        self.regressor = beside(nn.Sequential(maps[0], nn.ReLU(), maps[1], nn.ReLU(), maps[2]), learnt)
        # The number whose softplus is the first variance.
        self.scale = nn.Parameter(torch.full((theirs,), FIRST_VARIANCE, dtype=learnt.dtype).expm1().log())
        self.scale.data = self.scale.data.to(learnt.device)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The mean negative log-likelihood of each row, or of each position where the mask counts positions.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        regressor = ready(self.regressor, self)
        assert self.scale is not None
        learnt, taught = (by_position(side) for side in same_resolution(*sides(self, student, teacher)))
        variance = softplus(self.scale) + LEAST_VARIANCE
        surprise = (through(regressor, learnt) - taught).square() / variance + variance.log()
        return surprise.flatten(batch.mask.ndim).mean(dim=-1) / 2
