"""MiniLMv2: queries relate to queries, keys to keys and values to values in the student as in the teacher.

Wang, Bao, Huang, Dong, Wei, 2020, https://arxiv.org/abs/2012.15828, section 3.1: the vectors of all heads are joined
and split anew into relation heads, so that the two models may have any numbers of attention heads. Read: memory; the
abstract, a copy. The paper takes 48 relation heads for teachers of base size and 64 for large ones, the last layer of
the student, and for a large teacher one of its upper middle layers (section 3.2).
Deviations:
- where the mask counts positions, each is a value of its own, so that a long row weighs more than a short one; where it
  counts rows, the tokens of a row are averaged, padding among them.
"""

import math
from typing import Annotated

from annotated_types import Ge, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl
from limbeck.errors import ObjectiveError
from limbeck.heads import Projections, attended, by_place, check_tokens, projected, relations, visible
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class MiniLMv2(Objective):
    """KL(teacher || student) in nats of the relations of queries, of keys and of values, averaged over relation heads.

    Queries, keys and values are what the layers say: positions that a network turns into them later (rotary, relative)
    are not seen.

    Args:
        student_layers: Layers that say the queries, the keys and the values of one attention of the student: three
            names; or one name, ("attention.qkv",), of a layer that says them side by side.
        teacher_layers: The same of the teacher.
        heads: Relation heads; the width of each part in each model is a multiple of it.
        queries: Weight of the relations of queries.
        keys: Weight of the relations of keys.
        values: Weight of the relations of values.
        student_prefix: Leading tokens of the student to leave out, such as class tokens that the teacher has not.
        teacher_prefix: The same of the teacher.
        causal: Whether a token is related to itself and earlier ones only, in both models.
    """

    family = "transformers"
    formula = "Σ over A in {Q, K, V} of w_A · KL(softmax(AAᵀ/√d)), KL(teacher || student), mean over heads and tokens"
    weights = ("queries", "keys", "values")

    @validate_call
    def __init__(
        self,
        student_layers: Projections,
        teacher_layers: Projections,
        heads: Annotated[int, Ge(1)],
        queries: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        keys: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        values: Annotated[float, Ge(0), Lt(math.inf)] = 1.0,
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        for layers in (student_layers, teacher_layers):
            if len(layers) not in (1, 3):
                raise ObjectiveError(
                    f"minilmv2 was given the layers {layers}",
                    expected="(queries, keys, values), or (fused,) for a layer that says all three",
                )
        self.student_layers, self.teacher_layers, self.heads = student_layers, teacher_layers, heads
        self.queries, self.keys, self.values = queries, keys, values
        self.student_prefix, self.teacher_prefix, self.causal = student_prefix, teacher_prefix, causal

    def needs(self) -> Needs:
        """The layers of both attentions."""
        return Needs(student_layers=frozenset(self.student_layers), teacher_layers=frozenset(self.teacher_layers))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Checks that both models say the same tokens.

        Raises:
            ObjectiveError: When they do not.
        """
        check_tokens(self, student, teacher, batch)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The weighted divergences of each row, or of each position where the mask counts positions."""
        ours = projected(student, self.student_layers, self.student_prefix, batch)
        theirs = projected(teacher, self.teacher_layers, self.teacher_prefix, batch)
        seen = visible(batch, ours[0].shape[1], self.causal)
        total = ours[0].new_zeros(ours[0].shape[:2])
        for weight, own, their in zip((self.queries, self.keys, self.values), ours, theirs, strict=True):
            told = their.detach().to(own.dtype)
            learnt, taught = (attended(relations(part, part, self.heads), seen) for part in (own, told))
            total = total + weight * kl(taught, learnt).mean(dim=1)
        return by_place(total, batch)
