"""What a source gives before any check: pairs of inputs and labels for each split, and the classes' names."""

from dataclasses import dataclass
from typing import Any, TypeAlias

Pair: TypeAlias = tuple[Any, Any]
"""Inputs and labels (None where there are none), each an array, a tensor or nested lists."""


@dataclass(frozen=True)
class Raw:
    """A source's own splits, unchecked.

    Args:
        name: What to call the data.
        train: The rows that training may use; validation and test rows are taken from them where the source has none.
        valid: The source's own validation rows.
        test: The source's own test rows.
        classes: Names by class number; None lets the labels name themselves.
        origin: Where it was read, for the report.
    """

    name: str
    train: Pair
    valid: Pair | None = None
    test: Pair | None = None
    classes: tuple[str, ...] | None = None
    origin: str = "arrays in memory"
