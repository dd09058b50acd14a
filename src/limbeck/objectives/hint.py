"""Hint learning: a layer of the student, through a trainable projector, learns to say what a layer of the teacher says.

Romero, Ballas, Kahou, Chassang, Gatta, Bengio, 2014 (FitNets), https://arxiv.org/abs/1412.6550, section 2.2,
equation 3: half the squared distance, summed over the layer, averaged over the rows. Read: memory.
Deviations:
- the paper's regressor is a convolution whose kernel is as large as the difference in resolution asks; here it is a
  1x1 convolution (a linear map for flat and token features), and the larger of two resolutions is first brought to the
  smaller by adaptive average pooling;
- the paper gives the regressor the teacher layer's nonlinearity; here it is linear;
- the paper trains up to the guided layer on hints alone, then the whole student on soft targets; here the hint is a
  term like any other, beside them (a chain of two runs gives the paper's stages).
"""

import hashlib
from typing import Annotated

import torch
from annotated_types import MinLen
from jaxtyping import Float, Shaped
from pydantic import validate_call
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from limbeck.errors import ObjectiveError
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Hint(Objective):
    """Half the squared distance between a student's layer, projected, and a teacher's layer.

    Features may be flat `(rows, width)`, tokens `(rows, tokens, width)` or images `(rows, channels, height, width)`.
    `setup` makes the projector, which trains with the student and is saved with this objective. Its first weights are
    drawn from a seed of their own, made of torch's current seed and the layers' names: another seed of a run gives
    other weights, the same seed the same, and the global generator is left where it was, so that a student with a hint
    and its control without one see the same random numbers.

    Args:
        student_layer: Name of the guided layer in the student's network.
        teacher_layer: Name of the hint layer in the teacher's network.
    """

    family = "features"
    formula = "½ Σ (projector(student layer) − teacher layer)², summed over the layer"

    @validate_call
    def __init__(self, student_layer: Annotated[str, MinLen(1)], teacher_layer: Annotated[str, MinLen(1)]) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.projector: nn.Module | None = None

    def needs(self) -> Needs:
        """The two layers."""
        return Needs(student_layers=frozenset({self.student_layer}), teacher_layers=frozenset({self.teacher_layer}))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes a new projector from the shapes of the two layers.

        Raises:
            ObjectiveError: When no projector leads from the one shape to the other.
        """
        guided, hint = student.features[self.student_layer], teacher.features[self.teacher_layer]
        self._check_shapes(guided, hint, batch)
        made: nn.Module
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed())
            if guided.ndim == 4:
                made = nn.Conv2d(guided.shape[1], hint.shape[1], kernel_size=1)
            else:
                made = nn.Linear(guided.shape[-1], hint.shape[-1])
        # Never narrower than float32, also when the dry batch ran in bfloat16.
        self.projector = made.to(guided.device, torch.promote_types(guided.dtype, torch.float32))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """Half the squared distance of each row, or of each position where the mask counts positions.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        if self.projector is None:
            raise ObjectiveError(
                f"{self!r} has no projector yet",
                expected="its shapes, from one batch",
                remedy="call objective.setup(student_signals, teacher_signals, batch) before training and loading",
            )
        guided, hint = student.features[self.student_layer], teacher.features[self.teacher_layer].detach()
        given = next(self.projector.parameters()).dtype
        guided, hint = _same_resolution(guided.to(given), hint.to(given))
        said = self.projector(guided)
        difference = said.to(torch.promote_types(said.dtype, torch.float32)) - hint
        return difference.square().flatten(batch.mask.ndim).sum(dim=-1) / 2

    def _seed(self) -> int:
        text = f"{torch.initial_seed()}|{self.student_layer}|{self.teacher_layer}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")

    def _check_shapes(self, guided: Shaped[Tensor, "rows ..."], hint: Shaped[Tensor, "rows ..."], batch: Batch) -> None:
        shapes = f"{self.student_layer} {tuple(guided.shape)}, {self.teacher_layer} {tuple(hint.shape)}"
        if guided.ndim != hint.ndim or not 2 <= guided.ndim <= 4:
            raise ObjectiveError(
                f"{self!r} cannot compare these layers: {shapes}",
                expected="both flat (2 dimensions), both tokens (3) or both images (4)",
                remedy="name two layers of the same kind",
            )
        if guided.ndim == 4 and batch.mask.ndim > 1:
            raise ObjectiveError(f"{self!r} cannot compare images position by position", expected="a mask of rows")
        if guided.ndim == 3 and batch.mask.ndim > 1 and guided.shape[1] != hint.shape[1]:
            raise ObjectiveError(
                f"{self!r} cannot compare position by position: {shapes}", expected="the same number of tokens"
            )


def _same_resolution(
    guided: Float[Tensor, "rows ..."], hint: Float[Tensor, "rows ..."]
) -> tuple[Float[Tensor, "rows ..."], Float[Tensor, "rows ..."]]:
    """Pools each dimension of space to the smaller of the two sizes; flat features have none."""
    if guided.ndim == 4:
        size = (min(guided.shape[2], hint.shape[2]), min(guided.shape[3], hint.shape[3]))
        return adaptive_avg_pool2d(guided, size), adaptive_avg_pool2d(hint, size)
    if guided.ndim == 3 and guided.shape[1] != hint.shape[1]:
        tokens = min(guided.shape[1], hint.shape[1])
        return (
            adaptive_avg_pool2d(guided, (tokens, guided.shape[2])),
            adaptive_avg_pool2d(hint, (tokens, hint.shape[2])),
        )
    return guided, hint
