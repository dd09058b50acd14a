"""One training step's forward pass: student, features, loss."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.model import Model
from limbeck.objective import Objective
from limbeck.signals import Batch, Signals
from limbeck.taps import listen
from limbeck.targets.hidden import HiddenTargets
from limbeck.training.compilation import compiled


class Step(nn.Module):
    """The student and the objective (with its projectors) as one module, so that one wrapper can shard both.

    The student runs in the plan's precision; the objective sees logits and features in float32 always, since
    differences of logits and of log-probabilities lose their digits in bfloat16. Hidden states of which logits are
    still to be made go into the head in the plan's precision, as into every linear layer; the logits are then seen in
    float32. With `compile`
    the student's passes are compiled at the first `forward`; the objective is not, since it works on a few numbers a
    row and may change from step to step.
    """

    def __init__(
        self, model: Model, objective: Objective, layers: Sequence[str], precision: str, *, compile: bool = False
    ) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.layers, self.low = tuple(layers), precision == "bfloat16"
        self.heard: Signals | None = None
        # It takes the model as an argument: a copy of this module hears its own student.
        self._hear = compiled(_heard) if compile else _heard

    def forward(
        self, batch: Batch, teacher: Signals, counts: Mapping[str, float] | None
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The weighted total with gradient, and each term's detached mean."""
        said = self._hear(self.model, batch.inputs, self.layers, self.low)
        loss = self.objective.loss(said, teacher, batch, counts=counts)
        self.heard = detached(said) if self.objective.remembers else None
        return loss.total, dict(loss.terms)

    def remember(self, teacher: Signals, batch: Batch) -> None:
        """Lets the objective keep what it needs of the last `forward`; training calls it once after each step."""
        if self.heard is not None:
            self.objective.remember(self.heard, teacher, batch)
            self.heard = None

    def student(self, batch: Batch) -> Signals:
        """What the student says about a batch, as the objective sees it; never compiled, whatever the batch."""
        return _heard(self.model, batch.inputs, self.layers, self.low)


def _heard(model: Model, inputs: Shaped[Tensor, "rows ..."], layers: tuple[str, ...], low: bool) -> Signals:
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=low):
        said = listen(model, inputs, layers)
    return widened(said) if low else said


def widened(signals: Signals) -> Signals:
    """The same signals of a student in float32; what a head is still given, in bfloat16, as autocast would give it."""
    targets = signals.targets if signals.logits is None else None
    if isinstance(targets, HiddenTargets):
        targets = replace(targets, hidden=targets.hidden.bfloat16())
    return Signals(
        None if signals.logits is None else signals.logits.float(),
        {name: feature.float() for name, feature in signals.features.items()},
        targets,
    )


def detached(signals: Signals) -> Signals:
    """The same signals of a student without their gradient."""
    features = {name: feature.detach() for name, feature in signals.features.items()}
    return Signals(None if signals.logits is None else signals.logits.detach(), features)
