"""Listwise distillation for ranking: how likely the student finds the order in which the teacher puts the candidates.

The chosen form is ListMLE: Xia, Liu, Wang, Zhang, Li, ICML 2008, "Listwise approach to learning to rank: theory and
algorithm", section 4.1, over the first places alone as Xia, Liu, Li, NIPS 2009, "Statistical consistency of top-k
ranking", do. The teacher's order stands for the true one, as its first candidates do in Tang, Wang, KDD 2018,
https://arxiv.org/abs/1809.07428 (ranking distillation), and Reddi et al., AISTATS 2021 (RankDistil). Read: memory.
By Plackett and Luce, a student with scores s draws the candidates one by one, each with probability exp(s) over the sum
of exp(s) of those that are left; the value is -log of the probability that it draws the teacher's first ones in order:

    Σ over i = 1 … top of (log Σ over j ≥ i of exp(s of the teacher's jth) − s of the teacher's ith)

The candidates after the first ones are in the sums, so that a high score for one of them costs. The teacher gives the
order and nothing else: its scores may be on any scale.
Candidates that the teacher scores alike, in the precision in which it spoke, stand in the order of their numbers.
Deviation: no weights by place or by the student's own ranking, as Tang and Wang have; no hinge, as RankDistil has.
"""

from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Listwise(Objective):
    """−log of the Plackett-Luce probability, by the student's scores, of the teacher's first candidates in its order.

    A row is a query and its outputs are the scores of its candidates. It uses no label.

    Args:
        top: How many of the teacher's first places count; where a row has fewer candidates, all do. 1 is the
            cross-entropy with the teacher's choice. The default is that of the code of Tang and Wang (K).
    """

    family = "ranking"
    formula = "Σ over the teacher's first places of −log softmax(student over the candidates not yet placed)"

    @validate_call
    def __init__(self, top: Annotated[int, Ge(1)] = 10) -> None:
        super().__init__()
        self.top = top

    def needs(self) -> Needs:
        """The teacher's scores themselves, for their order."""
        return Needs(logits=True, meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The negative log-likelihood of each row, in nats."""
        assert student.logits is not None and teacher.logits is not None
        order = teacher.logits.detach().argsort(dim=-1, descending=True, stable=True)
        ours = student.logits.to(torch.promote_types(student.logits.dtype, torch.float32)).gather(-1, order)
        left = ours.flip(-1).logcumsumexp(dim=-1).flip(-1)
        return (left - ours)[..., : self.top].sum(dim=-1)
