"""Hint learning: a layer of the student, through a trainable projector, learns to say what a layer of the teacher says.

Romero, Ballas, Kahou, Chassang, Gatta, Bengio, 2014 (FitNets), https://arxiv.org/abs/1412.6550, section 2.2,
equation 3: half the squared distance, summed over the layer, averaged over the rows. Read: memory.
Deviations:
- the paper's regressor is a convolution whose kernel is as large as the difference in resolution asks; here it is a
  1x1 convolution (a linear map for flat features and sequences), and the longer of two sequences, or the larger of two
  resolutions, is first brought to the smaller by adaptive average pooling: place i of n becomes the mean of the places
  from floor(i L / n) up to ceil((i + 1) L / n) of L;
- the paper gives the regressor the teacher layer's nonlinearity; here it is linear;
- the paper trains up to the guided layer on hints alone, then the whole student on soft targets; here the hint is a
  term like any other, beside them (a chain of two runs gives the paper's stages).
"""

from typing import Annotated

from annotated_types import Ge, MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor, nn

from limbeck.alignment import Layout, check_sides, projector, ready, same_resolution, sides, through
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Hint(Objective):
    """Half the squared distance between a student's layer, projected, and a teacher's layer.

    Features may be flat `(rows, width)`, sequences or images `(rows, channels, height, width)`. A sequence is
    `(rows, steps, width)`, as transformers, torch's recurrent layers with `batch_first` and all of Limbeck's students
    for series say it, or `(rows, width, steps)`, as `torch.nn.Conv1d` says it. Three dimensions do not show which it
    is, so that a layer of the second kind needs its layout said; a wrong one would compare steps with channels. The two
    sequences may differ in layout, width and length. They are taken to cover the same stretch of time, from its first
    step to its last; leading tokens that stand for no step (a class token, registers) are left out where their number
    is said. Where the mask counts positions, both must have one step for each, and the value is one for each.

    A sequence beside an image is taken for the patches of a square picture, row by row, and laid out as that picture:
    so a vision transformer and a convolutional network are compared.

    `setup` makes the projector, which trains with the student and is saved with this objective. Its first weights are
    drawn from a seed of their own, made of torch's current seed and the layers' names: another seed of a run gives
    other weights, the same seed the same, and the global generator is left where it was, so that a student with a hint
    and its control without one see the same random numbers.

    Args:
        student_layer: Name of the guided layer in the student's network.
        teacher_layer: Name of the hint layer in the teacher's network.
        student_layout: Of a sequence in the student: "tokens" is (rows, steps, width), "channels" (rows, width, steps).
        teacher_layout: The same of the teacher's layer.
        student_prefix: Leading tokens of the student's sequence that stand for no step, such as 1 class token.
        teacher_prefix: The same of the teacher's sequence.
    """

    family = "features"
    formula = "½ Σ (projector(student layer) − teacher layer)², summed over the layer"

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
        """Makes a new projector from the shapes of the two layers.

        Raises:
            ObjectiveError: When no projector leads from the one shape to the other.
        """
        check_sides(self, student, teacher, batch)
        guided, hint = sides(self, student, teacher)
        self.projector = projector(guided, hint, self.student_layer, self.teacher_layer)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """Half the squared distance of each row, or of each position where the mask counts positions.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        guided, hint = same_resolution(*sides(self, student, teacher))
        difference = through(ready(self.projector, self), guided) - hint
        return difference.square().flatten(batch.mask.ndim).sum(dim=-1) / 2
