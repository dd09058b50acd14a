"""Multi-level logit distillation: predictions agree row by row, in how rows and in how classes are like each other.

Jin, Wang, Lin, CVPR 2023, "Multi-level logit distillation", section 3:
https://openaccess.thecvf.com/content/CVPR2023/html/Jin_Multi-Level_Logit_Distillation_CVPR_2023_paper.html
Read: memory for the paper, copy for the authors' code (Jin-Ying/Multi-Level-Logit-Distillation). The prediction
augmentation is the list of temperatures: every level is summed over them. Its default is that of the code.
With n counted rows of K classes and their probabilities P (n, K) of one model at one temperature:

    instance   T² / n · Σ of KL(teacher || student) over the rows
    batch      1 / n · the squared entries of P Pᵀ (teacher) − P Pᵀ (student), summed
    classes    1 / K · the squared entries of Pᵀ P (teacher) − Pᵀ P (student), summed

As in the code only the KL has T². The batch level grows with n and the class level with n²: the authors' batches have
64 rows, and another size asks for other weights.
Deviations:
- no thresholds. The authors' code marks the rows where the teacher is no surer than in the median row, and the classes
  with no more probability than the median class, but multiplies the marks into levels that are summed over all rows
  and classes already, which comes to a factor of about a half;
- nor that factor, nor the weight 0.9 of all levels together, beside 0.1 for the labels;
- the code shows every row twice, weakly and strongly augmented, and adds the instance level of both; here rows come as
  the run's augmentation makes them.
"""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Lt, MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl, tempered
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class MLKD(Objective):
    """KL of each row, and squared distances of the Gram matrices of rows and of classes, at several temperatures.

    Args:
        by_instance: Weight of the KL of each row.
        by_batch: Weight of the level that compares how alike rows are.
        by_class: Weight of the level that compares how alike classes are.
        temperatures: Each divides both models' logits before the softmax; the levels are summed over them.
    """

    family = "soft targets"
    formula = "Σ over T of by_instance · T² KL + by_batch · ‖Δ P Pᵀ‖² / rows + by_class · ‖Δ Pᵀ P‖² / classes"
    weights = ("by_instance", "by_batch", "by_class")
    factor = "T² on the KL"
    per_row = False

    @validate_call
    def __init__(
        self,
        by_instance: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        by_batch: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        by_class: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        temperatures: Annotated[tuple[Annotated[float, Gt(0), Lt(math.inf)], ...], MinLen(1)] = (
            2.0,
            3.0,
            4.0,
            5.0,
            6.0,
        ),
    ) -> None:
        super().__init__()
        self.by_instance, self.by_batch, self.by_class = by_instance, by_batch, by_class
        self.temperatures = temperatures

    def needs(self) -> Needs:
        """The teacher's dense logits, and two rows, without which no row is like another."""
        return Needs(logits=True, meaning=frozenset({"classes"}), rows=2)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, ""]:
        """The weighted levels, summed over the temperatures, for the rows that the mask counts."""
        assert student.logits is not None and teacher.logits is not None
        ours, theirs = student.logits[batch.mask], teacher.logits.detach()[batch.mask]
        levels = [self._levels(tempered(theirs, each), tempered(ours, each), each) for each in self.temperatures]
        return sum(levels[1:], start=levels[0])

    def _levels(
        self, teacher: Float[Tensor, "n classes"], student: Float[Tensor, "n classes"], temperature: float
    ) -> Float[Tensor, ""]:
        rows, classes = max(len(student), 1), student.shape[1]
        theirs, ours = teacher.exp().to(student.dtype), student.exp()
        return (
            self.by_instance * temperature**2 * kl(teacher, student).sum() / rows
            + self.by_batch * (theirs @ theirs.mT - ours @ ours.mT).square().sum() / rows
            + self.by_class * (theirs.mT @ theirs - ours.mT @ ours).square().sum() / classes
        )
