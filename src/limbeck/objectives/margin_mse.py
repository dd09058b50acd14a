"""Margin distillation for ranking: by how much the right candidate beats each other one, whatever the scores' level.

Hofstätter, Althammer, Schröder, Sertkan, Hanbury, 2020, https://arxiv.org/abs/2010.02666, section 3 (Margin-MSE): the
squared difference between the student's and the teacher's margin of a relevant passage over one that is not, averaged
over triples of a query and both. Read: memory for the paper, copy for the authors' code
(sebastian-hofstaetter/neural-ranking-kd).
Here a row is a query, its outputs are the scores of its candidates, and its label is the number of the relevant one.
Deviations:
- the paper has one candidate beside the relevant one; here each other candidate of the row makes a margin, and the
  squares are averaged over them, so that a row weighs the same however many there are;
- the paper does not mix rows. Of a mixed row (mixup) both labels are the relevant one in turn, weighted by their
  shares, and it counts only where both are known.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from limbeck.divergences import without
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class MarginMSE(Objective):
    """Mean squared difference between both models' margins of the labelled candidate over each other candidate.

    The scores' level is free, their spacing is not: a teacher whose scores are twice as far apart asks for the same of
    its student. Rows without a known label are not counted.
    """

    family = "ranking"
    formula = "mean over the others of ((student right − student other) − (teacher right − teacher other))²"

    def needs(self) -> Needs:
        """The teacher's scores themselves, and labels."""
        return Needs(logits=True, labels=True, meaning=frozenset({"classes"}))

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        """The rows whose label, and whose partner's label where there is one, is known."""
        return batch.labelled

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The mean of each row, in squared units of the scores; rows that are not counted may hold any label."""
        assert student.logits is not None and teacher.logits is not None
        wide = torch.promote_types(student.logits.dtype, torch.float32)
        theirs, ours = teacher.logits.detach().to(wide), student.logits.to(wide)
        return batch.by_label(lambda right: _distance(theirs, ours, right))


def _distance(
    teacher: Float[Tensor, "*rows candidates"], student: Float[Tensor, "*rows candidates"], right: Int[Tensor, "*rows"]
) -> Float[Tensor, "*rows"]:
    theirs, ours = (scores.gather(-1, right[..., None]) - without(scores, right) for scores in (teacher, student))
    return (ours - theirs).square().sum(dim=-1) / max(ours.shape[-1], 1)
