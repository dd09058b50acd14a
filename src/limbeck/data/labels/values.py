"""Numbers for each row, such as a price or the next readings of a sensor; NaN or None where one is not known.

A row is known when at least one of its numbers is. Unknown numbers stay NaN, and a task leaves them out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from limbeck.data.labels.parts import Read, array
from limbeck.errors import DataError

_STRATA = 10


def read(given: Mapping[str, Any], rows: Mapping[str, int], names: Sequence[str] | None) -> Read:
    """Numbers of shape (rows, quantities) for each split, in float32.

    Args:
        given: Labels by split, of shape (rows,) or (rows, quantities); None, or no entry, where a split has none.
        rows: Rows by split.
        names: The quantities by column; None numbers them from 0.

    Raises:
        DataError: When labels are no numbers, infinite, or the splits have different quantities.
    """
    found = {
        split: _numbers(given[split], split, count) for split, count in rows.items() if given.get(split) is not None
    }
    widths = {split: labels.shape[1] for split, labels in found.items()}
    if len(set(widths.values())) != 1:
        raise DataError(
            f"the labels' quantities are {widths or 'unknown: no split has labels'}",
            expected="the same number in every split",
        )
    width = next(iter(widths.values()))
    said = tuple(map(str, range(width))) if names is None else tuple(names)
    if len(said) != width:
        raise DataError(f"the labels have {width} columns and {len(said)} names", expected="a name for each column")
    splits = {}
    for split, count in rows.items():
        labels = found.get(split, torch.full((count, width), torch.nan))
        splits[split] = (labels, torch.isfinite(labels).any(dim=1))
    return Read(said, splits)


def strata(labels: Float[Tensor, "rows quantities"], known: Bool[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """The tenth (0 to 9) of the rows into which each row's first known number falls, -1 where it has none."""
    first = labels.gather(1, torch.isfinite(labels).int().argmax(dim=1, keepdim=True)).squeeze(1)
    if not bool(known.any()):
        return torch.full((len(labels),), -1)
    edges = torch.quantile(
        first[known].double()[:: max(1, int(known.sum()) // 100_000)], torch.linspace(0, 1, _STRATA + 1).double()
    )
    numbers = torch.bucketize(torch.nan_to_num(first).double(), edges[1:-1])
    return torch.where(known, numbers, torch.full_like(numbers, -1))


def summary(
    labels: Float[Tensor, "rows quantities"], known: Bool[Tensor, " rows"], names: Sequence[str]
) -> dict[str, Any]:
    """Mean, standard deviation, least and greatest of each quantity over the numbers that are known."""
    ranges = {}
    for name, column in zip(names, labels.double().unbind(dim=1), strict=True):
        there = column[torch.isfinite(column)]
        if len(there):
            ranges[name] = {
                "mean": float(there.mean()),
                "std": float(there.std(correction=0)),
                "least": float(there.min()),
                "greatest": float(there.max()),
            }
    return {"labelled": int(known.sum()), "ranges": ranges}


def _numbers(labels: Any, split: str, rows: int) -> Float[Tensor, "rows quantities"]:
    found = array(labels, split, rows)
    if found.ndim not in (1, 2):
        raise DataError(f"the {split} labels have shape {found.shape}", expected=f"({rows},) or ({rows}, quantities)")
    try:
        tensor = torch.from_numpy(np.array(found, dtype=np.float32)).reshape(rows, -1)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the {split} labels are no numbers: {error}",
            expected="numbers, NaN where one is not known",
            remedy="task: classification for names of classes",
        ) from error
    if bool(torch.isinf(tensor).any()):
        row = int(torch.isinf(tensor).any(dim=1).nonzero()[0])
        raise DataError(f"row {row} of the {split} labels is infinite", expected="finite numbers, or NaN for unknown")
    return tensor
