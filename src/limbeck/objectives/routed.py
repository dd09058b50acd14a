"""Several teachers, of which each row is taught by one: the one that is right there, or the one that is surest.

Choosing a teacher for each sample: Yuan, Shou, Pei, Lin, Gong, Fu, Jiang, 2021 (Reinforced Multi-Teacher Selection for
Knowledge Distillation), https://arxiv.org/abs/2012.06048, section 3. Read: memory.
Deviations:
- the paper learns whom to ask by reinforcement; here it is a rule: the smallest loss on the row's label or, by
  confidence and for rows without a known label, the largest probability of any class;
- T² stands before the divergence as in Hinton et al. 2015 (https://arxiv.org/abs/1503.02531, section 2).
"""

import math
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Lt
from jaxtyping import Float, Int
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl, tempered
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Routed(Objective):
    """KL(chosen teacher || student) in nats, both softened by a temperature, times the temperature squared.

    The teacher must be a list of two or more. Of teachers that are equally good the first in the list is asked.

    Args:
        temperature: Divides both models' logits before the softmax.
        by: "labels" asks the teacher with the smallest loss on the row's label (of a mixed row on both labels, by their
            shares); "confidence" the one with the largest probability of any class at temperature 1.
    """

    family = "several teachers"
    formula = "T² · KL(teacher k || student) at T, k = the best teacher of the row"
    factor = "T²"

    @validate_call
    def __init__(
        self,
        temperature: Annotated[float, Gt(0), Lt(math.inf)] = 4.0,
        by: Literal["labels", "confidence"] = "labels",
    ) -> None:
        super().__init__()
        self.temperature, self.by = temperature, by

    def needs(self) -> Needs:
        """Several teachers that can be heard apart, and labels where they choose."""
        return Needs(members=True, labels=self.by == "labels", meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² times the divergence of each row from the teacher it is routed to."""
        assert student.logits is not None
        divergences = []
        for member in teacher.members:
            assert member.targets is not None
            divergences.append(member.targets.divergence(kl, student.logits, self.temperature))
        return self.temperature**2 * torch.stack(divergences).gather(0, self._chosen(teacher, batch)[None])[0]

    def _chosen(self, teacher: Signals, batch: Batch) -> Int[Tensor, "*rows"]:
        """The place of each row's teacher among the members."""
        said = []
        for member in teacher.members:
            assert member.logits is not None
            said.append(member.logits.detach())
        # From the first on, a later one must be better, on every device; torch's argmax promises no order among equals.
        surest = _first_largest([tempered(logits, 1.0).amax(dim=-1) for logits in said])
        if self.by == "confidence" or batch.labels is None:
            return surest
        losses = [batch.by_label(partial(batch.task.label_loss, own)) for own in said]
        return torch.where(batch.labelled, _first_largest([-loss for loss in losses]), surest)


def _first_largest(values: list[Float[Tensor, "*rows"]]) -> Int[Tensor, "*rows"]:
    best, chosen = values[0], torch.zeros_like(values[0], dtype=torch.int64)
    for place, value in enumerate(values[1:], start=1):
        better = value > best
        best, chosen = torch.where(better, value, best), torch.where(better, place, chosen)
    return chosen
