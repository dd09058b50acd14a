"""Directions of features: the student's layer points where the teacher's points, at any length.

Sanh, Debut, Chaumond, Wolf, 2019 (DistilBERT), https://arxiv.org/abs/1910.01108, section 2 (training loss): a cosine
embedding loss between hidden states, 1 − cos for each token. Read: memory.
Deviations:
- a projector stands before the student's layer where the widths differ; DistilBERT's widths are the same;
- lengths and resolutions are brought together as in `hint`; a row's value is the mean over its steps or places;
- a vector of zeros has no direction: its cosine counts as 0 and it gets no gradient.
"""

from typing import Annotated

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
    unit,
)
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Cosine(Objective):
    """One minus the cosine between a student's layer and a teacher's, averaged over steps or places.

    Features may be flat, sequences or images, as in `hint`; a place of an image has the vector of its channels. Where
    the widths differ, `setup` makes a projector, which trains with the student and is saved with this objective.

    Args:
        student_layer: Name of a layer in the student's network.
        teacher_layer: Name of a layer in the teacher's network.
        student_layout: Of a sequence in the student: "tokens" is (rows, steps, width), "channels" (rows, width, steps).
        teacher_layout: The same of the teacher's layer.
        student_prefix: Leading tokens of the student's sequence that stand for no step, such as 1 class token.
        teacher_prefix: The same of the teacher's sequence.
    """

    family = "features"
    formula = "1 − cos(student layer, teacher layer), averaged over places"

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
        """The two layers."""
        return Needs(student_layers=frozenset({self.student_layer}), teacher_layers=frozenset({self.teacher_layer}))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes a new projector where the widths differ.

        Raises:
            ObjectiveError: When the layers cannot be compared.
        """
        check_sides(self, student, teacher, batch)
        self.projector = matched(*sides(self, student, teacher), "cosine", self.student_layer, self.teacher_layer)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """One minus the mean cosine of each row, or the cosine of each position where the mask counts positions.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        learnt, taught = same_resolution(*sides(self, student, teacher))
        learnt = through(ready(self.projector, self), learnt)
        ours, theirs = (unit(by_position(side)) for side in (learnt, taught))
        distance = 1 - (ours * theirs).sum(dim=-1)
        return distance if batch.mask.ndim > 1 else distance.mean(dim=-1)
