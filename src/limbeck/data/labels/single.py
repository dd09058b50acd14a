"""One class for each row: class numbers or names; -1 or None where a row has no label."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from limbeck.data.labels import classes
from limbeck.data.labels.parts import UNLABELLED, Read, array
from limbeck.errors import DataError


def read(given: Mapping[str, Any], rows: Mapping[str, int], names: Sequence[str] | None) -> Read:
    """Class numbers for each split's rows.

    Args:
        given: Labels by split; None, or no entry, where a split has none.
        rows: Rows by split.
        names: The classes by number; None lets the labels name themselves.

    Raises:
        DataError: When labels are more than one for each row, decimal numbers, or no classes.
    """
    found = {}
    for split, count in rows.items():
        if given.get(split) is None:
            continue
        labels = array(given[split], split, count)
        if labels.ndim != 1:
            raise DataError(
                f"the {split} labels have shape {labels.shape}",
                expected=f"one label for each row: ({count},)",
                remedy="labels.argmax(1) for one-hot labels, labels.reshape(-1) for a single column, or "
                "task: multilabel where a row may have several classes",
            )
        classes.check_names(labels, split)
        found[split] = labels
    said = tuple(names) if names is not None else classes.class_names(found.values())
    classes.check_count(said, 2)
    splits = {}
    for split, count in rows.items():
        if split in found:
            splits[split] = classes.class_numbers(found[split], said, split, named=names is not None)
        else:
            splits[split] = (torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool))
    return Read(said, splits)


def strata(labels: Int[Tensor, " rows"], known: Bool[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """The class of each row, -1 where it is not known."""
    return torch.where(known, labels, torch.full_like(labels, UNLABELLED))


def summary(labels: Int[Tensor, " rows"], known: Bool[Tensor, " rows"], names: Sequence[str]) -> dict[str, Any]:
    """How many rows there are of each class."""
    counts = torch.bincount(labels[known], minlength=len(names)).tolist()
    return {"labelled": int(known.sum()), "class_counts": dict(zip(names, counts, strict=True))}
