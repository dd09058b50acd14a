"""Centred kernel alignment: the rows of a batch are as similar to each other in the student as they are in the teacher.

Kornblith, Norouzi, Lee, Hinton, 2019, https://arxiv.org/abs/1905.00414, section 3, linear CKA:
⟨K, L⟩ / (||K|| ||L||), with K and L the products of all pairs of centred rows. Read: memory.
The paper measures similarity with it; the value is 1 − CKA. It is the same for features turned, or scaled as a whole.
Deviation: rows that all lie on one point have no similarity to compare; CKA counts as 0 and gives no gradient.
It is biased towards 1 where the batch is small beside the width of the layers.
"""

from typing import Annotated

import torch
from annotated_types import MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.alignment import points
from limbeck.errors import ObjectiveError
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class CKA(Objective):
    """One minus linear CKA of two layers, flattened; they may differ in every dimension but the rows.

    Where the mask counts positions, the positions it counts are compared, and both layers must say a vector for each.

    Args:
        student_layer: Name of a layer in the student's network.
        teacher_layer: Name of a layer in the teacher's network.
    """

    family = "relations"
    formula = "1 − ⟨K, L⟩ / (||K|| ||L||), K = XXᵀ of the centred student layer X, L of the teacher's"
    per_row = False

    @validate_call
    def __init__(self, student_layer: Annotated[str, MinLen(1)], teacher_layer: Annotated[str, MinLen(1)]) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer

    def needs(self) -> Needs:
        """The two layers, and three rows: any two are aligned."""
        return Needs(
            student_layers=frozenset({self.student_layer}), teacher_layers=frozenset({self.teacher_layer}), rows=3
        )

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Checks that the layers say something about each position that the mask counts.

        Raises:
            ObjectiveError: When one does not.
        """
        for layer, said in ((self.student_layer, student.features), (self.teacher_layer, teacher.features)):
            if said[layer].shape[: batch.mask.ndim] != batch.mask.shape:
                raise ObjectiveError(
                    f"{self!r}: the layer {layer} says {tuple(said[layer].shape)}",
                    expected=f"a vector for each position of the mask: {tuple(batch.mask.shape)} and a width",
                    remedy="name a layer that says one vector for each position",
                )

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, ""]:
        """One minus the alignment of the rows that the mask counts."""
        learnt = _similarities(student, self.student_layer, batch)
        taught = _similarities(teacher, self.teacher_layer, batch).detach().to(learnt.dtype)
        return 1 - (learnt * taught).sum()


def _similarities(signals: Signals, layer: str, batch: Batch) -> Float[Tensor, "n n"]:
    """Products of all pairs of centred rows, as a matrix of norm 1; zeros where the rows lie on one point."""
    rows = points(signals, layer, batch)
    centred = rows - rows.sum(dim=0) / max(len(rows), 1)
    size, spread = rows.detach().square().sum().sqrt(), centred.square().sum()
    # A spread that rounding alone could make is none.
    apart = spread.detach().sqrt() > 8 * torch.finfo(rows.dtype).eps * size
    products = centred @ centred.mT / torch.where(apart, spread, 1.0)
    norm = torch.where(apart, products.square().sum(), 1.0).sqrt()
    return torch.where(apart, products / norm, 0.0)
