"""Symbols drawn from the teacher's distribution: a few bytes a row, right on average for the forward divergence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from limbeck.errors import RecipeError
from limbeck.objective import Needs
from limbeck.recordings.columns import Stored
from limbeck.recordings.precision import whole_numbers
from limbeck.replay import Draw
from limbeck.signals import Batch, Signals
from limbeck.targets.protocol import SoftTargets
from limbeck.targets.sampled import SampledTargets

_SYMBOLS, _COUNTS, _ENTROPY, _SIZE = "symbols", "counts", "entropy", "size"


@dataclass(frozen=True)
class Sampled:
    """Draws with replacement, and the entropy of what they are drawn from.

    Args:
        draws: How many for each row (each position), 1 to 255.
        temperature: That of the distribution; left out, the one the objective asks at.
        seed: Decides the draws, together with a row's id, its view and the position.
    """

    draws: int = 12
    temperature: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.draws <= 255:
            raise RecipeError(f"sampled has draws={self.draws}", expected="a whole number from 1 to 255")
        said = self.temperature
        if said is not None and not (type(said) in (int, float) and 0 < said < math.inf):
            raise RecipeError(f"sampled has temperature={said!r}", expected="a number above 0")

    def settled(self, needs: Needs) -> "Sampled":
        """With the temperature that will be asked at, 1 where there are several or none; others are refused later."""
        wanted = {temperature for _, temperature in needs.soft}
        only = next(iter(wanted)) if len(wanted) == 1 else 1.0
        return replace(self, temperature=float(self.temperature or only))

    def layers(self) -> frozenset[str]:
        """No layer is needed."""
        return frozenset()

    def tables(self, signals: Signals, linear: object) -> dict[str, Tensor]:
        """The number of symbols in all."""
        assert signals.logits is not None
        return {_SIZE: torch.tensor(signals.logits.shape[-1])}

    def pack(self, signals: Signals, batch: Batch, tables: Mapping[str, Tensor]) -> dict[str, Stored]:
        """The different symbols drawn and how often, filled up with count 0, and the entropy in float32."""
        assert signals.logits is not None and self.temperature is not None
        logits = signals.logits.detach().cpu()
        view = int(batch.views[0]) if len(batch) else 0
        positions = math.prod(logits.shape[1:-1])
        draw = Draw.of(batch.ids.cpu(), self.seed, view, "sampled")
        uniforms = draw.uniforms(positions, self.draws).reshape(*logits.shape[:-1], self.draws)
        found = SampledTargets.of(logits, uniforms, self.temperature)
        room = (0, self.draws - found.symbols.shape[-1])
        return {
            _SYMBOLS: whole_numbers(pad(found.symbols, room), found.size),
            _COUNTS: pad(found.counts, room).to(torch.uint8),
            _ENTROPY: found.entropy.float(),
        }

    def unpack(
        self, kept: Mapping[str, Stored], tables: Mapping[str, Tensor], dense: bool
    ) -> tuple[Float[Tensor, "*rows classes"] | None, SoftTargets]:
        """Sampled targets; there are no dense logits."""
        symbols, counts, entropy = kept[_SYMBOLS], kept[_COUNTS], kept[_ENTROPY]
        assert isinstance(symbols, Tensor) and isinstance(counts, Tensor) and isinstance(entropy, Tensor)
        assert self.temperature is not None
        size = int(tables[_SIZE])
        return None, SampledTargets(symbols.long(), counts.long(), entropy, self.temperature, size)
