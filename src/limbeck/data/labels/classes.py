"""Names of classes, and class numbers from numbers or names, for labels of any shape."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from limbeck.data.labels.parts import UNLABELLED, Labels
from limbeck.errors import DataError, did_you_mean


def check_names(labels: Labels, split: str) -> None:
    """Checks that labels are whole numbers or text.

    Raises:
        DataError: When they are decimal numbers.
    """
    if labels.dtype.kind not in "iubUSO":
        raise DataError(
            f"the {split} labels are of type {labels.dtype}",
            expected="class numbers (whole numbers) or class names (text)",
            remedy="labels.astype(int) if they are class numbers, or task: regression if they are quantities",
        )


def class_names(labels: Iterable[Labels]) -> tuple[str, ...]:
    """The names of the classes that occur, sorted: numbers by size, everything else as text."""
    numbers: set[int] = set()
    words: set[str] = set()
    for found in labels:
        if found.dtype.kind in "iu":
            numbers.update(int(value) for value in np.unique(found) if value != UNLABELLED)
        else:
            words.update(word(value) for value in set(found.ravel().tolist()) if not absent(value))
    if not words:
        return tuple(str(number) for number in sorted(numbers))
    return tuple(sorted(words | {str(number) for number in numbers}))


def class_numbers(
    labels: Labels, classes: Sequence[str], split: str, *, named: bool
) -> tuple[Int[Tensor, "..."], Bool[Tensor, "..."]]:
    """Class numbers of labels, and which positions have one: -1 and None mean that a position has none.

    Args:
        labels: Numbers or names.
        classes: Names by class number.
        split: Which split they are, for messages.
        named: Whether the classes were named by the source, in which case whole numbers are class numbers already;
            otherwise a whole number is the name of its class.

    Raises:
        DataError: When a label is no class.
    """
    if named and labels.dtype.kind in "iu":
        numbers = labels.astype(np.int64)
        for place in np.argwhere((numbers < UNLABELLED) | (numbers >= len(classes)))[:1]:
            raise DataError(
                f"row {place[0]} of the {split} split has label {numbers[tuple(place)]}",
                expected=f"a class number from 0 to {len(classes) - 1}, or -1 for no label",
                remedy="give as many class names as there are classes",
            )
    else:
        number = {name: place for place, name in enumerate(classes)}
        values, inverse = _distinct(labels)
        found = [_number(value, number, split) for value in values]
        numbers = np.array(found, dtype=np.int64)[inverse].reshape(labels.shape)
    known = torch.from_numpy(numbers != UNLABELLED)
    return torch.from_numpy(numbers).clamp(min=0), known


def check_count(names: Sequence[str], least: int) -> None:
    """Checks that there are classes to tell apart.

    Raises:
        DataError: When there are fewer than `least`.
    """
    if len(names) < least:
        raise DataError(
            f"the labels name {len(names)} classes ({', '.join(names) or 'none'})",
            expected=f"at least {'two classes' if least == 2 else 'one class'}",
        )


def absent(value: object) -> bool:
    """Whether a value says that there is no label: None, -1 or, from a table, NaN (which differs from itself)."""
    return value is None or value == UNLABELLED or value != value


def word(value: object) -> str:
    """A class name as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _distinct(labels: Labels) -> tuple[list[Any], npt.NDArray[np.int64]]:
    flat = labels.ravel()
    if labels.dtype.kind != "O":
        values, inverse = np.unique(flat, return_inverse=True)
        return values.tolist(), inverse.astype(np.int64)
    place: dict[Any, int] = {}
    inverse = np.array([place.setdefault(value, len(place)) for value in flat.tolist()], dtype=np.int64)
    return list(place), inverse


def _number(value: object, number: dict[str, int], split: str) -> int:
    if absent(value):
        return UNLABELLED
    name = word(value)
    if name not in number:
        raise DataError(
            f"the {split} label {name!r} is no class", expected="a class name", remedy=did_you_mean(name, number)
        )
    return number[name]
