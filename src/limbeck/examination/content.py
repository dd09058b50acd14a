"""What rows hold, as one digest each, so that equal rows are found whatever split and order they are in."""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Shaped
from torch import Tensor

from limbeck.data.inputs import blocks
from limbeck.data.rows import TensorRows

# Two float rows that differ by less than about this share of the data's deviation are taken for one row.
_GRID = 1e-3
# Texts of fewer tokens, such as "Yes." or the rest of a long one, are equal by nature.
_FEW_TOKENS = 8


@dataclass(frozen=True)
class Content:
    """A split's rows as digests, and the ids of those rows; for text its documents, each with the id of its row.

    Rows whose numbers are all the same (blank pictures, flat windows) have no digest: they are equal by nature. Nor
    have very short documents.
    """

    digests: tuple[bytes | None, ...]
    ids: tuple[int, ...]
    what: str = "rows"

    def places(self) -> dict[bytes, int]:
        """The first position of each digest."""
        found: dict[bytes, int] = {}
        for place, digest in enumerate(self.digests):
            if digest is not None:
                found.setdefault(digest, place)
        return found


def contents(splits: Mapping[str, TensorRows], *, documents: bool = False) -> dict[str, Content]:
    """Digests of every split's rows, floats rounded to a thousandth of the training rows' deviation.

    Labels are not part of it. Two rows on both sides of a rounding edge count as different, so that numbers of equal
    rows are lower bounds for floats, and exact for whole numbers.

    Args:
        splits: Rows by split, the training rows among them.
        documents: Whether a row is documents of tokens (see `data.documents`), which are then compared one by one,
            whatever else lies in their rows.
    """
    if documents:
        return {name: _documents(rows) for name, rows in splits.items()}
    step = _step(splits["train"])
    return {
        name: Content(
            tuple(d for block in blocks(rows.inputs) for d in _digests(block, step)), tuple(rows.ids.tolist())
        )
        for name, rows in splits.items()
    }


def _documents(rows: TensorRows) -> Content:
    digests: list[bytes | None] = []
    ids: list[int] = []
    whole = iter(rows.ids.tolist())
    for block in blocks(rows.inputs):
        for tokens, number in block.numpy():
            here = next(whole)
            edges = np.flatnonzero(np.diff(number, prepend=0, append=0)).tolist()
            for first, after in itertools.pairwise(edges):
                if number[first]:
                    long = after - first >= _FEW_TOKENS
                    digests.append(_digest(np.ascontiguousarray(tokens[first:after])) if long else None)
                    ids.append(here)
    return Content(tuple(digests), tuple(ids), "documents")


def _digest(row: npt.NDArray[Any]) -> bytes:
    return hashlib.blake2b(row.data, digest_size=16).digest()


def size(rows: TensorRows) -> int:
    """Bytes of a split's inputs."""
    return int(np.prod([int(length) for length in rows.inputs.shape], dtype=np.int64)) * rows.inputs.dtype.itemsize


def _step(train: TensorRows) -> float | None:
    if not train.inputs.dtype.is_floating_point:
        return None
    sample = train.take(torch.linspace(0, len(train) - 1, min(512, len(train))).long()).inputs.double()
    return float(sample.std(correction=0)) * _GRID or None


def _digests(block: Shaped[Tensor, "rows ..."], step: float | None) -> list[bytes | None]:
    flat = block.reshape(len(block), -1)
    if not flat.shape[1]:
        return [None] * len(flat)
    alike = (flat == flat[:, :1]).all(dim=1).tolist() if flat.shape[1] > 1 else [False] * len(flat)
    if step is not None:
        # Beyond 2^53 steps from zero the grid is finer than float64, and rounding changes nothing.
        flat = (flat.double() / step).round() + 0.0  # -0.0 and 0.0 are one number with two spellings
    raw = np.ascontiguousarray(flat.contiguous().view(torch.uint8).numpy())
    return [None if same else _digest(row) for row, same in zip(raw, alike, strict=True)]
