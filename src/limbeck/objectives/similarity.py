"""Similarity preserving: rows that excite a layer of the teacher alike shall excite a layer of the student alike.

Tung, Mori, 2019, https://arxiv.org/abs/1907.09682, section 3, equations 1 to 4: Gram matrices of the batch, each row
brought to length 1, compared by the squared Frobenius norm over b². Read: memory.
The paper weighs this with 3000 beside the cross-entropy (section 4.1); write that weight in front of it. The paper sums
over pairs of layers; add one term for each. Teacher and student may differ in width and in resolution.
Deviation: a row of zeros is like no row and like none of itself: its row of the Gram matrix stays zero.
"""

from typing import Annotated

from annotated_types import MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.alignment import points, unit
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Similarity(Objective):
    """Squared distance between the models' row-normalised Gram matrices, over the square of the rows.

    Args:
        student_layer: Layer of the student to compare, flattened; None means its logits.
        teacher_layer: Layer of the teacher to compare, flattened; None means its logits.
    """

    family = "relations"
    formula = "‖G_teacher − G_student‖² / b², G = rows of A·Aᵀ brought to length 1"
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
        """The two layers or the teacher's logits, and two rows."""
        return Needs(
            logits=self.teacher_layer is None,
            student_layers=frozenset() if self.student_layer is None else frozenset({self.student_layer}),
            teacher_layers=frozenset() if self.teacher_layer is None else frozenset({self.teacher_layer}),
            rows=2,
        )

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, ""]:
        """The squared distance for the rows that the mask counts."""
        learnt = _likeness(student, self.student_layer, batch)
        taught = _likeness(teacher, self.teacher_layer, batch).detach().to(learnt.dtype)
        return (taught - learnt).square().sum() / max(len(learnt), 1) ** 2


def _likeness(signals: Signals, layer: str | None, batch: Batch) -> Float[Tensor, "n n"]:
    """The Gram matrix of the counted rows, each of its rows of length 1, in at least float32."""
    rows = points(signals, layer, batch)
    return unit(rows @ rows.T) if len(rows) else rows @ rows.T
