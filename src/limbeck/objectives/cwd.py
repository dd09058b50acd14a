"""Channel-wise distillation: each channel of the student is strong where the teacher's channel is.

Shu, Liu, Gao, Yan, Shen, 2021, https://arxiv.org/abs/2011.13256, section 3.2, equations 3 to 5: a channel becomes a
distribution over places by a softmax at a temperature; T² / C times the sum over the C channels of
KL(teacher || student). Read: memory; a copy of mmrazor's code.
The default temperature 4 is the paper's for feature maps (section 4); mmrazor's settings have 1.
Deviations:
- the paper's 1x1 convolution for students of another width stands here only where the widths differ;
- resolutions are brought together as in `hint`;
- a sequence's channel is a distribution over its steps.
"""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Lt, MinLen
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
from limbeck.divergences import kl, tempered
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class CWD(Objective):
    """KL(teacher || student) in nats of where each channel is strong, averaged over channels, times T².

    Features may be images or sequences, as in `hint`. Where the widths differ, `setup` makes a projector, which trains
    with the student and is saved with this objective.

    Args:
        student_layer: Name of a layer in the student's network.
        teacher_layer: Name of a layer in the teacher's network.
        temperature: Divides both models' features before the softmax over places.
        student_layout: Of a sequence in the student: "tokens" is (rows, steps, width), "channels" (rows, width, steps).
        teacher_layout: The same of the teacher's layer.
        student_prefix: Leading tokens of the student's sequence that stand for no step, such as 1 class token.
        teacher_prefix: The same of the teacher's sequence.
    """

    family = "features"
    formula = "T² · mean over channels of KL(softmax over places(teacher / T) || softmax over places(student / T))"
    factor = "T²"

    @validate_call
    def __init__(
        self,
        student_layer: Annotated[str, MinLen(1)],
        teacher_layer: Annotated[str, MinLen(1)],
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 4.0,
        student_layout: Layout = "tokens",
        teacher_layout: Layout = "tokens",
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.temperature = temperature
        self.student_layout, self.teacher_layout = student_layout, teacher_layout
        self.student_prefix, self.teacher_prefix = student_prefix, teacher_prefix
        self.projector: nn.Module | None = None

    def needs(self) -> Needs:
        """The two layers."""
        return Needs(student_layers=frozenset({self.student_layer}), teacher_layers=frozenset({self.teacher_layer}))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes a new projector where the widths differ.

        Raises:
            ObjectiveError: When a layer has no places, or they cannot be compared.
        """
        check_sides(self, student, teacher, batch, whole_rows=True)
        self.projector = matched(*sides(self, student, teacher), "cwd", self.student_layer, self.teacher_layer)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the mean divergence of each row's channels, in nats.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        learnt, taught = same_resolution(*sides(self, student, teacher))
        learnt = through(ready(self.projector, self), learnt)
        theirs, ours = (tempered(by_position(side).mT, self.temperature) for side in (taught, learnt))
        return self.temperature**2 * kl(theirs, ours).mean(dim=-1)
