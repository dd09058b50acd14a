"""All logits: answers every divergence at every temperature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from limbeck.objective import Needs
from limbeck.recordings.columns import Stored
from limbeck.recordings.precision import kept_in, refuse_unknown
from limbeck.signals import Batch, Signals
from limbeck.targets.dense import DenseTargets
from limbeck.targets.protocol import SoftTargets

_LOGITS = "logits"


@dataclass(frozen=True)
class Dense:
    """Every logit of every row.

    Args:
        precision: `as said` keeps the teacher's own bits. float16 and bfloat16 keep two bytes a logit, off by at most a
            2,048th and a 256th of its size.
    """

    takes: ClassVar[tuple[type[SoftTargets], ...]] = ()

    precision: str = "as said"

    def __post_init__(self) -> None:
        refuse_unknown("dense", self.precision)

    def settled(self, needs: Needs, positions: bool) -> "Dense":
        """Nothing is left open."""
        return self

    def layers(self) -> frozenset[str]:
        """No layer is needed."""
        return frozenset()

    def tables(self, signals: Signals, linear: object) -> dict[str, Tensor]:
        """Nothing is kept once."""
        return {}

    def pack(self, signals: Signals, batch: Batch, tables: Mapping[str, Tensor]) -> dict[str, Stored]:
        """The logits."""
        (logits,) = signals.of_logits(lambda logits: (logits,))
        return {_LOGITS: kept_in(self.precision, logits, "the logits")}

    def unpack(
        self, kept: Mapping[str, Stored], tables: Mapping[str, Tensor], dense: bool
    ) -> tuple[Float[Tensor, "*rows classes"] | None, SoftTargets]:
        """The logits, and dense targets."""
        logits = kept[_LOGITS]
        assert isinstance(logits, Tensor)
        return logits, DenseTargets(logits)
