"""Probabilistic knowledge transfer: the student keeps how likely each row of a batch is to pick each other row.

Passalis, Tefas, 2018, https://arxiv.org/abs/1803.10837, section 3, with the cosine kernel ½(1 + cos) in both models.
Read: memory; of the authors' code (https://github.com/passalis/probabilistic_kt), copies.
Nothing in it has a temperature or a width: teacher and student may differ in width, and there is no projector.
Deviations:
- the paper sums the divergences of all rows; here they are averaged, so that the value does not grow with the batch.
  The authors' code averages over all n² pairs and counts a row as its own neighbour: this is about n times as large;
- a row of zeros has no direction; its cosine with every row counts as 0 and gives no gradient;
- a similarity below 1e-6, of rows that point away from each other, counts as 1e-6 (the authors add 1e-7).
"""

from typing import Annotated

import torch
from annotated_types import MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.alignment import points, unit
from limbeck.divergences import kl
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals

LEAST = 1e-6


class PKT(Objective):
    """KL(teacher || student) in nats between the distributions over the other rows, averaged over the rows.

    Args:
        student_layer: Layer of the student to compare, flattened; None means its logits.
        teacher_layer: Layer of the teacher to compare, flattened; None means its logits.
    """

    family = "relations"
    formula = "mean over rows i of KL(p_teacher(j | i) || p_student(j | i)), p(j | i) = ½(1 + cos_ij) over their sum"
    per_row = False

    @validate_call
    def __init__(
        self,
        student_layer: Annotated[str, MinLen(1)] | None = None,
        teacher_layer: Annotated[str, MinLen(1)] | None = None,
    ) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer

    def needs(self) -> Needs:
        """The two layers or the teacher's logits, and three rows: of two, each has one other to pick."""
        return Needs(
            logits=self.teacher_layer is None,
            student_layers=frozenset() if self.student_layer is None else frozenset({self.student_layer}),
            teacher_layers=frozenset() if self.teacher_layer is None else frozenset({self.teacher_layer}),
            rows=3,
        )

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, ""]:
        """The mean divergence of the rows that the mask counts."""
        learnt = _neighbours(student, self.student_layer, batch)
        taught = _neighbours(teacher, self.teacher_layer, batch).detach().to(learnt.dtype)
        return kl(taught, learnt).sum() / max(len(learnt), 1)


def _neighbours(signals: Signals, layer: str | None, batch: Batch) -> Float[Tensor, "n n"]:
    """Log-probabilities with which a counted row picks each counted row, itself never, in at least float32."""
    directions = unit(points(signals, layer, batch))
    similarities = ((directions @ directions.T + 1) / 2).clamp(min=LEAST)
    itself = torch.eye(len(directions), dtype=torch.bool, device=directions.device)
    # A row alone has nobody to pick but itself, in both models.
    nobody = -torch.inf if len(directions) > 1 else 0.0
    return torch.log_softmax(similarities.log().masked_fill(itself, nobody), dim=1)
