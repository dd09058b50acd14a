"""From arrays as a person has them to checked tensors: finite inputs, class numbers, and names of the classes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from limbeck.errors import DataError, did_you_mean

Labels = npt.NDArray[Any]

UNLABELLED = -1
"""The class number that marks a row without a label, as in scikit-learn's semi-supervised estimators."""

_CHANNELS = (1, 3, 4)
_KEPT_AS = {"bool": "uint8", "uint16": "int32", "uint32": "int64", "uint64": "int64"}


def input_tensor(inputs: Any, split: str) -> Shaped[Tensor, "rows ..."]:
    """Checks inputs and makes them a tensor.

    8-bit inputs stay 8-bit; float64 becomes float32; 8-bit images of shape (rows, height, width) get one channel.

    Args:
        inputs: An array, a tensor or nested lists, rows first.
        split: Which split they are, for messages.

    Raises:
        DataError: When there are no rows, the rows are ragged, are not numbers, are not finite, or look like images
            with their channels last.
    """
    tensor = inputs.detach() if isinstance(inputs, Tensor) else _tensor(inputs, split)
    if tensor.ndim < 2 or tensor.numel() == 0:
        raise DataError(
            f"the {split} inputs have shape {tuple(tensor.shape)}",
            expected="at least one row of at least one number, rows first, such as (rows, 64) or (rows, 1, 28, 28)",
            remedy="inputs[:, None] if every row is a single number" if tensor.ndim == 1 and len(tensor) else "",
        )
    if tensor.is_floating_point():
        tensor = tensor.float() if tensor.dtype == torch.float64 else tensor
        _check_finite(tensor, split)
    if tensor.ndim == 4 and tensor.shape[1] not in _CHANNELS and tensor.shape[3] in _CHANNELS:
        raise DataError(
            f"the {split} inputs have shape {tuple(tensor.shape)}, which looks like images with their channels last",
            expected="(rows, channels, height, width)",
            remedy="inputs.transpose(0, 3, 1, 2) for an array, inputs.permute(0, 3, 1, 2) for a tensor",
        )
    if tensor.ndim == 3 and tensor.dtype == torch.uint8:
        tensor = tensor.unsqueeze(1)
    return tensor.contiguous()


def label_array(labels: Any, split: str, rows: int) -> Labels:
    """Checks that there is one label for each row and makes the labels an array.

    Raises:
        DataError: When labels are missing, too many, decimal numbers, or more than one for each row.
    """
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.ndim != 1:
        raise DataError(
            f"the {split} labels have shape {array.shape}",
            expected=f"one label for each row: ({rows},)",
            remedy="labels.argmax(1) for one-hot labels, labels.reshape(-1) for a single column",
        )
    if len(array) != rows:
        raise DataError(
            f"the {split} split has {rows} rows of inputs and {len(array)} labels", expected="one label for each row"
        )
    if array.dtype.kind not in "iubUSO":
        raise DataError(
            f"the {split} labels are of type {array.dtype}",
            expected="class numbers (whole numbers) or class names (text)",
            remedy="labels.astype(int) if they are class numbers",
        )
    return array


def class_names(labels: Iterable[Labels]) -> tuple[str, ...]:
    """The names of the classes that occur, sorted: numbers by size, everything else as text."""
    numbers: set[int] = set()
    words: set[str] = set()
    for array in labels:
        if array.dtype.kind in "iu":
            numbers.update(int(value) for value in np.unique(array) if value != UNLABELLED)
        else:
            words.update(_word(value) for value in set(array.tolist()) if not _absent(value))
    if not words:
        return tuple(str(number) for number in sorted(numbers))
    return tuple(sorted(words | {str(number) for number in numbers}))


def label_numbers(
    labels: Labels, classes: Sequence[str], split: str, *, named: bool
) -> tuple[Int[Tensor, " rows"], Bool[Tensor, " rows"]]:
    """Class numbers of labels, and which rows have one: -1 and None mean that a row has none.

    Args:
        labels: Numbers or names, one for each row.
        classes: Names by class number.
        split: Which split they are, for messages.
        named: Whether the classes were named by the source, in which case whole numbers are class numbers already;
            otherwise a whole number is the name of its class.

    Raises:
        DataError: When a label is no class.
    """
    if named and labels.dtype.kind in "iu":
        numbers = labels.astype(np.int64)
        for row in np.flatnonzero((numbers < UNLABELLED) | (numbers >= len(classes)))[:1]:
            raise DataError(
                f"row {row} of the {split} split has label {numbers[row]}",
                expected=f"a class number from 0 to {len(classes) - 1}, or -1 for no label",
                remedy="give as many class names as there are classes",
            )
    else:
        number = {name: place for place, name in enumerate(classes)}
        values, inverse = _distinct(labels)
        numbers = np.array([_number(value, number, split) for value in values], dtype=np.int64)[inverse]
    known = torch.from_numpy(numbers != UNLABELLED)
    return torch.from_numpy(numbers).clamp(min=0), known


def _tensor(inputs: Any, split: str) -> Tensor:
    try:
        array = np.asarray(inputs)
        # torch can neither index nor add the wider unsigned types, nor multiply booleans as images need
        array = array.astype(_KEPT_AS.get(array.dtype.name, array.dtype), copy=False)
        # a tensor over a read-only array would be undefined behaviour when written to
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the {split} inputs cannot be made a tensor: {error}",
            expected="numbers, the same shape in every row, rows first",
        ) from error


def _check_finite(tensor: Tensor, split: str) -> None:
    if bool(torch.isfinite(tensor.sum())):
        return
    bad = (~torch.isfinite(tensor)).flatten(1).any(dim=1).nonzero().squeeze(1)
    if len(bad):
        raise DataError(
            f"the {split} inputs hold NaN or infinity in {len(bad)} of {len(tensor)} rows; the first is row {bad[0]}",
            expected="finite numbers",
            remedy="fill or drop those rows: inputs[np.isfinite(inputs.reshape(len(inputs), -1)).all(1)]",
        )


def _absent(value: object) -> bool:
    # a missing value in a column of text is None or, from pandas, NaN, which differs from itself
    return value is None or value == UNLABELLED or value != value


def _word(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _distinct(labels: Labels) -> tuple[list[Any], npt.NDArray[np.int64]]:
    if labels.dtype.kind != "O":
        values, inverse = np.unique(labels, return_inverse=True)
        return values.tolist(), inverse.astype(np.int64)
    place: dict[Any, int] = {}
    inverse = np.array([place.setdefault(value, len(place)) for value in labels.tolist()], dtype=np.int64)
    return list(place), inverse


def _number(value: object, number: dict[str, int], split: str) -> int:
    if _absent(value):
        return UNLABELLED
    name = _word(value)
    if name not in number:
        raise DataError(
            f"the {split} label {name!r} is no class", expected="a class name", remedy=did_you_mean(name, number)
        )
    return number[name]
