"""What the teacher's last layer is given, and that layer once: all logits for the bytes of a hidden state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from limbeck.errors import RecordingError
from limbeck.objective import Needs
from limbeck.recordings.columns import Stored
from limbeck.recordings.form import Linear
from limbeck.recordings.precision import kept_in, refuse_unknown
from limbeck.signals import Batch, Signals
from limbeck.targets.hidden import HiddenTargets
from limbeck.targets.protocol import SoftTargets

_HIDDEN, _WEIGHT, _BIAS = "hidden", "weight", "bias"
_TOLERANCE = 0.02  # of the largest logit; a head in bfloat16 rounds by about a hundredth of this


@dataclass(frozen=True)
class Hidden:
    """Hidden states of a width below the number of classes, with the linear layer that makes the logits of them.

    Args:
        layer: The teacher's layer whose output the head is given, rows by width (or rows by positions by width).
        head: The teacher's linear layer that gives the logits.
        precision: Of the hidden states: as `dense` keeps logits.
    """

    takes: ClassVar[tuple[type[SoftTargets], ...]] = ()

    layer: str
    head: str
    precision: str = "as said"

    def __post_init__(self) -> None:
        refuse_unknown("hidden", self.precision)

    def settled(self, needs: Needs, positions: bool) -> "Hidden":
        """Nothing is left open."""
        return self

    def layers(self) -> frozenset[str]:
        """The layer whose output is kept."""
        return frozenset({self.layer})

    def tables(self, signals: Signals, linear: Linear) -> dict[str, Tensor]:
        """The head's weight and bias.

        Raises:
            RecordingError: When the head, given this layer's output, says other logits than the teacher.
        """
        weight, bias = linear(self.head)
        found = {_WEIGHT: weight.cpu()} | ({} if bias is None else {_BIAS: bias.cpu()})
        hidden, (logits,) = signals.features[self.layer], signals.of_logits(lambda logits: (logits,))
        if hidden.shape[-1] != weight.shape[1]:
            raise self._other_than(
                f"gives {tuple(hidden.shape[1:])} a row, and the head reads {weight.shape[1]} numbers"
            )
        said = HiddenTargets(hidden.cpu(), found[_WEIGHT], found.get(_BIAS)).made_logits()
        if said.shape != logits.shape:
            raise self._other_than(f"would give logits of shape {tuple(said.shape[1:])} a row")
        apart = float((said - logits.cpu()).abs().max())
        if apart > _TOLERANCE * max(1.0, float(logits.abs().max())):
            raise self._other_than(f"gives logits that are off by up to {apart:.3g}")
        return found

    def pack(self, signals: Signals, batch: Batch, tables: Mapping[str, Tensor]) -> dict[str, Stored]:
        """The hidden states."""
        return {_HIDDEN: kept_in(self.precision, signals.features[self.layer], f"the output of {self.layer}")}

    def unpack(
        self, kept: Mapping[str, Stored], tables: Mapping[str, Tensor], dense: bool
    ) -> tuple[Float[Tensor, "*rows classes"] | None, SoftTargets]:
        """The logits where they are asked for, and targets that compute them some rows at a time."""
        hidden = kept[_HIDDEN]
        assert isinstance(hidden, Tensor)
        targets = HiddenTargets(hidden, tables[_WEIGHT], tables.get(_BIAS))
        return (targets.made_logits() if dense else None), targets

    def _other_than(self, why: str) -> RecordingError:
        return RecordingError(
            f"the layer {self.layer!r} is not what the head {self.head!r} makes the teacher's logits of: it {why}",
            expected="the layer just before the head, and nothing after it (no scale, no cap, no other unit)",
            remedy="name another layer (`limbeck layers RECIPE` lists them), or keep: dense",
        )
