"""Logit regression: the student learns the teacher's logits themselves, before any softmax.

Ba, Caruana, 2014, https://arxiv.org/abs/1312.6184, "Mimic learning via regressing logit with L2 loss", equation 1: half
the squared distance, summed over the classes, averaged over the rows. Read: memory.
Kim, Oh, Kim, Cho, Yun, 2021, https://arxiv.org/abs/2105.08919, compare it with KL; theirs has no half. Read: memory.
Deviation: Ba and Caruana train on the logits alone and normalise each teacher logit to mean 0 and deviation 1 over the
training set; here the logits stay as the teacher said them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class LogitMSE(Objective):
    """Half the squared distance between the student's and the teacher's logits, summed over the classes."""

    family = "logits"
    formula = "½ Σ (student − teacher)², summed over the classes"

    def needs(self) -> Needs:
        """The teacher's dense logits."""
        return Needs(logits=True)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """Half the squared distance of each row, in squared logits."""
        assert student.logits is not None
        assert teacher.logits is not None
        wide = torch.promote_types(student.logits.dtype, torch.float32)
        return (student.logits.to(wide) - teacher.logits.detach()).square().sum(dim=-1) / 2
