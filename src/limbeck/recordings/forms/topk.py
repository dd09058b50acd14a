"""The largest logits of each row and, for each temperature asked for, the rest as one symbol."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.errors import RecipeError, RecordingError
from limbeck.objective import Needs
from limbeck.precision import wide
from limbeck.recordings.codecs import index_sets, log_probs
from limbeck.recordings.columns import Blocks, Stored
from limbeck.recordings.precision import PRECISIONS, kept_in, refuse_unknown, whole_numbers
from limbeck.signals import Batch, Signals
from limbeck.targets.protocol import SoftTargets
from limbeck.targets.topk import TopKTargets

_SYMBOLS, _LOGITS, _TAILS = "symbols", "logits", "tails"
_SIZE, _TABLE, _POSITIONS, _PARTIAL = "size", "table", "positions", "partial"
_AUTO = "auto"
_PACKED: tuple[log_probs.Precision, ...] = ("float32", "float16", "bfloat16", "companded")


@dataclass(frozen=True)
class TopK:
    """The k largest logits of each row (of each position), relative to the largest, and their tails.

    A tail is log Σ exp(logit / T) over the symbols that are not kept, one for each temperature. Rows of several
    positions, such as texts, are packed: what their symbols share with each other is told once, and tails are float16
    unless the logits are float32.

    Args:
        k: How many, from 1 to the number of symbols.
        temperatures: Those that will be asked at; left out, those of the objective.
        precision: Of the kept logits: as `dense` keeps them, and in packed rows also `companded`: a step of 1/64 in the
            root of the distance to the largest, about 8 bits. `auto` is float16, and companded in packed rows, whose
            rounding is little beside what the symbols that are not kept would have said (docs/benchmarks.md).
    """

    takes: ClassVar[tuple[type[SoftTargets], ...]] = (TopKTargets,)

    k: int = 64
    temperatures: tuple[float, ...] = ()
    precision: str = _AUTO

    def __post_init__(self) -> None:
        refuse_unknown("topk", self.precision, tuple(dict.fromkeys((_AUTO, *PRECISIONS, *_PACKED))))
        if self.k < 1:
            raise RecipeError(f"topk has k={self.k}", expected="a whole number of symbols, at least 1")
        said = self.temperatures
        if not isinstance(said, tuple) or not all(type(t) in (int, float) and 0 < t < float("inf") for t in said):
            raise RecipeError(
                f"topk has temperatures={said!r}", expected="numbers above 0 in brackets, such as (1, 4) or (4,)"
            )

    def settled(self, needs: Needs, positions: bool) -> "TopK":
        """With the temperatures of the divergences that will be asked for, 1 where there are none, and a precision."""
        wanted = self.temperatures or tuple({temperature for _, temperature in needs.soft}) or (1.0,)
        precision = self.precision
        if precision == _AUTO:
            precision = "companded" if positions else "float16"
        return replace(self, temperatures=tuple(sorted(map(float, wanted))), precision=precision)

    def layers(self) -> frozenset[str]:
        """No layer is needed."""
        return frozenset()

    def tables(self, signals: Signals, linear: object) -> dict[str, Tensor]:
        """The number of symbols in all; for packed rows also which symbols are often among the largest.

        Raises:
            RecordingError: When there are not so many symbols, or rows of this kind cannot be kept in this precision.
        """
        positions, size, partial = self._measured(signals)
        packed = bool(positions)
        if self.precision not in (_PACKED if packed else PRECISIONS):
            kind = "several positions" if packed else "one position"
            raise RecordingError(
                f"topk cannot keep rows of {kind} in the precision {self.precision!r}",
                expected=", ".join(map(repr, _PACKED if packed else PRECISIONS)),
                remedy="precision='float16'",
            )
        sizes = {_SIZE: torch.tensor(size), **({_PARTIAL: torch.tensor(True)} if partial else {})}
        if not packed:
            return sizes
        found = self._largest(signals)
        symbols = found.symbols.flatten(0, -2).numpy().astype("uint32")
        table = index_sets.Table.counted(symbols, self._numbers(found)).to_bytes()
        return {
            **sizes,
            _TABLE: torch.frombuffer(bytearray(table), dtype=torch.uint8),
            _POSITIONS: torch.tensor(positions),
        }

    def pack(self, signals: Signals, batch: Batch, tables: Mapping[str, Tensor]) -> dict[str, Stored]:
        """Symbols, logits and tails: as numbers, or a block of bytes for each row of several positions."""
        found = self._largest(signals)
        if _TABLE in tables:
            return self._packed(found, tables)
        return {
            _SYMBOLS: whole_numbers(found.symbols, self._numbers(found)),
            _LOGITS: kept_in(self.precision, found.logits, "the logits"),
            _TAILS: found.tails.float().contiguous(),
        }

    def unpack(
        self, kept: Mapping[str, Stored], tables: Mapping[str, Tensor], dense: bool
    ) -> tuple[Float[Tensor, "*rows classes"] | None, SoftTargets]:
        """Top-k targets; there are no dense logits."""
        symbols, logits, tails = self._unpacked(kept, tables) if _TABLE in tables else _numbers(kept)
        size, partial = int(tables[_SIZE]), _PARTIAL in tables
        return None, TopKTargets(symbols.long(), logits, tails, self.temperatures, size, partial)

    def _measured(self, signals: Signals) -> tuple[list[int], int, bool]:
        """A row's positions, the number of symbols, and whether fewer than k may be known of a position.

        Raises:
            RecordingError: When the teacher says fewer logits than are to be kept, or not at these temperatures.
        """
        said = signals.targets
        if signals.outputs is None and isinstance(said, TopKTargets):
            if missing := [f"{each:g}" for each in self.temperatures if each not in said.temperatures]:
                raise RecordingError(
                    f"topk is to keep the tails at T={', '.join(missing)}, and the teacher says {said.kept}",
                    expected=f"temperatures=({', '.join(f'{each:g}' for each in said.temperatures)},)",
                    remedy="an objective at that temperature",
                )
            _, *positions, most = said.symbols.shape
            size, partial = said.size, said.partial
        else:
            assert signals.outputs is not None
            (_, *positions, most), partial = signals.outputs, False
            size = most
        if self.k > most:
            raise RecordingError(
                f"topk(k={self.k}) was asked of a teacher with {most} logits",
                remedy=f"keep: dense, or k below {most}" if most == size else f"keep: topk(k={most})",
            )
        return positions, size, partial

    def _numbers(self, found: TopKTargets) -> int:
        """How many numbers stand for symbols, those for missing ones included."""
        return found.size + found.symbols.shape[-1] if found.partial else found.size

    def _largest(self, signals: Signals) -> TopKTargets:
        """What is kept; relative to the largest, half a precision has its digits where the probability is."""
        if signals.outputs is None and isinstance(signals.targets, TopKTargets):
            return _numbered(signals.targets.to(torch.device("cpu")).fewer(self.k).at(self.temperatures))
        assert signals.outputs is not None

        def largest(logits: Tensor) -> tuple[Tensor, ...]:
            # The few that are kept are moved, not all: that is a pass less, and in low precision it would round.
            found = TopKTargets.of(logits, self.k, self.temperatures)
            kept = wide(found.logits)
            top = kept.amax(dim=-1, keepdim=True)
            return found.symbols, kept - top, found.tails - top / top.new_tensor(self.temperatures)

        symbols, logits, tails = (part.cpu() for part in signals.of_logits(largest))
        return TopKTargets(symbols, logits, tails, self.temperatures, signals.outputs[-1])

    def _packed(self, found: TopKTargets, tables: Mapping[str, Tensor]) -> dict[str, Stored]:
        table = _table(tables[_TABLE].numpy().tobytes())
        blocks: dict[str, list[bytes]] = {_SYMBOLS: [], _LOGITS: [], _TAILS: []}
        for row in range(len(found.symbols)):
            symbols, logits, tails = (
                part[row].flatten(0, -2) for part in (found.symbols, found.logits.float(), found.tails.float())
            )
            sets, order = index_sets.encode(symbols.numpy().astype("uint32"), table)
            ordered = logits.gather(-1, torch.from_numpy(order)).numpy()
            blocks[_SYMBOLS].append(sets)
            blocks[_LOGITS].append(log_probs.encode(ordered, self._packing))
            blocks[_TAILS].append(log_probs.encode(tails.numpy(), self._tails))
        return {name: Blocks.of(rows) for name, rows in blocks.items()}

    def _unpacked(self, kept: Mapping[str, Stored], tables: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        columns = []
        for name in (_SYMBOLS, _LOGITS, _TAILS):
            column = kept[name]
            assert isinstance(column, Blocks)
            columns.append(column.rows(torch.arange(len(column))))
        sets, logits, tails = columns
        shape = tables[_POSITIONS].tolist()
        counts = [math.prod(shape)] * len(sets)
        found = (
            index_sets.decode(sets, counts, _table(tables[_TABLE].cpu().numpy().tobytes())).astype("int64"),
            log_probs.decode(logits, counts, self.k, self._packing),
            log_probs.decode(tails, counts, len(self.temperatures), self._tails),
        )
        symbols, values, rest = (torch.from_numpy(part).reshape(len(sets), *shape, -1) for part in found)
        return symbols, values, rest

    @property
    def _tails(self) -> log_probs.Precision:
        """Tails need no more digits than what they stand beside."""
        return "float32" if self.precision == "float32" else "float16"

    @property
    def _packing(self) -> log_probs.Precision:
        found: log_probs.Precision = next(each for each in _PACKED if each == self.precision)
        return found


def _numbered(found: TopKTargets) -> TopKTargets:
    """The same with a number below size + k for each missing symbol: each column has its own."""
    own = found.size + torch.arange(found.symbols.shape[-1])
    return replace(found, symbols=torch.where(found.symbols >= found.size, own, found.symbols))


def _numbers(kept: Mapping[str, Stored]) -> tuple[Tensor, Tensor, Tensor]:
    symbols, logits, tails = kept[_SYMBOLS], kept[_LOGITS], kept[_TAILS]
    assert isinstance(symbols, Tensor) and isinstance(logits, Tensor) and isinstance(tails, Tensor)
    return symbols, logits, tails


@lru_cache(maxsize=4)  # unpacking a table takes longer than a batch does with it
def _table(content: bytes) -> index_sets.Table:
    return index_sets.Table.from_bytes(content)
