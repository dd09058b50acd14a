"""Rows of data: inputs as they were stored, labels where they are known, and a place for each row."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from limbeck.data.inputs import Inputs, blocks


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows, raw. Where `known` is False the label is hidden and its number means nothing."""

    inputs: Shaped[Tensor, "rows ..."]
    labels: Shaped[Tensor, "rows ..."] | None
    known: Bool[Tensor, "rows ..."]
    ids: Int[Tensor, " rows"]
    rationale: Bool[Tensor, "rows ..."] | None = None


@runtime_checkable
class Rows(Protocol):
    """Data that can be read at any places; training, recording and evaluation ask for nothing more.

    `ids` are the rows' places in the whole data set: a row keeps its id whatever split it falls into.
    """

    def __len__(self) -> int: ...

    @property
    def labels(self) -> Shaped[Tensor, "rows ..."] | None:
        """The label of each row, or of each of its steps, None where no row has one; see `known`."""
        ...

    @property
    def known(self) -> Bool[Tensor, "rows ..."]:
        """Which labels may be seen, for each row or for each of its steps."""
        ...

    @property
    def ids(self) -> Int[Tensor, " rows"]:
        """The place of each row in the data set, by position in these rows."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of the rows' content: inputs, labels, which labels are known, and ids."""
        ...

    @property
    def inputs_fingerprint(self) -> str:
        """A hash of what a teacher is shown of the rows: inputs and ids, whatever their labels."""
        ...

    def take(self, positions: Int[Tensor, " taken"]) -> Piece:
        """The rows at these positions (0 to len - 1), in this order."""
        ...


@dataclass(frozen=True, eq=False)
class TensorRows:
    """Rows whose labels lie in memory, and their inputs there or elsewhere (8-bit images stay 8-bit, channels first).

    Args:
        inputs: What a model reads, raw: a tensor, or something that fetches rows when they are asked for.
        labels: What the task learns, or None where no row has a label.
        known: Which labels may be seen, for each row or for each of its steps.
        ids: The rows' places in the data set.
        groups: Number of the group (person, patient, machine) each row comes from; None where it is not known.
        rationale: Of texts, which labels belong to the steps before an answer; None where the data does not tell.
    """

    inputs: Shaped[Tensor, "rows ..."] | Inputs
    labels: Shaped[Tensor, "rows ..."] | None
    known: Bool[Tensor, "rows ..."]
    ids: Int[Tensor, " rows"]
    groups: Int[Tensor, " rows"] | None = None
    rationale: Bool[Tensor, "rows ..."] | None = None

    @classmethod
    def of(cls, inputs: Shaped[Tensor, "rows ..."], labels: Int[Tensor, " rows"] | None = None) -> "TensorRows":
        """Rows numbered from 0, one label each; every label is known, where there are labels."""
        count = inputs.shape[0]
        known = torch.full((count,), labels is not None, device=inputs.device)
        return cls(inputs, labels, known, torch.arange(count, device=inputs.device))

    def __post_init__(self) -> None:
        rest = (self.labels, self.known, self.ids, self.groups, self.rationale)
        lengths = {self.inputs.shape[0], *(len(tensor) for tensor in rest if tensor is not None)}
        assert len(lengths) == 1, f"inputs and what stands beside them differ in length: {sorted(lengths)}"

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    def take(self, positions: Int[Tensor, " taken"]) -> Piece:
        """The rows at these positions, in this order."""
        if isinstance(self.inputs, Tensor):
            at = positions.to(self.inputs.device)
            inputs = self.inputs.index_select(0, at)
        else:
            at = positions.to(self.ids.device)
            inputs = self.inputs.take(positions.cpu()).to(self.ids.device)
        labels = None if self.labels is None else self.labels.index_select(0, at)
        if labels is not None and labels.dtype == torch.int32:
            labels = labels.long()  # kept in half the memory; torch indexes with int64
        steps = None if self.rationale is None else self.rationale.index_select(0, at)
        return Piece(inputs, labels, self.known.index_select(0, at), self.ids.index_select(0, at), steps)

    def select(self, positions: Int[Tensor, " taken"]) -> "TensorRows":
        """Rows of their own at these positions; they keep their ids."""
        at = positions.to(self.ids.device)
        held = self.inputs
        return TensorRows(
            held.index_select(0, at) if isinstance(held, Tensor) else held.select(positions.cpu()),
            None if self.labels is None else self.labels.index_select(0, at),
            self.known.index_select(0, at),
            self.ids.index_select(0, at),
            None if self.groups is None else self.groups.index_select(0, at),
            None if self.rationale is None else self.rationale.index_select(0, at),
        )

    def hide_labels(self, keep: Int[Tensor, " kept"]) -> "TensorRows":
        """The same rows with only the labels at these positions; the others are erased, not only marked."""
        known = torch.zeros_like(self.known)
        known[keep] = self.known[keep]
        labels = self.labels
        if labels is not None:
            shown = known.reshape(*known.shape, *(1 for _ in labels.shape[known.ndim :]))
            labels = torch.where(shown, labels, torch.zeros_like(labels))
        return replace(self, labels=labels, known=known)

    def without(self, *labels: int) -> "TensorRows":
        """The rows whose label is none of these; rows with an unknown label stay."""
        if self.labels is None:
            return self
        leaving = torch.isin(self.labels, torch.tensor(labels, dtype=self.labels.dtype, device=self.labels.device))
        return self.select((~(leaving & self.known)).nonzero().squeeze(1))

    def to(self, device: torch.device) -> "TensorRows":
        """The same rows on a device; batches and augmentation then happen there. Fetched inputs stay where they are."""
        return TensorRows(
            self.inputs.to(device) if isinstance(self.inputs, Tensor) else self.inputs,
            None if self.labels is None else self.labels.to(device),
            self.known.to(device),
            self.ids.to(device),
            None if self.groups is None else self.groups.to(device),
            None if self.rationale is None else self.rationale.to(device),
        )

    @property
    def fingerprint(self) -> str:
        """The first 32 hexadecimal digits of a SHA-256 over inputs, labels, known and ids, computed once.

        Inputs in memory, in a file and in windows are hashed as the same bytes, so what was recorded with one fits
        another.
        """
        return self._fingerprints[0]

    @property
    def inputs_fingerprint(self) -> str:
        """As `fingerprint`, over inputs and ids alone."""
        return self._fingerprints[1]

    @cached_property
    def _fingerprints(self) -> tuple[str, str]:
        whole = hashlib.sha256()
        self._digest(whole, "inputs")
        seen = whole.copy()  # the inputs may be large, and are read once for both
        for name in ("labels", "known", "ids"):
            self._digest(whole, name)
        if self.rationale is not None:
            self._digest(whole, "rationale")
        self._digest(seen, "ids")
        return whole.hexdigest()[:32], seen.hexdigest()[:32]

    def _digest(self, digest: "hashlib._Hash", name: str) -> None:
        tensor: Tensor | Inputs | None = getattr(self, name)
        if tensor is None:
            digest.update(f"{name}|none|".encode())
            return
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        for block in blocks(tensor):
            digest.update(block.reshape(-1).view(torch.uint8).numpy().data)
