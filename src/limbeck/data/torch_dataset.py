"""A map-style torch `Dataset`, read once into arrays."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data.raw import Pair
from limbeck.errors import DataError

_LOOKED_AT_TWICE = 16


def is_dataset(source: object) -> bool:
    """Whether it can be read row by row like a map-style data set."""
    plain = isinstance(source, list | tuple | dict | str | bytes | np.ndarray | Tensor)
    return not plain and hasattr(source, "__getitem__") and hasattr(source, "__len__")


def materialised(dataset: Any, split: str) -> Pair:
    """Reads every row of a data set of (input, label).

    Pictures of PIL become unsigned bytes, channels first.

    Raises:
        DataError: When a row is no pair, rows differ in shape, or the data set gives another answer the second time.
    """
    tensors = getattr(dataset, "tensors", None)
    if isinstance(dataset, torch.utils.data.TensorDataset) and len(tensors or ()) == 2:
        return dataset.tensors[0], dataset.tensors[1]
    rows = [_row(dataset, split, place) for place in range(len(dataset))]
    if not rows:
        raise DataError(f"the {split} data set is empty", expected="at least one row")
    for place in range(min(_LOOKED_AT_TWICE, len(rows))):
        if not torch.equal(rows[place][0], _row(dataset, split, place)[0]):
            raise DataError(
                f"row {place} of the {split} data set is different each time it is read",
                expected="a data set without random transforms: it is read once",
                remedy='take the random transforms out and say augment="crop(padding=2) + flip", which can be replayed',
            )
    shapes = {tuple(inputs.shape) for inputs, _ in rows}
    if len(shapes) > 1:
        few = ", ".join(map(str, sorted(shapes)[:3]))
        raise DataError(
            f"the rows of the {split} data set have {len(shapes)} shapes: {few}",
            expected="one shape",
            remedy="resize in the data set's transform",
        )
    return torch.stack([inputs for inputs, _ in rows]), [label for _, label in rows]


def _row(dataset: Any, split: str, place: int) -> tuple[Tensor, Any]:
    try:
        row = dataset[place]
    except (LookupError, TypeError) as error:
        raise DataError(
            f"row {place} of the {split} data ({type(dataset).__name__}) cannot be read: {error!r}",
            expected="a pair (inputs, labels), or a torch data set that is read with data[0], data[1], ...",
        ) from error
    if not isinstance(row, tuple | list) or len(row) != 2:
        raise DataError(
            f"row {place} of the {split} data set is {type(row).__name__}, not a pair",
            expected="(input, label)",
            remedy="wrap the data set so that it returns (input, label)",
        )
    inputs, label = row
    return _input(inputs), label.item() if isinstance(label, Tensor) and label.numel() == 1 else label


def _input(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.array(value)
    picture = hasattr(value, "getbands")
    if picture:
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array))
