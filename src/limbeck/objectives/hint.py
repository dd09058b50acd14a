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

import hashlib
from typing import Annotated, Literal

import torch
from annotated_types import Ge, MinLen
from jaxtyping import Float, Shaped
from pydantic import validate_call
from torch import Tensor, nn

from limbeck.errors import ObjectiveError
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals

Layout = Literal["tokens", "channels"]


class Hint(Objective):
    """Half the squared distance between a student's layer, projected, and a teacher's layer.

    Features may be flat `(rows, width)`, sequences or images `(rows, channels, height, width)`. A sequence is
    `(rows, steps, width)`, as transformers, torch's recurrent layers with `batch_first` and all of Limbeck's students
    for series say it, or `(rows, width, steps)`, as `torch.nn.Conv1d` says it. Three dimensions do not show which it
    is, so that a layer of the second kind needs its layout said; a wrong one would compare steps with channels. The two
    sequences may differ in layout, width and length. They are taken to cover the same stretch of time, from its first
    step to its last; leading tokens that stand for no step (a class token, registers) are left out where their number
    is said. Where the mask counts positions, both must have one step for each, and the value is one for each.

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
        self._check_shapes(student, teacher, batch)
        guided, hint = self._layers(student, teacher)
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
        guided, hint = self._layers(student, teacher)
        given = next(self.projector.parameters()).dtype
        guided, hint = _same_resolution(guided.to(given), hint.to(given))
        said = self.projector(guided)
        difference = said.to(torch.promote_types(said.dtype, torch.float32)) - hint
        return difference.square().flatten(batch.mask.ndim).sum(dim=-1) / 2

    def _seed(self) -> int:
        text = f"{torch.initial_seed()}|{self.student_layer}|{self.teacher_layer}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")

    def _layers(
        self, student: Signals, teacher: Signals
    ) -> tuple[Float[Tensor, "rows ..."], Float[Tensor, "rows ..."]]:
        """The two layers, sequences as (rows, steps, width)."""
        return (
            _arranged(student.features[self.student_layer], self.student_layout, self.student_prefix),
            _arranged(teacher.features[self.teacher_layer].detach(), self.teacher_layout, self.teacher_prefix),
        )

    def _check_shapes(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        guided, hint = student.features[self.student_layer], teacher.features[self.teacher_layer]
        shapes = f"{self.student_layer} {tuple(guided.shape)}, {self.teacher_layer} {tuple(hint.shape)}"
        if guided.ndim != hint.ndim or not 2 <= guided.ndim <= 4:
            raise ObjectiveError(
                f"{self!r} cannot compare these layers: {shapes}",
                expected="both flat (2 dimensions), both sequences (3) or both images (4)",
                remedy="name two layers of the same kind",
            )
        if guided.ndim == 4 and batch.mask.ndim > 1:
            raise ObjectiveError(f"{self!r} cannot compare images position by position", expected="a mask of rows")
        _check_sequence(guided, self.student_layer, self.student_layout, self.student_prefix)
        _check_sequence(hint, self.teacher_layer, self.teacher_layout, self.teacher_prefix)
        if guided.ndim == 3 and batch.mask.ndim > 1:
            lengths = [sequence.shape[1] for sequence in self._layers(student, teacher)]
            if lengths != [batch.mask.shape[1]] * 2:
                raise ObjectiveError(
                    f"{self!r} cannot compare position by position: {shapes}",
                    expected=f"the same number of steps in both as the mask has positions: {batch.mask.shape[1]}",
                    remedy="say layouts and prefixes, or name two layers that say one vector for each position",
                )


def _check_sequence(features: Shaped[Tensor, "rows ..."], layer: str, layout: Layout, prefix: int) -> None:
    """Whether there is a sequence for what was said about one."""
    if features.ndim != 3 and (layout != "tokens" or prefix):
        raise ObjectiveError(
            f"the layer {layer} says {tuple(features.shape)}, which has no steps",
            expected="a sequence, 3 dimensions, where a layout or a prefix is given",
            remedy="leave its layout and its prefix out",
        )
    if features.ndim == 3 and features.shape[2 if layout == "channels" else 1] <= prefix:
        raise ObjectiveError(
            f"the layer {layer} says {tuple(features.shape)}: with layout {layout!r} and {prefix} leading tokens left "
            "out, no step is left",
            expected="at least one step",
            remedy="lower the prefix, or say the other layout",
        )


def _arranged(features: Float[Tensor, "rows ..."], layout: Layout, prefix: int) -> Float[Tensor, "rows ..."]:
    """A sequence as (rows, steps, width) without its leading tokens; anything else as it is."""
    if features.ndim != 3:
        return features
    sequence = features.transpose(1, 2) if layout == "channels" else features
    return sequence[:, prefix:]


def _same_resolution(
    guided: Float[Tensor, "rows ..."], hint: Float[Tensor, "rows ..."]
) -> tuple[Float[Tensor, "rows ..."], Float[Tensor, "rows ..."]]:
    """Pools the steps of a sequence, or height and width, to the smaller of the two; flat features have none."""
    for place in {2: (), 3: (1,), 4: (2, 3)}[guided.ndim]:
        size = min(guided.shape[place], hint.shape[place])
        guided, hint = _pooled(guided, place, size), _pooled(hint, place, size)
    return guided, hint


def _pooled(features: Float[Tensor, "rows ..."], place: int, size: int) -> Float[Tensor, "rows ..."]:
    """Adaptive average pooling of one dimension.

    As a matrix product: torch's own, with bins that overlap, adds its gradient up in no fixed order on a GPU, and a
    resumed run could not end in the same bits.
    """
    length = features.shape[place]
    if length == size:
        return features
    bins, places = torch.arange(size, device=features.device)[:, None], torch.arange(length, device=features.device)
    inside = (places >= bins * length // size) & (places < ((bins + 1) * length + size - 1) // size)
    shares = inside.to(features.dtype) / inside.sum(dim=1, keepdim=True)
    return (features.movedim(place, -1) @ shares.mT).movedim(-1, place)
