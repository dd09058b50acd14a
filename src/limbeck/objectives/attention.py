"""Attention transfer: the student looks at the same places as the teacher, whatever it sees there.

Zagoruyko, Komodakis, 2016, https://arxiv.org/abs/1612.03928, section 3.1, equation 2: the map of a layer is the sum
over channels of |A|^p, with p = 2, divided by its own length. Read: memory; a copy of the authors' code.
The value is the authors' code's: the mean over places of the squared difference of the two maps; there its weight is
β = 1000 for each of three layers.
Deviations:
- the paper writes β / 2 times the length of the difference, not squared; the authors' code takes the mean of the
  squares, and so does this;
- the larger of two maps is first brought to the resolution of the smaller by adaptive average pooling of its features;
  the paper compares layers of the same resolution;
- a sequence has a map of its steps.
"""

import math
from typing import Annotated

from annotated_types import Ge, Lt, MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor, where

from limbeck.alignment import Layout, by_position, check_sides, same_resolution, sides, unit
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Attention(Objective):
    """Mean squared difference of two layers' normalised maps of attention.

    Features may be images or sequences, of any width and resolution, as in `hint`; there is no projector.

    Args:
        student_layer: Name of a layer in the student's network.
        teacher_layer: Name of a layer in the teacher's network.
        power: Exponent of the activations; a larger one looks more at the strongest places.
        student_layout: Of a sequence in the student: "tokens" is (rows, steps, width), "channels" (rows, width, steps).
        teacher_layout: The same of the teacher's layer.
        student_prefix: Leading tokens of the student's sequence that stand for no step, such as 1 class token.
        teacher_prefix: The same of the teacher's sequence.
    """

    family = "features"
    formula = "mean over places of (Q(student) − Q(teacher))², Q = map / ||map||, map = Σ over channels of |feature|^p"

    @validate_call
    def __init__(
        self,
        student_layer: Annotated[str, MinLen(1)],
        teacher_layer: Annotated[str, MinLen(1)],
        power: Annotated[float, Ge(1), Lt(math.inf)] = 2.0,
        student_layout: Layout = "tokens",
        teacher_layout: Layout = "tokens",
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.power = power
        self.student_layout, self.teacher_layout = student_layout, teacher_layout
        self.student_prefix, self.teacher_prefix = student_prefix, teacher_prefix

    def needs(self) -> Needs:
        """The two layers."""
        return Needs(student_layers=frozenset({self.student_layer}), teacher_layers=frozenset({self.teacher_layer}))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Checks that both layers have places to look at.

        Raises:
            ObjectiveError: When one has none, or they cannot be compared.
        """
        check_sides(self, student, teacher, batch, whole_rows=True)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The mean squared difference of each row's maps."""
        learnt, taught = same_resolution(*sides(self, student, teacher))
        return (self._map(learnt) - self._map(taught).to(learnt.dtype)).square().mean(dim=-1)

    def _map(self, features: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows places"]:
        sizes = by_position(features).abs()
        # A map does not depend on the scale of a row, so that powers are taken of numbers up to 1.
        largest = sizes.detach().amax(dim=(1, 2), keepdim=True)
        return unit((sizes / where(largest > 0, largest, 1.0)).pow(self.power).sum(dim=-1))
