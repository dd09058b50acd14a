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

from limbeck.divergences import standardised, tempered
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class DIST(Objective):
    """1 − Pearson's correlation of the models' probabilities, over the classes of each row and the rows of each class.

    Args:
        beta: Weight of the distance over the classes of a row (inter-class), averaged over the rows.
        gamma: Weight of the distance over the rows of a class (intra-class), averaged over the classes.
        temperature: Divides both models' logits before the softmax.
    """

    family = "relations"
    formula = "T² · (beta · mean over rows of (1 − r) + gamma · mean over classes of (1 − r)), r of probabilities at T"
    weights = ("beta", "gamma")
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
        ours, theirs = (self._probabilities(said[batch.mask]) for said in (student.logits, teacher.logits.detach()))
        theirs = theirs.to(ours.dtype)
        distance = self.beta * _distance(ours, theirs) + self.gamma * _distance(ours.mT, theirs.mT)
        return self.temperature**2 * distance

    def _probabilities(self, logits: Float[Tensor, "n classes"]) -> Float[Tensor, "n classes"]:
        """Probabilities, 0 where they are so small, 1e-19 in float32, that their spread may have no finite gradient."""
        likely = tempered(logits, self.temperature).exp()
        return torch.where(likely > torch.finfo(likely.dtype).tiny ** 0.5, likely, 0.0)


def _distance(ours: Float[Tensor, "n width"], theirs: Float[Tensor, "n width"]) -> Float[Tensor, ""]:
    """The mean over the lines of 1 minus the correlation along each; a line without one adds 0."""
    if ours.numel() == 0:
        return ours.sum()
    first, second = standardised(ours), standardised(theirs)
    varies = (first != 0).any(dim=1) & (second != 0).any(dim=1)
    return torch.where(varies, 1 - (first * second).mean(dim=1), 0.0).mean()
