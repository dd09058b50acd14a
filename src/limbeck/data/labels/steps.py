"""One class at each step of a row: class numbers or names of shape (rows, steps); -1 or None where a step has none."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from limbeck.data.labels import classes
from limbeck.data.labels.parts import Read, array
from limbeck.errors import DataError


def read(given: Mapping[str, Any], rows: Mapping[str, int], names: Sequence[str] | None) -> Read:
    """Class numbers for each step of each split's rows.

    Args:
        given: Labels by split, of shape (rows, steps); None, or no entry, where a split has none.
        rows: Rows by split.
        names: The classes by number; None lets the labels name themselves.

    Raises:
        DataError: When labels are not one for each step, differ in their number of steps, or are no classes.
    """
    found = {}
    for split, count in rows.items():
        if given.get(split) is None:
            continue
        labels = array(given[split], split, count)
        if labels.ndim != 2:
            raise DataError(
                f"the {split} labels have shape {labels.shape}",
                expected=f"one label for each step of each row: ({count}, steps)",
                remedy="task: classification where a row has one label",
            )
        classes.check_names(labels, split)
        found[split] = labels
    lengths = {split: labels.shape[1] for split, labels in found.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(
            f"the labels' steps are {lengths or 'unknown: no split has labels'}", expected="one number for all splits"
        )
    steps = next(iter(lengths.values()))
    said = tuple(names) if names is not None else classes.class_names(found.values())
    classes.check_count(said, 2)
    splits = {}
    for split, count in rows.items():
        if split in found:
            splits[split] = classes.class_numbers(found[split], said, split, named=names is not None)
        else:
            nothing = torch.zeros((count, steps), dtype=torch.bool)
            splits[split] = (nothing.long(), nothing)
    return Read(said, splits)


def strata(labels: Int[Tensor, "rows steps"], known: Bool[Tensor, "rows steps"]) -> Int[Tensor, " rows"]:
    """The greatest class number that occurs in each row, which for events numbered above the normal state is rarest."""
    return torch.where(known, labels, torch.full_like(labels, -1)).amax(dim=1)


def summary(
    labels: Int[Tensor, "rows steps"], known: Bool[Tensor, "rows steps"], names: Sequence[str]
) -> dict[str, Any]:
    """How many steps there are of each class."""
    counts = torch.bincount(labels[known], minlength=len(names)).tolist()
    return {"labelled": int(known.any(dim=1).sum()), "step_counts": dict(zip(names, counts, strict=True))}
