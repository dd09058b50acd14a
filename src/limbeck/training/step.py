"""One training step's forward pass: student, features, loss."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from limbeck.model import Model
from limbeck.objective import Objective
from limbeck.signals import Batch, Signals
from limbeck.taps import listen


class Step(nn.Module):
    """The student and the objective (with its projectors) as one module, so that one wrapper can shard both.

    The student runs in the plan's precision; the objective sees float32 always, since differences of logits and of
    log-probabilities lose their digits in bfloat16.
    """

    def __init__(self, model: Model, objective: Objective, layers: Sequence[str], precision: str) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.layers, self.low = tuple(layers), precision == "bfloat16"

    def forward(
        self, batch: Batch, teacher: Signals, counts: Mapping[str, float] | None
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The weighted total with gradient, and each term's detached mean."""
        loss = self.objective.loss(self.student(batch), teacher, batch, counts=counts)
        return loss.total, dict(loss.terms)

    def student(self, batch: Batch) -> Signals:
        """What the student says about a batch, as the objective sees it."""
        with torch.autocast(batch.inputs.device.type, dtype=torch.bfloat16, enabled=self.low):
            said = listen(self.model, batch.inputs, self.layers)
        return widened(said) if self.low else said


def widened(signals: Signals) -> Signals:
    """The same signals of a student in float32."""
    return Signals(
        None if signals.logits is None else signals.logits.float(),
        {name: feature.float() for name, feature in signals.features.items()},
    )
