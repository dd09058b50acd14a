"""Documents as tokens, kept once one after the other, and rows that are put together from them when they are asked for.

A token that is learnt where it is the next one is kept as its number, one that is only read as the complement of it
(-1 - number), so that what is learnt needs no place of its own. A learnt token of the rationale, the steps before an
answer, has `RATIONALE` added to its number. Documents are divided into splits before rows are made
of them. A row has the shape (2, length): the tokens, and beside each the number of its document in the row, from 1; 0
is padding, whatever the number of the padding token.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from limbeck.data.encoding import RATIONALE
from limbeck.data.inputs import Inputs
from limbeck.data.labels.parts import UNLABELLED
from limbeck.data.packing import Ints, alone, pieces, shared

PAGE = 1024
"""Tokens of a page, in which they are kept and, where they lie in a file, fetched: 4 KB."""

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents that were not made into rows yet.

    Args:
        pages: The tokens of all documents one after the other, those that are only read as complements.
        starts: Where each of these documents begins.
        sizes: How many tokens each has, 1 or more.
        length: Positions of a row.
        pack: Whether documents may share a row.
    """

    pages: Int[Tensor, "pages tokens"] | Inputs
    starts: Ints
    sizes: Ints
    length: int
    pack: bool

    @classmethod
    def of(cls, pages: Any, sizes: Any, length: int, pack: bool) -> "Documents":
        """Documents that follow each other from the first page on."""
        said = np.asarray(sizes, dtype=np.int64)
        return cls(pages, np.cumsum(said) - said, said, length, pack)

    def __len__(self) -> int:
        return len(self.sizes)

    def select(self, places: Int[Tensor, " taken"]) -> "Documents":
        """The documents at these places."""
        at = places.numpy()
        return Documents(self.pages, self.starts[at], self.sizes[at], self.length, self.pack)

    @cached_property
    def rows(self) -> "PackedInputs":
        """These documents as rows; one longer than a row is cut into pieces, each a document of its own."""
        document, first, sizes = pieces(self.sizes, self.length)
        found = shared(sizes, self.length) if self.pack else alone(sizes)
        order = np.concatenate(found)
        bounds = np.cumsum([0, *map(len, found)])
        return PackedInputs(
            self.pages, (self.starts[document] + first)[order], sizes[order], bounds[:-1], bounds[1:], self.length
        )

    def facts(self) -> dict[str, Any]:
        """JSON: documents, their tokens, and the share of the rows' positions that is padding."""
        tokens = int(self.sizes.sum())
        padding = 1 - tokens / (self.rows.shape[0] * self.length)
        return {"documents": len(self), "tokens": tokens, "padding": round(padding, 4)}


@dataclass(frozen=True, eq=False)
class PackedInputs:
    """Rows of pieces of documents; keeps the protocol `Inputs`.

    Args:
        pages: As in `Documents`.
        starts: Where each piece begins, the pieces of a row one after the other.
        sizes: Tokens of each piece.
        first: The first piece of each row.
        after: The piece after the last of each row.
        length: Positions of a row.
    """

    pages: Int[Tensor, "pages tokens"] | Inputs
    starts: Ints
    sizes: Ints
    first: Ints
    after: Ints
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, 2, length)."""
        return len(self.first), 2, self.length

    @property
    def dtype(self) -> torch.dtype:
        """int32."""
        return torch.int32

    def take(self, positions: Int[Tensor, " taken"]) -> Int[Tensor, "taken 2 length"]:
        """The rows at these positions: tokens, and the numbers of their documents."""
        kept, number = self._laid(positions.numpy())
        return torch.from_numpy(np.stack([np.where(kept < 0, ~kept, kept % RATIONALE), number], axis=1))

    def select(self, positions: Int[Tensor, " taken"]) -> "PackedInputs":
        """The rows at these positions, over the same tokens."""
        at = positions.numpy()
        return PackedInputs(self.pages, self.starts, self.sizes, self.first[at], self.after[at], self.length)

    def labels(self) -> Int[Tensor, "rows length"]:
        """The next token of the same document at each position, -1 where there is none, or none that is learnt."""
        found = self._following()
        return torch.from_numpy(np.where(found < 0, found, found % RATIONALE))

    def rationale(self) -> Bool[Tensor, "rows length"]:
        """Where the token that `labels` holds belongs to the rationale."""
        return torch.from_numpy(self._following() >= RATIONALE)

    def _following(self) -> npt.NDArray[np.int32]:
        """The next token of the same document as it is kept, where it is learnt."""
        found = np.full((len(self.first), self.length), UNLABELLED, dtype=np.int32)
        for start in range(0, len(found), _ROWS_AT_ONCE):
            block = found[start : start + _ROWS_AT_ONCE]
            kept, number = self._laid(np.arange(start, start + len(block)))
            following = (number[:, 1:] == number[:, :-1]) & (number[:, 1:] > 0) & (kept[:, 1:] >= 0)
            block[:, :-1][following] = kept[:, 1:][following]
        return found

    def _laid(self, rows: Ints) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Kept tokens and documents' numbers of rows, both of shape (rows, length)."""
        kept = np.zeros((len(rows), self.length), dtype=np.int32)
        number = np.zeros_like(kept)
        counts = self.after[rows] - self.first[rows]
        piece = _ranges(self.first[rows], counts)
        sizes = self.sizes[piece]
        within = _ranges(np.ones(len(rows), dtype=np.int64), counts)
        ends = np.cumsum(sizes)
        before = np.concatenate(([0], ends))[np.cumsum(counts) - counts]
        # a position in these rows laid one after the other, each as long as a row
        base = np.repeat(np.arange(len(rows)) * self.length - before, counts) + ends - sizes
        at = _ranges(base, sizes)
        kept.reshape(-1)[at] = self._fetched(_ranges(self.starts[piece], sizes))
        number.reshape(-1)[at] = np.repeat(within, sizes)
        return kept, number

    def _fetched(self, places: Ints) -> npt.NDArray[np.int32]:
        if isinstance(self.pages, Tensor):
            return self.pages.numpy().reshape(-1)[places]
        page, inside = np.divmod(places, PAGE)
        wanted, which = np.unique(page, return_inverse=True)
        return self.pages.take(torch.from_numpy(wanted)).numpy()[which, inside]


def _ranges(first: Ints, counts: Ints) -> Ints:
    """The whole numbers from each first one on, as many as its count says, one range after the other."""
    return np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
