"""Distillation for the teacher's classifier: the student's last features are brought to say what the teacher's say.

Chen, Mei, Zhang, Wang, Feng, Chen, 2022 (SimKD), https://arxiv.org/abs/2203.14001, section 3.2, equation 3: the squared
distance between the teacher's features before its classifier and the student's through a projector, with no other term.
Read: memory; a copy of the authors' code.
The projector is that of their code: a 1x1, a 3x3 and a 1x1 convolution, the middle ones narrower than the teacher's
layer by `narrowing`, ReLU between them; for flat features and sequences three linear maps.
The student of the paper answers with this projector and the teacher's own classifier. That is the student
`reused(...)`, which has both in it, with `projected=True` here. In any other student they are no part of it, and its
own classifier learns nothing from this term: put another beside it, such as `kd`.
Deviations:
- their code normalises by batch after each convolution, so that a row's value depends on the other rows; here nothing
  is normalised and the maps have biases;
- their code ends in a ReLU, as the teacher's features do; here the last map is linear, since other teachers' features
  may be negative;
- the mean over the layer, as their code takes it.
"""

from typing import Annotated

from annotated_types import Ge, MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor, nn

from limbeck.alignment import Layout, bottleneck, check_sides, ready, same_resolution, sides, through, width_of
from limbeck.errors import ObjectiveError
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class SimKD(Objective):
    """Mean squared difference of a teacher's layer and a student's layer through a projector of three maps.

    Features may be flat, sequences or images, as in `hint`. The projector is made in `setup`, trains with the student
    and is saved with this objective.

    Args:
        student_layer: Name of the student's layer before its classifier.
        teacher_layer: Name of the teacher's.
        narrowing: How many times narrower than the teacher's layer the projector is within; 2 is the paper's.
        projected: The student's layer is a projector's, such as that of `reused`; none is made.
        student_layout: Of a sequence in the student: "tokens" is (rows, steps, width), "channels" (rows, width, steps).
        teacher_layout: The same of the teacher's layer.
        student_prefix: Leading tokens of the student's sequence that stand for no step, such as 1 class token.
        teacher_prefix: The same of the teacher's sequence.
    """

    family = "features"
    formula = "mean of (projector(student layer) − teacher layer)²"

    @validate_call
    def __init__(
        self,
        student_layer: Annotated[str, MinLen(1)],
        teacher_layer: Annotated[str, MinLen(1)],
        narrowing: Annotated[int, Ge(1)] = 2,
        student_layout: Layout = "tokens",
        teacher_layout: Layout = "tokens",
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
        projected: bool = False,
    ) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.narrowing, self.projected = narrowing, projected
        self.student_layout, self.teacher_layout = student_layout, teacher_layout
        self.student_prefix, self.teacher_prefix = student_prefix, teacher_prefix
        self.projector: nn.Module | None = None

    def needs(self) -> Needs:
        """The two layers."""
        return Needs(student_layers=frozenset({self.student_layer}), teacher_layers=frozenset({self.teacher_layer}))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes a new projector from the shapes of the two layers, where the student has none.

        Raises:
            ObjectiveError: When the layers cannot be compared.
        """
        check_sides(self, student, teacher, batch)
        learnt, taught = sides(self, student, teacher)
        if not self.projected:
            self.projector = bottleneck(learnt, taught, self.narrowing, "simkd", self.student_layer, self.teacher_layer)
        elif width_of(learnt) == width_of(taught):
            self.projector = nn.Identity()
        else:
            raise ObjectiveError(
                f"{self!r} makes no projector, and {self.student_layer} is {width_of(learnt)} wide",
                expected=f"the width of the teacher's {self.teacher_layer}, {width_of(taught)}",
                remedy="student: reused(...), whose layer `projector` has that width",
            )

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The mean squared difference of each row, or of each position where the mask counts positions.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        learnt, taught = same_resolution(*sides(self, student, teacher))
        difference = through(ready(self.projector, self), learnt) - taught
        return difference.square().flatten(batch.mask.ndim).mean(dim=-1)
