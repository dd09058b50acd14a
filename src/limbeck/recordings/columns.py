"""What is kept for every row: numbers of one shape and type, or bytes of any length."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

BYTES = "bytes"


@dataclass(frozen=True)
class Column:
    """One thing kept for every row: its dtype, as torch names it, and its shape without the rows; or `bytes`."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Blocks:
    """Bytes of a length of its own for each row, back to back; `ends` says where each row's end."""

    payload: UInt8[Tensor, " bytes"]
    ends: Int[Tensor, " rows"]

    @classmethod
    def of(cls, rows: Sequence[bytes]) -> "Blocks":
        """The bytes of some rows."""
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        joined = bytearray(b"".join(rows))
        payload = torch.frombuffer(joined, dtype=torch.uint8) if joined else torch.empty(0, dtype=torch.uint8)
        return cls(payload, lengths.cumsum(0))

    def __len__(self) -> int:
        return len(self.ends)

    def rows(self, index: Int[Tensor, " taken"]) -> list[bytes]:
        """The bytes of the rows at these places, in this order."""
        ends = self.ends[index].tolist()
        begins = torch.where(index > 0, self.ends[(index - 1).clamp(min=0)], 0).tolist()
        raw = self.payload.numpy()
        return [raw[begin:end].tobytes() for begin, end in zip(begins, ends, strict=True)]


Stored: TypeAlias = Tensor | Blocks


def described(kept: Mapping[str, Stored]) -> dict[str, Column]:
    """The dtype and the shape of each column."""
    return {
        name: Column(BYTES, ())
        if isinstance(column, Blocks)
        else Column(str(column.dtype).removeprefix("torch."), tuple(column.shape[1:]))
        for name, column in kept.items()
    }


def row_bytes(kept: Mapping[str, Stored]) -> int:
    """About how many bytes one row takes: for columns of bytes, what these rows take on average."""
    sizes = []
    for column in kept.values():
        if isinstance(column, Blocks):
            sizes.append(column.ends.itemsize + -(-len(column.payload) // max(1, len(column))))
        else:
            sizes.append(math.prod(column.shape[1:]) * column.itemsize)
    return max(1, sum(sizes))


def joined(pieces: Sequence[Mapping[str, Stored]]) -> dict[str, Stored]:
    """The rows of several pieces with the same columns, one piece after the other."""
    return {name: _joined([piece[name] for piece in pieces]) for name in pieces[0]}


def taken(shards: Mapping[int, Stored], numbers: Int[Tensor, " taken"], places: Int[Tensor, " taken"]) -> Stored:
    """Rows of one column from the shards they lie in, in the order asked for.

    Args:
        shards: The column in each of these shards, by the shard's number.
        numbers: For each row, which shard.
        places: For each row, its place in that shard.
    """
    touched = numbers.unique().tolist()
    first = shards[touched[0]]
    if isinstance(first, Blocks):
        found: list[bytes] = [b""] * len(numbers)
        for number in touched:
            here = (numbers == number).nonzero().squeeze(1)
            column = shards[number]
            assert isinstance(column, Blocks)
            for place, row in zip(here.tolist(), column.rows(places[here]), strict=True):
                found[place] = row
        return Blocks.of(found)
    if len(touched) == 1:
        return first.index_select(0, places)
    rows = torch.empty((len(places), *first.shape[1:]), dtype=first.dtype)
    for number in touched:
        here = (numbers == number).nonzero().squeeze(1)
        column = shards[number]
        assert isinstance(column, Tensor)
        rows[here] = column.index_select(0, places[here])
    return rows


def _joined(columns: Sequence[Stored]) -> Stored:
    tensors = [column for column in columns if isinstance(column, Tensor)]
    if len(tensors) == len(columns):
        return torch.cat(tensors)
    blocks = [column for column in columns if isinstance(column, Blocks)]
    shift, ends = 0, []
    for block in blocks:
        ends.append(block.ends + shift)
        shift += len(block.payload)
    return Blocks(torch.cat([block.payload for block in blocks]), torch.cat(ends))
