"""The seam by which a step may learn from something else than the batch that was drawn for it."""

from typing import Protocol, runtime_checkable

from limbeck.model import Model
from limbeck.objective import Objective
from limbeck.signals import Batch
from limbeck.teachers.protocol import Teacher


@runtime_checkable
class Practice(Protocol):
    """What a student practises on beside its data, such as its own texts.

    What it makes of a batch depends on nothing but the batch, the student's weights, the seed and the step: a training
    that was killed then goes on as one that was not.
    """

    def check(self, student: Model, teacher: Teacher | None, objective: Objective) -> None:
        """Raises a `LimbeckError`, before training, where these cannot be practised with."""
        ...

    def batch(self, drawn: Batch, student: Model, seed: int, step: int) -> Batch:
        """What a step learns from: the batch that was drawn, or another one that is made of it; without gradient.

        Args:
            drawn: On the student's device.
            student: As it stands at this step; its mode is put back.
            seed: Of the training.
            step: From 0.
        """
        ...
