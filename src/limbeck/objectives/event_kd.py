"""Soft probabilities of an event: the student learns how likely the teacher thought it, and not only whether it came.

Hinton, Vinyals, Dean, 2015, https://arxiv.org/abs/1503.02531, section 2, for the two outcomes of one logit: a logistic
unit is a softmax over its logit and 0. Read: memory.
The factor T² keeps the gradient's size about the same at every temperature (same section).
Deviation: KL(teacher || student) in place of the cross-entropy, from which it differs by the teacher's entropy.
"""

import math
from typing import Annotated

from annotated_types import Gt, Lt
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import binary_kl
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals
from limbeck.task import SaysEvent


class EventKD(Objective):
    """KL(teacher || student) in nats of the event, both logits divided by a temperature, times the temperature squared.

    Args:
        temperature: Divides both logits before the sigmoid. By default 1: a probability of one event has no other
            classes whose likenesses a higher temperature would bring out, and here it only flattens.
    """

    family = "soft targets"
    formula = "T² · KL(sigmoid(teacher / T) || sigmoid(student / T)) of the event"
    factor = "T²"

    @validate_call
    def __init__(self, temperature: Annotated[float, Gt(0), Lt(math.inf)] = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def needs(self) -> Needs:
        """The teacher's logit of the event."""
        return Needs(logits=True, meaning=frozenset({"event"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """T² · KL(teacher || student) of each row, in nats."""
        assert student.logits is not None and teacher.logits is not None
        assert isinstance(batch.task, SaysEvent)
        ours, theirs = batch.task.event(student.logits), batch.task.event(teacher.logits.detach())
        return self.temperature**2 * binary_kl(theirs, ours, self.temperature)
