"""From inputs as a person has them to a checked tensor: numbers, finite, rows first."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from limbeck.errors import DataError

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
    tensor = inputs.detach() if isinstance(inputs, Tensor) else numeric(inputs, split)
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


def numeric(inputs: Any, split: str) -> Tensor:
    """An array or nested lists as a tensor of a type that torch can calculate with.

    Raises:
        DataError: When they are ragged or no numbers.
    """
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


def as_rows(array: Shaped[np.ndarray, "..."], row: tuple[int, ...]) -> Shaped[np.ndarray, "rows ..."] | None:
    """Rows of a known shape from an array that holds one or several of them, where only one reading is possible.

    A single row may come without the dimension that counts rows. Dimensions of length 1 may be missing or stand
    elsewhere, and rows of one channel may be flat. Flat rows of several channels could be laid out in either way.

    Args:
        array: What a person has.
        row: The shape of one row, not empty.

    Returns:
        (rows, *row), or None where it does not fit.
    """
    long = tuple(length for length in row if length > 1)
    shapes = {tuple(row), long}
    if len(row) == 1 or row[0] == 1:
        shapes.add((int(np.prod(row)),))
    count = array.shape[0] if array.ndim else 0

    def fits(shape: tuple[int, ...]) -> bool:
        return shape in shapes or tuple(length for length in shape if length > 1) in shapes

    if fits(array.shape[1:]) and array.ndim > 1:
        return array.reshape(count, *row)
    return array.reshape(1, *row) if array.ndim and fits(array.shape) else None


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
