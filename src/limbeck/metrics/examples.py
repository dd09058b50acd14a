"""Which rows tell most about a model, and their numbers cut short for a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

EXAMPLES = 8
_LARGEST_IMAGE = 64
_DIGITS = 4


def telling(rows: int, doubt: Float[Tensor, " rows"] | None, count: int = EXAMPLES) -> list[int]:
    """Rows to show: the half a model doubted most, then the half it was surest of, surest first.

    Args:
        rows: How many there are.
        doubt: Of each row, in any unit; None where nobody knows, and rows are spread evenly.
        count: How many to show.
    """
    count = min(count, rows)
    if doubt is None:
        return torch.linspace(0, rows - 1, count).round().long().tolist()
    order: list[int] = torch.argsort(doubt, descending=True, stable=True).tolist()
    return [*order[: count // 2], *reversed(order[rows - (count - count // 2) :])]


def shortened(values: Float[Tensor, " values"]) -> list[float]:
    """Four digits after the point: enough for a picture, and small in the record."""
    return [round(value, _DIGITS) for value in values.double().tolist()]


def rounded(values: Float[Tensor, "..."]) -> Any:
    """The same as nested lists, of any shape."""
    return np.round(values.numpy().astype(np.float64), _DIGITS).tolist()


def pictures(inputs: Shaped[Tensor, "rows ..."], rows: Sequence[int]) -> list[Any]:
    """Rows as images, grey or RGB, scaled to 0..1 by the least and greatest of `inputs`; None where they are none.

    Images of more than 64 pixels a side are averaged down.
    """
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        return [None for _ in rows]
    low, high = float(inputs.min()), float(inputs.max())
    images = (inputs[list(rows)].detach().cpu().float() - low) / max(high - low, 1e-12)
    height, width = images.shape[-2:]
    if max(height, width) > _LARGEST_IMAGE:
        scale = _LARGEST_IMAGE / max(height, width)
        images = functional.adaptive_avg_pool2d(images, (max(1, round(height * scale)), max(1, round(width * scale))))
    pixels = images.squeeze(1) if images.shape[1] == 1 else images.permute(0, 2, 3, 1)
    return [rounded(image) for image in pixels]
