"""Knowledge review: the student's deep layers, fused into its shallower ones, learn from the teacher's shallow ones.

Chen, Liu, Zhao, Jia, 2021 (ReviewKD), https://arxiv.org/abs/2104.09044, section 3: from the deepest stage to the first,
attention-based fusion (ABF) adds what came from the deeper stages to the student's own layer, each weighted place by
place; hierarchical context loss (HCL) compares the outcome with the teacher's layer at the full resolution and pooled
to 4x4, 2x2 and 1x1, with weights 1, 1/2, 1/4 and 1/8, divided by their sum. Read: memory; a copy of the authors' code.
As in that code a level is left out where the layer is not larger, the stages are added, and the width within is that
of the student's deepest layer, up to 512. Its weights are 0.6 to 8 (CIFAR-100), rising over the first 20 epochs.
Deviations:
- their code normalises by batch after the 1x1 and 3x3 convolutions, so that a row's value depends on the other rows;
  here nothing is normalised and the convolutions have biases;
- their code brings the fused layer to the teacher's resolution; here the larger of the two is pooled to the smaller, as
  in `hint`;
- the deeper stages' outcome is repeated (nearest neighbour) up to the next resolution, as there; where that is no whole
  multiple, a place is the mean of those it covers.
"""

from typing import Annotated

import torch
from annotated_types import Ge, MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor, nn

from limbeck.alignment import (
    arranged,
    as_image,
    beside,
    check_grid,
    check_sequence,
    ready,
    resized,
    same_resolution,
    seeded,
    through,
)
from limbeck.errors import ObjectiveError
from limbeck.objective import Needs, Objective
from limbeck.precision import wide
from limbeck.signals import Batch, Signals

# Both from the authors' code.
WIDEST, LEVELS = 512, (4, 2, 1)


