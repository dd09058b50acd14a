"""Which rows tell most about a model, and their numbers cut short for a picture."""

import torch
from jaxtyping import Float
from torch import Tensor

EXAMPLES = 8
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
