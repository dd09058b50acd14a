"""MiniLM: the student's last attention attends as the teacher's does, and relates its values alike.

Wang, Wei, Dong, Bao, Yang, Zhou, 2020, https://arxiv.org/abs/2002.10957, section 3.1 (equation 6: KL of attention
distributions) and 3.2 (equation 9: KL of value relations), their sum (equation 10), both divided by heads and tokens.
Read: memory.
Deviations:
- the paper's teacher assistant is no part of it: a chain of two runs is one;
- where the mask counts positions, each is a value of its own, so that a long row weighs more than a short one; where it
  counts rows, the tokens of a row are averaged, padding among them.
"""

from typing import Annotated

from annotated_types import Ge
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl
from limbeck.errors import ObjectiveError
from limbeck.heads import Projections, attended, by_place, check_tokens, projected, relations, visible
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class MiniLM(Objective):
    """KL(teacher || student) in nats of attention and of value relations, averaged over heads and tokens.

    The widths of the two models may differ, their numbers of heads may not: `minilmv2` is without this condition.
    Queries, keys and values are what the layers say: positions that a network turns into them later (rotary, relative)
    are not seen.

    Args:
        student_layers: Layers that say the queries, the keys and the values of one attention of the student, usually
            the last: three names; or one name, ("attention.qkv",), of a layer that says them side by side.
        teacher_layers: The same of the teacher.
        heads: Attention heads, of both models.
        student_prefix: Leading tokens of the student to leave out, such as class tokens that the teacher has not.
        teacher_prefix: The same of the teacher.
        causal: Whether a token attends to itself and earlier ones only, in both models.
    """

    family = "transformers"
    formula = "KL(softmax(QKᵀ/√d)) + KL(softmax(VVᵀ/√d)), KL(teacher || student), mean over heads and tokens"

    @validate_call
    def __init__(
        self,
        student_layers: Projections,
        teacher_layers: Projections,
        heads: Annotated[int, Ge(1)],
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        for layers in (student_layers, teacher_layers):
            if len(layers) not in (1, 3):
                raise ObjectiveError(
                    f"minilm was given the layers {layers}",
                    expected="(queries, keys, values), or (fused,) for a layer that says all three",
                )
        self.student_layers, self.teacher_layers, self.heads = student_layers, teacher_layers, heads
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
        """Both divergences of each row, or of each position where the mask counts positions."""
        queries, keys, values = projected(student, self.student_layers, self.student_prefix, batch)
        their_queries, their_keys, their_values = (
            part.detach().to(queries.dtype)
            for part in projected(teacher, self.teacher_layers, self.teacher_prefix, batch)
        )
        seen = visible(batch, queries.shape[1], self.causal)
        total = queries.new_zeros(queries.shape[:2])
        for ours, theirs in (
            ((queries, keys), (their_queries, their_keys)),
            ((values, values), (their_values, their_values)),
        ):
            learnt, taught = (attended(relations(*pair, self.heads), seen) for pair in (ours, theirs))
            total = total + kl(taught, learnt).mean(dim=1)
        return by_place(total, batch)
