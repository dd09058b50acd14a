"""What is kept once for the whole recording: the rows' ids, and the tables of the form."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors.torch import save
from torch import Tensor

from limbeck.errors import RecordingError
from limbeck.recordings.manifest import INDEX, Shard
from limbeck.recordings.shards import opened
from limbeck.storage import write_whole

_IDS = "ids"
_TABLE = "table:"


class Index:
    """The ids of the recorded rows, ascending, and the form's tables: read whole, as every batch asks for both.

    Args:
        ids: Ascending, each once.
        tables: By name.
    """

    def __init__(self, ids: Int[Tensor, " rows"], tables: Mapping[str, Tensor]) -> None:
        self.ids, self.tables = ids.contiguous(), dict(tables)
        # Ids without a gap are their own places; looking others up is a search.
        self._first = int(ids[0]) if len(ids) and int(ids[-1]) - int(ids[0]) == len(ids) - 1 else None

    @classmethod
    def read(cls, folder: Path) -> "Index":
        """The index of a recording.

        Raises:
            RecordingError: When it is no such file.
        """
        found = {name: column for name, column in opened(folder / INDEX).items() if isinstance(column, Tensor)}
        if _IDS not in found:
            raise RecordingError(
                f"{folder / INDEX} holds no ids", remedy="record the teacher again into another folder"
            )
        tables = {n.removeprefix(_TABLE): t.clone() for n, t in found.items() if n.startswith(_TABLE)}
        return cls(found[_IDS].clone(), tables)

    def write(self, folder: Path) -> Shard:
        """Writes the index; returns its size and hash.

        Raises:
            StorageError: When the disk is full or cannot be written.
        """
        tables = {_TABLE + name: table.contiguous() for name, table in self.tables.items()}
        content = save({_IDS: self.ids, **tables})
        write_whole(folder / INDEX, content)
        return Shard(len(content), hashlib.sha256(content).hexdigest())

    def positions(self, ids: Int[Tensor, " rows"], folder: Path) -> Int[Tensor, " rows"]:
        """The places of rows in the order of their ids.

        Raises:
            RecordingError: When a row was not recorded.
        """
        if self._first is not None:
            positions = (ids - self._first).clamp(min=0, max=len(self.ids) - 1)
        else:
            positions = torch.searchsorted(self.ids, ids).clamp(max=len(self.ids) - 1)
        strange = ids[self.ids[positions] != ids]
        if len(strange):
            raise RecordingError(
                f"the recording {folder} holds no row with id {int(strange[0])} ({len(strange)} of {len(ids)} miss)",
                expected=f"{len(self.ids)} recorded rows with ids from {int(self.ids[0])} to {int(self.ids[-1])}",
                remedy="use the rows that were recorded, or record these rows too, into another folder",
            )
        return positions

    def of(self, first: int, rows: int) -> Int[Tensor, " rows"]:
        """The ids of `rows` rows from place `first` on."""
        return self.ids[first : first + rows]
