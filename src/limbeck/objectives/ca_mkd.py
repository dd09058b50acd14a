"""Several teachers, each heard on a row as far as it is right there: the weights are the teachers' losses on the label.

Zhang, Chen, Wang, 2022 (Confidence-Aware Multi-teacher Knowledge Distillation), https://arxiv.org/abs/2201.00007,
section 3.2, equations 2 to 4: w_k = (1 − softmax over teachers(CE of teacher k with the label)) / (K − 1), and the sum
of the weighted divergences. Read: memory.
Deviations:
- the paper writes the cross-entropy with the softened teacher; this is KL(teacher || student), which differs from it by
  a constant, times T² as in Hinton et al. 2015 (https://arxiv.org/abs/1503.02531, section 2);
- the paper weighs features of the last layer likewise (equations 5 to 7); that part is not here;
- a row without a known label is taught by all teachers alike, where the paper has labels for all;
- a mixed row's (mixup) loss on the label is that of both labels by their shares.
"""

import math
from functools import partial
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class CAMKD(Objective):
    """The weighted sum over teachers of KL(teacher || student) in nats, softened by a temperature, times T².

    The teacher must be a list of two or more. The weights of a row sum to 1; the weights that the list itself gives its
    members are not read.

    Args:
        temperature: Divides all models' logits before the softmax; the label's loss is taken at temperature 1.
    """

    family = "several teachers"
    formula = "T² · Σ w_k · KL(teacher k || student) at T, w_k = (1 − softmax_k(CE(teacher k, label))) / (K − 1)"
    factor = "T²"

    @validate_call
    def __init__(self, temperature: Annotated[float, Gt(0), Lt(math.inf)] = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def needs(self) -> Needs:
        """Several teachers that can be heard apart, and labels."""
        return Needs(members=True, labels=True, meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the weighted divergence of each row."""
        assert student.logits is not None
        divergences = []
        for member in teacher.members:
            assert member.targets is not None
            divergences.append(member.targets.divergence(kl, student.logits, self.temperature))
        stacked = torch.stack(divergences)
        return self.temperature**2 * (_weights(teacher, batch).to(stacked.dtype) * stacked).sum(dim=0)


def _weights(teacher: Signals, batch: Batch) -> Float[Tensor, "teachers *rows"]:
    """The weight of each teacher for each row: equal where no label is known."""
    count = len(teacher.members)
    if batch.labels is None:
        return torch.full((count, *batch.mask.shape), 1 / count, dtype=torch.float64, device=batch.mask.device)
    losses = []
    for member in teacher.members:
        assert member.logits is not None
        logits = member.logits.detach()
        losses.append(batch.by_label(partial(batch.task.label_loss, logits)))
    weights = (1 - torch.softmax(torch.stack(losses), dim=0)) / (count - 1)
    return torch.where(batch.labelled, weights, 1 / count)
