"""Rows put together from the blocks a form reads: what cannot be read is left out and counted, the rest is shelved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from limbeck.data.arrays import input_tensor, numeric
from limbeck.data.forms.columns import Block, Floats, Mask, Roles, form, moments, numbers, plain, words
from limbeck.data.pictures import Unfit
from limbeck.data.raw import Pair, Raw
from limbeck.data.shelf import Shelf
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError
from limbeck.task import LabelKind

_MANY = ("values", "several")


@dataclass
class Beside:
    """What stands beside the inputs of one split, row by row."""

    labels: list[Any] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)


@dataclass
class Assembly:
    """Collects rows of any form and gives the `Raw`.

    Args:
        kind: How the task reads labels.
        shelf: Where inputs go.
        lost: Where rows that cannot be read are noted.
        typed: Whether labels have types of their own; False where all are text, as in a CSV file.
    """

    kind: LabelKind
    shelf: Shelf
    lost: Unreadable
    typed: bool = True
    splits: dict[str, Beside] = field(default_factory=dict)
    shape: tuple[tuple[int, ...], torch.dtype] | None = None
    names: bool | None = None  # whether labels are kept as they are, and not as a row of numbers; the first block says

    def add(self, split: str, roles: Roles, block: Block) -> None:
        """Takes the rows of a block whose inputs, group and time can be read; labels may be missing.

        Raises:
            DataError: When a column is missing or too much is unreadable.
        """
        found = self.read(roles, block)
        inputs = self._numbers(roles, block, found) if roles.form == "numbers" else self._arrays(roles, block, found)
        self.keep(split, inputs, found)

    def read(self, roles: Roles, block: Block) -> "Found":
        """Labels, groups and times of a block, and which of its rows fail in them."""
        found = Found(block, np.ones(len(block), dtype=bool), self.lost)
        found.labels = self._labels(roles, block, found)
        if roles.group is not None:
            found.groups = words(block.column(roles.group))
            found.lose(np.array([group is None for group in found.groups]), f"no group in column {roles.group!r}")
        if roles.time is not None:
            found.moments, bad = moments(block.column(roles.time))
            found.lose(bad, "no time", roles.time)
        return found

    def keep(self, split: str, inputs: Tensor | None, found: "Found") -> None:
        """Takes the rows of `found` that are good, whose inputs (of the good rows only) are these."""
        beside = self.splits.setdefault(split, Beside())
        if inputs is None or not len(inputs):
            return
        inputs = input_tensor(inputs, split)
        self.shelf.add(split, inputs)
        good = np.flatnonzero(found.good).tolist()
        if found.labels is not None:
            beside.labels.extend(found.labels[place] for place in good)
        if found.groups is not None:
            beside.groups.extend(str(found.groups[place]) for place in good)
        if found.moments is not None:
            beside.moments.extend(found.moments[good].tolist())

    def raw(
        self,
        name: str,
        origin: str,
        roles: Roles | None = None,
        *,
        classes: Sequence[str] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Raw:
        """The data, once every block was added.

        Args:
            name: What to call it.
            origin: Where it was read.
            roles: Of its columns, where it has any.
            classes: Names by class number, where the source has them.
            facts: What else the report should say.

        Raises:
            DataError: When too many rows were unreadable, or there are no rows to train on.
        """
        self.lost.check(self.shelf.rows())
        if not self.shelf.rows("train"):
            raise DataError(f"{origin} holds no row to train on", expected="a train split")
        pairs: dict[str, Pair] = {
            split: (None, self.tidied(beside.labels) if beside.labels else None)
            for split, beside in self.splits.items()
        }
        said = {} if roles is None else {"columns": _columns(roles)}
        return self.shelf.raw(
            Raw(
                name,
                pairs["train"],
                pairs.get("valid"),
                pairs.get("test"),
                tuple(classes) if classes is not None else roles.label if roles and self.names is False else None,
                origin,
                {split: np.array(beside.groups) for split, beside in self.splits.items() if beside.groups},
                {split: _spans(beside.moments) for split, beside in self.splits.items() if beside.moments},
                {**said, **self.lost.facts(), **(facts or {})},
            )
        )

    def _numbers(self, roles: Roles, block: Block, found: "Found") -> Tensor:
        matrix = np.empty((len(block), len(roles.inputs)), dtype=np.float32)
        for place, name in enumerate(roles.inputs):
            values, bad = numbers(block.column(name))
            with np.errstate(over="ignore"):
                matrix[:, place] = values
            found.lose(bad | ~np.isfinite(matrix[:, place]), "no number", name)
        return torch.from_numpy(matrix[found.good])

    def _arrays(self, roles: Roles, block: Block, found: "Found") -> Tensor | None:
        """Rows that are arrays each, all of the shape and type of the first."""
        read = []
        for place, value in enumerate(plain(block.column(roles.inputs[0]))):
            if not found.good[place]:
                continue
            why, row = self._array(value)
            if row is None:
                found.lose_one(place, f"column {roles.inputs[0]!r} {why}")
            else:
                read.append(row)
        return torch.stack(read) if read else None

    def _array(self, value: Any) -> tuple[str, Tensor | None]:
        if value is None or isinstance(value, Unfit):
            return str(value or "is empty"), None
        try:
            # lists have no type of their own: [1, 2] and [1.5, 2] must not differ
            listed = isinstance(value, list | tuple)
            row = value if isinstance(value, Tensor) else numeric(np.array(value, np.float32) if listed else value, "")
        except (ValueError, TypeError) as error:
            return f"is no array of numbers: {error}", None
        except DataError as error:
            return error.happened, None
        if row.dtype == torch.float64:
            row = row.float()
        if not row.ndim:
            row = row.reshape(1)
        self.shape = self.shape or (tuple(row.shape), row.dtype)
        if (tuple(row.shape), row.dtype) != self.shape:
            return f"holds {row.dtype} of shape {tuple(row.shape)}, the first row {self.shape[1]} {self.shape[0]}", None
        if row.is_floating_point() and not bool(torch.isfinite(row).all()):
            return "holds NaN or infinity", None
        return "", row

    def _labels(self, roles: Roles, block: Block, found: "Found") -> Sequence[Any] | npt.NDArray[Any] | None:
        if not roles.label:
            return None
        columns = [block.column(name) for name in roles.label]
        if self.kind not in _MANY and len(columns) > 1:
            raise DataError(
                f"columns.label names {len(columns)} columns, and the task reads one class for each row",
                expected="one column",
                remedy="task: multilabel for a 0/1 column for each class, task: regression for quantities",
            )
        if self.names is None:
            alone = form(columns[0], typed=block.typed) if len(columns) == 1 else "numbers"
            several = self.kind == "several" and alone != "numbers"
            self.names = self.kind not in _MANY or several or alone == "arrays"
            if not self.names:
                _refuse_text(roles.label, columns, typed=block.typed)
        if self.names:
            return plain(columns[0], typed=block.typed)
        read = []
        for name, column in zip(roles.label, columns, strict=True):
            values, bad = numbers(column)
            found.lose(bad, "no number", name)
            read.append(np.where(np.isnan(values), -1, values) if self.kind == "several" else values)
        return np.stack(read, axis=1)

    def tidied(self, labels: list[Any]) -> npt.NDArray[Any] | list[Any]:
        """Labels as an array: whole numbers where they all are, -1 for a missing one."""
        there = [label for label in labels if label is not None and not (isinstance(label, float) and label != label)]
        if isinstance(labels[0], np.ndarray):
            return np.stack(labels)
        if any(isinstance(label, list | tuple) for label in there):
            return labels
        if not self.typed and all(_whole(text) for text in there):
            there, labels = [int(text) for text in there], [None if text is None else int(text) for text in labels]
        if there and all(isinstance(label, int) and not isinstance(label, bool) for label in there):
            return np.array([-1 if label is None or label != label else label for label in labels], dtype=np.int64)
        if there and all(isinstance(label, float) and label.is_integer() for label in there):
            # a column of class numbers becomes one of decimals as soon as one of them is missing
            return np.array([-1 if label is None or label != label else int(label) for label in labels])
        array = np.empty(len(labels), dtype=object)
        array[:] = [None if label is None or label != label else label for label in labels]
        return array


@dataclass
class Found:
    """What was read of a block beside its inputs; `good` says which rows are still whole."""

    block: Block
    good: Mask
    lost: Unreadable
    labels: Sequence[Any] | npt.NDArray[Any] | None = None
    groups: Sequence[str | None] | None = None
    moments: Floats | None = None

    def lose(self, bad: Mask, why: str, column: str | None = None) -> None:
        """Notes the rows of a mask that were good until now, with what the column holds there."""
        for place in np.flatnonzero(bad & self.good).tolist():
            if column is None:
                self.lose_one(place, why)
                continue
            value = plain(self.block.column(column)[place : place + 1])[0]
            empty = value is None or value != value or value == ""
            self.lose_one(
                place, f"column {column!r} is empty" if empty else f"column {column!r} holds {value!r}, {why}"
            )

    def lose_one(self, place: int, why: str) -> None:
        """Notes one row."""
        self.good[place] = False
        self.lost.add(self.block.where(place), why)


def _refuse_text(names: Sequence[str], columns: Sequence[Any], *, typed: bool) -> None:
    """Refuses labels that are words where numbers are learnt, before each of them is counted as unreadable."""
    text = [name for name, column in zip(names, columns, strict=True) if form(column, typed=typed) == "text"]
    if text:
        raise DataError(
            f"the label column {text[0]!r} holds text, and the task reads numbers",
            expected="a column of numbers",
            remedy="task: classification for names of classes, or another column in columns.label",
        )


def _whole(text: object) -> bool:
    """Whether a text is a whole number as one writes it: "7" and "-1" are, "007" is a name."""
    return isinstance(text, str) and text.removeprefix("-").isdecimal() and str(int(text)) == text


def _spans(found: list[float]) -> tuple[Floats, Floats]:
    """When each row begins and ends: a line of a table is one moment."""
    moment = np.array(found, dtype=np.float64)
    return moment, moment


def _columns(roles: Roles) -> dict[str, Any]:
    said = {"inputs": list(roles.inputs), "label": list(roles.label), "group": roles.group, "time": roles.time}
    return {name: value for name, value in said.items() if value}
