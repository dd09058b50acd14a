"""Several classes for each row: a 0/1 column for each class, or a list of class names for each row.

A row with -1 in any column (or whose list is None) has no label; one with an empty list has none of the classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from limbeck.data.labels import classes
from limbeck.data.labels.parts import UNLABELLED, Labels, Read, array
from limbeck.errors import DataError, did_you_mean

_SEPARATORS = ";|"


def read(given: Mapping[str, Any], rows: Mapping[str, int], names: Sequence[str] | None) -> Read:
    """A 0/1 matrix of shape (rows, classes) for each split, in float32.

    Args:
        given: Labels by split: an array of 0 and 1 with a column for each class; or, for each row, a list of class
            names or a text with names between `;` or `|`. None, or no entry, where a split has none.
        rows: Rows by split.
        names: The classes by column; None lets the lists name them, or numbers the columns from 0.

    Raises:
        DataError: When a value is neither 0 nor 1, or a name is no class.
    """
    found: dict[str, list[list[str] | None] | Labels] = {}
    for split, count in rows.items():
        labels = given.get(split)
        if labels is not None:
            found[split] = _lists(labels, split, count) if _named(labels) else _matrix(labels, split, count)
    said = tuple(names) if names is not None else _names(found.values())
    classes.check_count(said, 1)
    splits = {}
    for split, count in rows.items():
        if split in found:
            splits[split] = _marked(found[split], said, split)
        else:
            splits[split] = (torch.zeros((count, len(said))), torch.zeros(count, dtype=torch.bool))
    return Read(said, splits)


def strata(labels: Float[Tensor, "rows classes"], known: Bool[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """The rarest class of each row (of all rows), the number of classes where it has none, -1 where it is not known."""
    commonness = labels[known].sum(dim=0)
    rank = torch.where(labels > 0, commonness, torch.full_like(labels, torch.inf))
    rarest = torch.where((labels > 0).any(dim=1), rank.argmin(dim=1), torch.full((len(labels),), labels.shape[1]))
    return torch.where(known, rarest, torch.full_like(rarest, UNLABELLED))


def summary(
    labels: Float[Tensor, "rows classes"], known: Bool[Tensor, " rows"], names: Sequence[str]
) -> dict[str, Any]:
    """How many rows each class is true of."""
    counts = [int(count) for count in labels[known].sum(dim=0)]
    return {"labelled": int(known.sum()), "class_counts": dict(zip(names, counts, strict=True))}


def _named(labels: Any) -> bool:
    """Whether rows are texts or lists of names, and no numbers; lists that are all empty name nothing."""
    if isinstance(labels, Tensor) or (isinstance(labels, np.ndarray) and labels.dtype.kind in "biuf"):
        return False
    rows = [row for row in labels if not _nothing(row)]
    if any(isinstance(row, str | bytes) for row in rows):
        return True
    lists = [row for row in rows if isinstance(row, list | tuple | set | frozenset | np.ndarray)]
    names = [name for row in lists for name in row]
    return len(lists) > 0 and all(isinstance(name, str | bytes) for name in names)


def _nothing(row: object) -> bool:
    """Whether a row has no label: None, or the NaN that a table holds in its place."""
    return row is None or (isinstance(row, float) and row != row)


def _lists(labels: Any, split: str, rows: int) -> list[list[str] | None]:
    if len(labels) != rows:
        raise DataError(
            f"the {split} split has {rows} rows of inputs and {len(labels)} labels", expected="one list for each row"
        )
    found: list[list[str] | None] = []
    for row in labels:
        if isinstance(row, str | bytes):
            text = classes.word(row)
            for separator in _SEPARATORS[1:]:
                text = text.replace(separator, _SEPARATORS[0])
            found.append([name.strip() for name in text.split(_SEPARATORS[0]) if name.strip()])
        else:
            found.append(None if _nothing(row) else [classes.word(name) for name in row])
    return found


def _matrix(labels: Any, split: str, rows: int) -> Labels:
    matrix = array(labels, split, rows)
    if matrix.ndim != 2:
        raise DataError(
            f"the {split} labels have shape {matrix.shape}",
            expected="a column of 0 and 1 for each class, or a list of names for each row",
            remedy="task: classification where each row has one class",
        )
    wrong = np.argwhere(~np.isin(matrix, (0, 1, UNLABELLED)))
    if len(wrong):
        raise DataError(
            f"row {wrong[0][0]} of the {split} labels holds {matrix[tuple(wrong[0])]}", expected="0, 1, or -1 (unknown)"
        )
    return matrix


def _names(found: Any) -> tuple[str, ...]:
    lists = [labels for labels in found if isinstance(labels, list)]
    if lists:
        return tuple(sorted({name for labels in lists for row in labels if row is not None for name in row}))
    widths = {labels.shape[1] for labels in found}
    if len(widths) != 1:
        raise DataError(f"the splits' labels have {sorted(widths)} columns", expected="the same classes in each split")
    return tuple(map(str, range(widths.pop())))


def _marked(
    labels: list[list[str] | None] | Labels, names: Sequence[str], split: str
) -> tuple[Float[Tensor, "rows classes"], Bool[Tensor, " rows"]]:
    if not isinstance(labels, list):
        if labels.shape[1] != len(names):
            raise DataError(
                f"the {split} labels have {labels.shape[1]} columns", expected=f"one for each class: {len(names)}"
            )
        matrix = torch.from_numpy(labels.astype(np.float32))
        known = (matrix >= 0).all(dim=1)
        return torch.where(known[:, None], matrix, torch.zeros_like(matrix)), known
    number = {name: place for place, name in enumerate(names)}
    marks = torch.zeros((len(labels), len(names)))
    known = torch.tensor([row is not None for row in labels])
    for place, row in enumerate(labels):
        for name in row or ():
            if name not in number:
                raise DataError(f"the {split} label {name!r} is no class", remedy=did_you_mean(name, number))
            marks[place, number[name]] = 1
    return marks, known
