"""Labels once read: their names, and for each split a tensor beside which of it is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Shaped
from torch import Tensor

from limbeck.errors import DataError

Labels = npt.NDArray[Any]

UNLABELLED = -1
"""The class number that marks a row without a label, as in scikit-learn's semi-supervised estimators."""


@dataclass(frozen=True)
class Read:
    """Labels of every split.

    Args:
        names: The names of the classes, or of the quantities.
        splits: For each split the labels and which of them are known; the kind decides their shapes.
    """

    names: tuple[str, ...]
    splits: Mapping[str, tuple[Shaped[Tensor, "rows ..."], Bool[Tensor, "rows ..."]]]


def array(labels: Any, split: str, rows: int) -> Labels:
    """Labels as an array with one entry for each row.

    Raises:
        DataError: When there are more or fewer labels than rows, or they are ragged.
    """
    try:
        found = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except ValueError as error:
        raise DataError(
            f"the {split} labels cannot be made an array: {error}", expected="labels of the same length in every row"
        ) from error
    if found.ndim == 0 or len(found) != rows:
        count = len(found) if found.ndim else "no"
        raise DataError(
            f"the {split} split has {rows} rows of inputs and {count} labels", expected="one label for each row"
        )
    return found
