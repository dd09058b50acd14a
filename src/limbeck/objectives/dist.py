"""Distillation from a stronger teacher: the student's probabilities rise and fall with the teacher's, by row and class.

Huang, You, Wang, Qian, Xu, NeurIPS 2022, https://arxiv.org/abs/2205.10536, section 3 (DIST). Read: memory for the
paper, copy for the authors' code (hunto/image_classification_sota, hunto/DIST_KD), whose weights 1 and 1 and whose lack
of a temperature are the defaults. With a temperature T² stands before both parts, as in MMRazor's copy of it.
Pearson's correlation knows neither the level nor the spread of what it compares, so that a student need not reach the
probabilities of a much larger teacher.
Deviations:
- a row whose probabilities are all alike, and a class that every counted row gives the same probability (but for
  rounding), has no correlation: it counts as distance 0 and gets no gradient. The authors add 1e-8 to the denominator,
  by which such a one costs 1 and equal models do not cost 0.
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import tempered
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals

_ROUNDINGS = 16  # a deviation from the mean this many roundings wide is taken for none


class DIST(Objective):
    """1 − Pearson's correlation of the models' probabilities, over the classes of each row and the rows of each class.

    Args:
        beta: Weight of the distance over the classes of a row (inter-class), averaged over the rows.
        gamma: Weight of the distance over the rows of a class (intra-class), averaged over the classes.
        temperature: Divides both models' logits before the softmax.
    """

    family = "relations"
    formula = "T² · (beta · mean over rows of (1 − r) + gamma · mean over classes of (1 − r)), r of probabilities at T"
    factor = "T²"
    per_row = False

    @validate_call
    def __init__(
        self,
        beta: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        gamma: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0,
    ) -> None:
        super().__init__()
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def needs(self) -> Needs:
        """The teacher's dense logits, and two rows, without which no class varies."""
        return Needs(logits=True, meaning=frozenset({"classes"}), rows=2)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, ""]:
        """T² times the weighted sum of both distances, for the rows that the mask counts."""
        assert student.logits is not None and teacher.logits is not None
        ours, theirs = (
            tempered(said[batch.mask], self.temperature).exp() for said in (student.logits, teacher.logits.detach())
        )
        theirs = theirs.to(ours.dtype)
        distance = self.beta * _distance(ours, theirs) + self.gamma * _distance(ours.mT, theirs.mT)
        return self.temperature**2 * distance


def _distance(ours: Float[Tensor, "n width"], theirs: Float[Tensor, "n width"]) -> Float[Tensor, ""]:
    """The mean over the lines of 1 minus the correlation along each; a line without one adds 0."""
    (first, varies), (second, too) = _standard(ours), _standard(theirs)
    distances = 1 - (first * second).sum(dim=1)
    return torch.where(varies & too, distances, 0.0).sum() / max(len(ours), 1)


def _standard(lines: Float[Tensor, "n width"]) -> tuple[Tensor, Tensor]:
    """Every line with mean 0 and length 1, and whether it varies at all; where it does not, zeros without gradient."""
    centred = lines - lines.sum(dim=1, keepdim=True) / max(lines.shape[1], 1)
    squares, limits = centred.square().sum(dim=1), torch.finfo(lines.dtype)
    # Below the second bound the gradient of the length could overflow.
    rounding = (_ROUNDINGS * limits.eps) ** 2 * lines.square().sum(dim=1)
    varies = (squares > rounding) & (squares > limits.tiny)
    length = torch.where(varies, squares, 1.0).sqrt()
    return torch.where(varies[:, None], centred, 0.0) / length[:, None], varies
