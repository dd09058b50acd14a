"""Relational distillation: the student keeps the distances and the angles between the rows of a batch.

Park, Kim, Lu, Cho, 2019, https://arxiv.org/abs/1904.05068, section 3.2.1 (distance-wise) and 3.2.2 (angle-wise), both
through the Huber loss with threshold 1. Read: memory.
The default weights 25 and 50 are those of the paper's classification experiments. Teacher and student may differ in
width; the student's outputs are not projected.
Deviations:
- the paper sums over pairs and triplets of distinct rows; here they are averaged, so that the value does not grow with
  the batch. The authors' code averages too, but over all pairs and triplets, whose repeated rows add zero: this is
  larger than theirs by n / (n - 1) for distances and n² / ((n - 1)(n - 2)) for angles;
- rows that lie on the same point have no direction; their angles count as cosine 0 and get no gradient.
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Lt, MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor
from torch.nn.functional import huber_loss

from limbeck.alignment import points
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class RKD(Objective):
    """Huber loss between the models' pairwise distances (in units of their mean) and between their angles (cosines).

    Args:
        distance: Weight of the distance-wise part.
        angle: Weight of the angle-wise part; 0 saves its cost, which grows with the cube of the batch.
        student_layer: Layer of the student to compare, flattened; None means its logits.
        teacher_layer: Layer of the teacher to compare, flattened; None means its logits.
    """

    family = "relations"
    formula = "distance · mean Huber(d_teacher, d_student) + angle · mean Huber(cos_teacher, cos_student)"
    per_row = False

    @validate_call
    def __init__(
        self,
        distance: Annotated[float, Ge(0), Lt(math.inf)] = 25.0,
        angle: Annotated[float, Ge(0), Lt(math.inf)] = 50.0,
        student_layer: Annotated[str, MinLen(1)] | None = None,
        teacher_layer: Annotated[str, MinLen(1)] | None = None,
    ) -> None:
        super().__init__()
        self.distance, self.angle = distance, angle
        self.student_layer, self.teacher_layer = student_layer, teacher_layer

    def needs(self) -> Needs:
        """The two layers or the teacher's logits, and three rows for an angle, two for a distance."""
        return Needs(
            logits=self.teacher_layer is None,
            student_layers=frozenset() if self.student_layer is None else frozenset({self.student_layer}),
            teacher_layers=frozenset() if self.teacher_layer is None else frozenset({self.teacher_layer}),
            rows=3 if self.angle > 0 else 2,
        )

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, ""]:
        """The weighted sum of both parts for the rows that the mask counts."""
        learnt = _differences(student, self.student_layer, batch)
        taught = _differences(teacher, self.teacher_layer, batch).detach().to(learnt.dtype)
        total = learnt.sum() * 0
        if self.distance > 0:
            total = total + self.distance * _distance_loss(learnt, taught)
        if self.angle > 0:
            total = total + self.angle * _angle_loss(learnt, taught)
        return total


def _differences(signals: Signals, layer: str | None, batch: Batch) -> Float[Tensor, "n n width"]:
    """The vector from every counted row to every other, in at least float32."""
    rows = points(signals, layer, batch)
    return rows[None, :, :] - rows[:, None, :]


def _lengths(differences: Float[Tensor, "n n width"]) -> Float[Tensor, "n n"]:
    """Lengths whose gradient is zero, not infinite, where two rows lie on the same point."""
    squares = differences.square().sum(dim=-1)
    apart = squares > 0
    return torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)


def _distance_loss(learnt: Float[Tensor, "n n width"], taught: Float[Tensor, "n n taught"]) -> Float[Tensor, ""]:
    pairs = ~torch.eye(learnt.shape[0], dtype=torch.bool, device=learnt.device)
    return _mean_over(pairs, huber_loss(_in_means(learnt, pairs), _in_means(taught, pairs), reduction="none"))


def _in_means(differences: Float[Tensor, "n n width"], pairs: Tensor) -> Float[Tensor, "n n"]:
    """Distances in units of their mean over the pairs of distinct rows (section 3.2.1)."""
    lengths = _lengths(differences)
    mean = _mean_over(pairs, lengths)
    return lengths / torch.where(mean > 0, mean, 1.0)


def _angle_loss(learnt: Float[Tensor, "n n width"], taught: Float[Tensor, "n n taught"]) -> Float[Tensor, ""]:
    other = ~torch.eye(learnt.shape[0], dtype=torch.bool, device=learnt.device)
    triplets = other[:, :, None] & other[:, None, :] & other[None, :, :]
    return _mean_over(triplets, huber_loss(_cosines(learnt), _cosines(taught), reduction="none"))


def _cosines(differences: Float[Tensor, "n n width"]) -> Float[Tensor, "n n n"]:
    """The cosine at row j between the directions to rows i and k, at [j, i, k]."""
    lengths = _lengths(differences)[..., None]
    apart = lengths > 0
    directions = torch.where(apart, differences / torch.where(apart, lengths, 1.0), 0.0)
    return directions @ directions.transpose(1, 2)


def _mean_over(chosen: Tensor, values: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """The mean of the chosen values; zero where none is."""
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp(min=1)
