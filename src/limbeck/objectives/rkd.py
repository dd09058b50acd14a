"""Relational distillation: the student keeps the distances and the angles between the rows of a batch.

Park, Kim, Lu, Cho, 2019, https://arxiv.org/abs/1904.05068, section 3.2.1 (distance-wise) and 3.2.2 (angle-wise), both
through the Huber loss with threshold 1. Read: memory.
The default weights 25 and 50 are those of the paper's classification experiments. Teacher and student may differ in
width; the student's outputs are not projected.
Deviations:
- the paper sums over pairs and triplets of distinct rows; here they are averaged, so that the value does not grow with
  the batch. The authors' code averages too, but over all pairs and triplets, whose repeated rows add zero: this is
  larger than theirs by n / (n - 1) for distances and n² / ((n - 1)(n - 2)) for angles;
- rows that lie on the same point have no direction; their angles count as cosine 0 and get no gradient. So do rows
  closer to each other than about 6e-8 of the way from the middle of the batch to its farthest row.

The differences between all rows are never laid out: distances come from `pdist`, and the cosines at one row from the
products of all rows with each other, which lose digits where two rows lie close together.
"""

import math
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt, MinLen
from jaxtyping import Float, Int
from pydantic import validate_call
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import huber_loss, pdist

from limbeck.alignment import points
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals

_ROUNDINGS = 16  # a squared distance this many roundings of the products wide is taken for none
_AT_ONCE = 2  # rows whose angles are looked at together: few enough that their n² numbers stay in a processor's cache


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
    weights = ("distance", "angle")
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
        learnt = points(student, self.student_layer, batch)
        taught = points(teacher, self.teacher_layer, batch).detach()
        total = learnt.sum() * 0
        if len(learnt) < 2:  # no pair, and pdist cannot differentiate the distances of no rows
            return total
        ours, theirs = ((rows, pdist(rows)) for rows in (learnt.double(), taught.double()))
        if self.distance > 0:
            total = total + self.distance * _distance_loss(ours[1], theirs[1]).to(total.dtype)
        if self.angle > 0:
            triplets = len(learnt) * (len(learnt) - 1) * (len(learnt) - 2)
            summed = _AngleLoss.apply(*_products(*ours), *_products(*theirs))
            total = total + self.angle * (summed / max(triplets, 1)).to(total.dtype)
        return total


def _distance_loss(learnt: Float[Tensor, " pairs"], taught: Float[Tensor, " pairs"]) -> Float[Tensor, ""]:
    return huber_loss(_in_means(learnt), _in_means(taught))


def _in_means(lengths: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Distances in units of their mean over the pairs of distinct rows (section 3.2.1)."""
    mean = lengths.mean()
    return lengths / torch.where(mean > 0, mean, 1.0)


def _products(rows: Float[Tensor, "n width"], lengths: Float[Tensor, " pairs"]) -> tuple[Tensor, Tensor]:
    """What cosines are made of: the products of all rows, from their middle, and one over their distances.

    Of rows on the same point, and of a row and itself, the latter is 0 and has no gradient.
    """
    centred = rows - rows.mean(dim=0)
    products = centred @ centred.mT
    rounding = torch.finfo(rows.dtype).eps * products.detach().diagonal().amax()
    apart = lengths.detach().square() > _ROUNDINGS * rounding
    inverses = torch.where(apart, 1 / torch.where(apart, lengths, 1.0), 0.0)
    places = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    above = inverses.new_zeros(len(rows), len(rows)).index_put(tuple(places), inverses)
    return products, above + above.mT


def _cosines(
    at: Int[Tensor, " some"], products: Float[Tensor, "n n"], inverses: Float[Tensor, "n n"]
) -> Float[Tensor, "some n n"]:
    """The cosine at row j between the directions to rows i and k, at [j, i, k]: (x_i − x_j)·(x_k − x_j) / lengths."""
    halves = products.diagonal()[at, None] / 2 - products[at]
    inner = products + halves[:, :, None] + halves[:, None, :]
    return inner.mul_(inverses[at, :, None]).mul_(inverses[at, None, :])


class _AngleLoss(torch.autograd.Function):
    """The Huber loss between two models' cosines, summed over all triplets of distinct rows.

    Value and gradient are found together, a few rows at a time, because a graph of operations would keep n³ numbers for
    each. h is the Huber loss's derivative, and the loss is h · (d − h / 2) of a difference d.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, products: Tensor, inverses: Tensor, taught_products: Tensor, taught_inverses: Tensor
    ) -> Tensor:
        total = products.new_zeros(())
        by_product, by_half, by_inverse = (torch.zeros_like(products) for _ in range(3))
        for at in torch.arange(len(products), device=products.device).split(_AT_ONCE):
            cosines = _cosines(at, products, inverses)
            differences = cosines - _cosines(at, taught_products, taught_inverses)
            differences.diagonal(dim1=1, dim2=2).zero_()  # a row and itself are no angle
            slopes = differences.clamp(-1, 1)
            total += torch.dot(slopes.view(-1), differences.view(-1)) - torch.dot(slopes.view(-1), slopes.view(-1)) / 2
            by_inverse[at] = 2 * cosines.mul_(slopes).sum(dim=2)
            slopes.mul_(inverses[at, None, :])
            by_product += slopes.mul_(inverses[at, :, None]).sum(dim=0)
            by_half[at] = 2 * slopes.sum(dim=2)
        by_inverse = torch.where(inverses > 0, by_inverse / torch.where(inverses > 0, inverses, 1.0), 0.0)
        ctx.save_for_backward(by_product - by_half + torch.diag(by_half.sum(dim=1) / 2), by_inverse)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_product, by_inverse = ctx.saved_tensors
        return gradient * by_product, gradient * by_inverse, None, None
