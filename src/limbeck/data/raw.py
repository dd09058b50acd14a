"""What a source gives before any check: pairs of inputs and labels for each split, and the classes' names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Pair: TypeAlias = tuple[Any, Any]
"""Inputs and labels (None where there are none): arrays, tensors or nested lists; inputs may also be `Inputs`.

Or `Documents` and None: they are divided first, and rows are made of each split's own.
"""


@dataclass(frozen=True)
class Raw:
    """A source's own splits, unchecked.

    Args:
        name: What to call the data.
        train: The rows that training may use; validation and test rows are taken from them where the source has none.
        valid: The source's own validation rows.
        test: The source's own test rows.
        classes: Names by class number, or of the quantities; None lets the labels name themselves.
        origin: Where it was read, for the report.
        groups: Names of the group each row comes from, by split.
        times: When each row begins and ends, by split: two arrays of seconds, from any moment on.
        facts: What else a report should say about the reading, as JSON: the windows, rows that were left out.
        reader: A hash of what made numbers of the source, where the numbers do not say it: a tokenizer.
    """

    name: str
    train: Pair
    valid: Pair | None = None
    test: Pair | None = None
    classes: tuple[str, ...] | None = None
    origin: str = "arrays in memory"
    groups: Mapping[str, Any] = field(default_factory=dict)
    times: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    reader: str = ""
