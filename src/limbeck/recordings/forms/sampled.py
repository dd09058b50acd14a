"""Symbols drawn from the teacher's distribution: a few bytes a row, right on average for the forward divergence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from limbeck.errors import RecipeError
from limbeck.objective import Needs
from limbeck.recordings.codecs import draws
from limbeck.recordings.codecs.ranking import Ranking
from limbeck.recordings.columns import Blocks, Stored
from limbeck.recordings.precision import whole_numbers
from limbeck.replay import Draw
from limbeck.signals import Batch, Signals
from limbeck.targets.protocol import SoftTargets
from limbeck.targets.sampled import SampledTargets

_SYMBOLS, _COUNTS, _ENTROPY, _DRAWS = "symbols", "counts", "entropy", "draws"
_SIZE, _RANKING, _POSITIONS = "size", "ranking", "positions"
_COUNTED = 64  # of the likeliest symbols of each position


@dataclass(frozen=True)
class Sampled:
    """Draws with replacement, and the entropy of what they are drawn from.

    Rows of several positions, such as texts, are packed: a draw takes about a byte, and the entropy is float16.

    Args:
        draws: How many for each row (each position), 1 to 255.
        temperature: That of the distribution; left out, the one the objective asks at.
        seed: Decides the draws, together with a row's id, its view and the position.
    """

    takes: ClassVar[tuple[type[SoftTargets], ...]] = ()

    draws: int = 12
    temperature: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.draws <= 255:
            raise RecipeError(f"sampled has draws={self.draws}", expected="a whole number from 1 to 255")
        said = self.temperature
        if said is not None and not (type(said) in (int, float) and 0 < said < math.inf):
            raise RecipeError(f"sampled has temperature={said!r}", expected="a number above 0")

    def settled(self, needs: Needs, positions: bool) -> "Sampled":
        """With the temperature that will be asked at, 1 where there are several or none; others are refused later."""
        wanted = {temperature for _, temperature in needs.soft}
        only = next(iter(wanted)) if len(wanted) == 1 else 1.0
        return replace(self, temperature=float(self.temperature or only))

    def layers(self) -> frozenset[str]:
        """No layer is needed."""
        return frozenset()

    def tables(self, signals: Signals, linear: object) -> dict[str, Tensor]:
        """The number of symbols in all; for packed rows also which symbols are likely."""
        assert signals.outputs is not None
        _, *positions, size = signals.outputs
        if not positions:
            return {_SIZE: torch.tensor(size)}
        (likely,) = signals.of_logits(lambda logits: (logits.topk(min(_COUNTED, size), dim=-1).indices,))
        ranking = bytearray(Ranking.counted(likely.cpu().numpy().astype("uint32"), size).to_bytes())
        return {
            _SIZE: torch.tensor(size),
            _RANKING: torch.frombuffer(ranking, dtype=torch.uint8),
            _POSITIONS: torch.tensor(positions),
        }

    def pack(self, signals: Signals, batch: Batch, tables: Mapping[str, Tensor]) -> dict[str, Stored]:
        """The different symbols drawn, how often (0 for what fills up), and the entropy; or a block for each row."""
        assert signals.outputs is not None and self.temperature is not None
        rows, size = signals.outputs[:-1], signals.outputs[-1]
        view = int(batch.views[0]) if len(batch) else 0
        draw = Draw.of(batch.ids.cpu(), self.seed, view, "sampled")
        uniforms = draw.uniforms(math.prod(rows[1:]), self.draws).reshape(*rows, self.draws)
        temperature = self.temperature

        def drawn(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, ...]:
            found = SampledTargets.of(logits.cpu(), uniforms, temperature)
            room = (0, self.draws - found.symbols.shape[-1])
            return pad(found.symbols, room), pad(found.counts, room), found.entropy

        symbols, counts, entropy = signals.of_logits(drawn, uniforms)
        found = SampledTargets(symbols, counts, entropy, temperature, size)
        if _RANKING in tables:
            return {_DRAWS: self._packed(found, _ranking(tables[_RANKING].numpy().tobytes()))}
        return {
            _SYMBOLS: whole_numbers(found.symbols, found.size),
            _COUNTS: found.counts.to(torch.uint8),
            _ENTROPY: found.entropy.float(),
        }

    def unpack(
        self, kept: Mapping[str, Stored], tables: Mapping[str, Tensor], dense: bool
    ) -> tuple[Float[Tensor, "*rows classes"] | None, SoftTargets]:
        """Sampled targets; there are no dense logits."""
        symbols, counts, entropy = self._unpacked(kept, tables) if _RANKING in tables else _numbers(kept)
        assert self.temperature is not None
        size = int(tables[_SIZE])
        return None, SampledTargets(symbols.long(), counts.long(), entropy, self.temperature, size)

    def _packed(self, found: SampledTargets, ranking: Ranking) -> Blocks:
        blocks = []
        for row in range(len(found.symbols)):
            symbols, counts = found.symbols[row].flatten(0, -2), found.counts[row].flatten(0, -2)
            drawn = symbols.flatten().repeat_interleave(counts.flatten()).view(-1, self.draws)
            entropy = found.entropy[row].flatten().float().clamp(min=0)
            blocks.append(draws.encode(drawn.numpy().astype("uint32"), entropy.numpy(), ranking))
        return Blocks.of(blocks)

    def _unpacked(self, kept: Mapping[str, Stored], tables: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        column, shape = kept[_DRAWS], tables[_POSITIONS].tolist()
        assert isinstance(column, Blocks)
        rows = column.rows(torch.arange(len(column)))
        ranking = _ranking(tables[_RANKING].cpu().numpy().tobytes())
        symbols, counts, entropy = draws.decode(rows, [math.prod(shape)] * len(rows), self.draws, ranking)
        return (
            torch.from_numpy(symbols.astype("int64")).reshape(len(rows), *shape, -1),
            torch.from_numpy(counts.astype("int64")).reshape(len(rows), *shape, -1),
            torch.from_numpy(entropy).reshape(len(rows), *shape),
        )


def _numbers(kept: Mapping[str, Stored]) -> tuple[Tensor, Tensor, Tensor]:
    symbols, counts, entropy = kept[_SYMBOLS], kept[_COUNTS], kept[_ENTROPY]
    assert isinstance(symbols, Tensor) and isinstance(counts, Tensor) and isinstance(entropy, Tensor)
    return symbols, counts, entropy


@lru_cache(maxsize=4)  # a vocabulary's order is the same for every batch
def _ranking(content: bytes) -> Ranking:
    return Ranking.from_bytes(content)
