"""The largest logits of each row and, for each temperature asked for, the rest as one symbol."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.errors import RecipeError, RecordingError
from limbeck.objective import Needs
from limbeck.recordings.columns import Stored
from limbeck.recordings.precision import kept_in, refuse_unknown, whole_numbers
from limbeck.signals import Batch, Signals
from limbeck.targets.protocol import SoftTargets
from limbeck.targets.topk import TopKTargets

_SYMBOLS, _LOGITS, _TAILS, _SIZE = "symbols", "logits", "tails", "size"


@dataclass(frozen=True)
class TopK:
    """The k largest logits of each row (of each position), relative to the largest, and their tails.

    A tail is log Σ exp(logit / T) over the symbols that are not kept, in float32, one for each temperature.

    Args:
        k: How many, from 1 to the number of symbols.
        temperatures: Those that will be asked at; left out, those of the objective.
        precision: Of the kept logits: as `dense` keeps them, `float16` unless said otherwise.
    """

    k: int = 64
    temperatures: tuple[float, ...] = ()
    precision: str = "float16"

    def __post_init__(self) -> None:
        refuse_unknown("topk", self.precision)
        if self.k < 1:
            raise RecipeError(f"topk has k={self.k}", expected="a whole number of symbols, at least 1")
        said = self.temperatures
        if not isinstance(said, tuple) or not all(type(t) in (int, float) and 0 < t < float("inf") for t in said):
            raise RecipeError(
                f"topk has temperatures={said!r}", expected="numbers above 0 in brackets, such as (1, 4) or (4,)"
            )

    def settled(self, needs: Needs) -> "TopK":
        """With the temperatures of the divergences that will be asked for, or 1 where there are none."""
        wanted = self.temperatures or tuple({temperature for _, temperature in needs.soft}) or (1.0,)
        return replace(self, temperatures=tuple(sorted(map(float, wanted))))

    def layers(self) -> frozenset[str]:
        """No layer is needed."""
        return frozenset()

    def tables(self, signals: Signals, linear: object) -> dict[str, Tensor]:
        """The number of symbols in all."""
        assert signals.logits is not None
        size = signals.logits.shape[-1]
        if self.k > size:
            raise RecordingError(
                f"topk(k={self.k}) was asked of a teacher with {size} logits", remedy=f"keep: dense, or k below {size}"
            )
        return {_SIZE: torch.tensor(size)}

    def pack(self, signals: Signals, batch: Batch, tables: Mapping[str, Tensor]) -> dict[str, Stored]:
        """Symbols in as few bytes as their number allows, logits and tails."""
        assert signals.logits is not None
        # Relative to the largest, half a precision has its digits where the probability is.
        logits = signals.logits.detach().cpu()
        logits = logits - logits.amax(dim=-1, keepdim=True)
        found = TopKTargets.of(logits, self.k, self.temperatures)
        return {
            _SYMBOLS: whole_numbers(found.symbols, found.size),
            _LOGITS: kept_in(self.precision, found.logits, "the logits"),
            _TAILS: found.tails.float().contiguous(),
        }

    def unpack(
        self, kept: Mapping[str, Stored], tables: Mapping[str, Tensor], dense: bool
    ) -> tuple[Float[Tensor, "*rows classes"] | None, SoftTargets]:
        """Top-k targets; there are no dense logits."""
        symbols, logits, tails = kept[_SYMBOLS], kept[_LOGITS], kept[_TAILS]
        assert isinstance(symbols, Tensor) and isinstance(logits, Tensor) and isinstance(tails, Tensor)
        size = int(tables[_SIZE])
        return None, TopKTargets(symbols.long(), logits, tails, self.temperatures, size)