class Review(Objective):
    """Distance of several of the teacher's layers from the student's, each fused with the student's deeper ones.

    Layers are images; a sequence is taken for the patches of a square picture, flat features for a picture of one
    place. The fusions are made in `setup`, train with the student and are saved with this objective.

    Args:
        student_layers: Names of layers in the student's network, the shallowest first.
        teacher_layers: Names of as many layers in the teacher's network, each beside its own.
        student_prefix: Leading tokens of the student's sequences that stand for no patch, such as 1 class token.
        teacher_prefix: The same of the teacher's sequences.
    """

    family = "features"
    formula = "Σ over stages of HCL(fusion(student layer, fusion of the deeper ones), teacher layer)"

    @validate_call
    def __init__(
        self,
        student_layers: Annotated[tuple[Annotated[str, MinLen(1)], ...], MinLen(1)],
        teacher_layers: Annotated[tuple[Annotated[str, MinLen(1)], ...], MinLen(1)],
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__()
        self.student_layers, self.teacher_layers = student_layers, teacher_layers
        self.student_prefix, self.teacher_prefix = student_prefix, teacher_prefix
        self.fusions: nn.ModuleList | None = None
        if len(student_layers) != len(teacher_layers):
            raise ObjectiveError(
                f"{self!r} has {len(student_layers)} layers of the student and {len(teacher_layers)} of the teacher",
                expected="as many of the one as of the other",
            )

    def needs(self) -> Needs:
        """All layers."""
        return Needs(student_layers=frozenset(self.student_layers), teacher_layers=frozenset(self.teacher_layers))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes new fusions from the shapes of the layers.

        Raises:
            ObjectiveError: When a layer is no image and cannot be laid out as one, or the mask counts positions.
        """
        if batch.mask.ndim > 1:
            raise ObjectiveError(f"{self!r} cannot compare images position by position", expected="a mask of rows")
        _check(student, self.student_layers, "student", self.student_prefix)
        _check(teacher, self.teacher_layers, "teacher", self.teacher_prefix)
        learnt = [_image(student, layer, self.student_prefix) for layer in self.student_layers]
        taught = [_image(teacher, layer, self.teacher_prefix) for layer in self.teacher_layers]
        within = min(WIDEST, learnt[-1].shape[1])
        with seeded("review", *self.student_layers, *self.teacher_layers):
            fusions = [
                Fusion(ours.shape[1], within, theirs.shape[1], deepest=ours is learnt[-1])
                for ours, theirs in zip(learnt, taught, strict=True)
            ]
        self.fusions = nn.ModuleList(beside(fusion, learnt[0]) for fusion in fusions)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The sum over stages of each row's hierarchical context loss.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        ready(self.fusions, self)
        assert self.fusions is not None
        deeper, losses = None, []
        stages = list(zip(self.student_layers, self.teacher_layers, self.fusions, strict=True))
        for ours, theirs, fusion in reversed(stages):
            assert isinstance(fusion, Fusion)
            deeper = fusion.fused(_image(student, ours, self.student_prefix), deeper)
            fused, taught = same_resolution(deeper, _image(teacher, theirs, self.teacher_prefix).detach())
            losses.append(_context_loss(fusion.outcome(fused), taught))
        return torch.stack(losses).sum(dim=0)


class Fusion(nn.Module):
    """Attention-based fusion of a stage with what came from the deeper ones.

    Args:
        ours: Channels of the student's layer.
        within: Channels of what goes from stage to stage.
        theirs: Channels of the teacher's layer.
        deepest: Whether nothing comes from deeper stages.
    """

    def __init__(self, ours: int, within: int, theirs: int, deepest: bool) -> None:
        super().__init__()
        self.own = nn.Conv2d(ours, within, kernel_size=1)
        self.attention = None if deepest else nn.Conv2d(2 * within, 2, kernel_size=1)
        self.out = nn.Conv2d(within, theirs, kernel_size=3, padding=1)

    def fused(
        self, layer: Float[Tensor, "rows ours height width"], deeper: Float[Tensor, "rows within ..."] | None
    ) -> Float[Tensor, "rows within height width"]:
        """The layer and the deeper stages' outcome, each weighted place by place."""
        own = through(self.own, layer)
        if self.attention is None or deeper is None:
            return own
        deeper = resized(deeper, *own.shape[2:])
        ours, theirs = self.attention(torch.cat((own, deeper), dim=1)).sigmoid().split(1, dim=1)
        return own * ours + deeper * theirs

    def outcome(self, fused: Float[Tensor, "rows within height width"]) -> Float[Tensor, "rows theirs height width"]:
        """What is compared with the teacher's layer."""
        return through(self.out, fused)


def _check(said: Signals, layers: tuple[str, ...], side: str, prefix: int) -> None:
    for layer in layers:
        features = said.features[layer]
        if not 2 <= features.ndim <= 4:
            raise ObjectiveError(f"the {side}'s layer {layer} says {tuple(features.shape)}", expected="an image")
        if features.ndim == 3:
            check_sequence(features, layer, "tokens", prefix)
            check_grid(arranged(features, "tokens", prefix), layer, side, prefix)


def _image(said: Signals, layer: str, prefix: int) -> Float[Tensor, "rows channels height width"]:
    features = wide(arranged(said.features[layer], "tokens", prefix))
    return features[:, :, None, None] if features.ndim == 2 else as_image(features)


def _context_loss(
    fused: Float[Tensor, "rows channels height width"], taught: Float[Tensor, "rows channels height width"]
) -> Float[Tensor, " rows"]:
    """Mean squared differences at several resolutions, each level weighing half of the one before."""
    difference = fused - taught
    values, weights = [difference.square().flatten(1).mean(dim=1)], [1.0]
    for level in LEVELS:
        if level < min(difference.shape[2:]):
            # Averaging is linear, so that the difference is pooled once.
            values.append(resized(difference, level, level).square().flatten(1).mean(dim=1))
            weights.append(weights[-1] / 2)
    return torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum(dim=0) / sum(
        weights
    )
