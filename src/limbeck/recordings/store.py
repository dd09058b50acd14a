"""Reading a recording by (id, view): a row is fetched from disk when it is asked for."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from limbeck.errors import RecipeError, RecordingError
from limbeck.recordings import form, shards
from limbeck.recordings.columns import Stored, taken
from limbeck.recordings.index import Index
from limbeck.recordings.integrity import compare, compare_index, finished
from limbeck.recordings.manifest import Manifest, Place, read_manifest
from limbeck.signals import Signals
from limbeck.storage import write_whole

_TIMING = "timing.json"


class Recording:
    """A recording: what its teacher said about any of its rows, without the teacher.

    Files are mapped, not read: a row comes from disk when it is first asked for.

    Args:
        path: The folder.
        verify: Whether to compare every shard with its SHA-256 first, which reads the whole recording once.
        unfinished: Whether to open one that is still being written, up to its last finished shard at this moment.

    Raises:
        RecordingError: When it is no recording, not finished, of another Limbeck, or damaged (which names the file).
    """

    def __init__(self, path: Path | str, *, verify: bool = True, unfinished: bool = False) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        if not unfinished:
            refuse_incomplete(self.path, self.manifest)
        there = finished(self.path, self.manifest)
        if verify:
            compare(self.path, self.manifest, there)
        else:
            compare_index(self.path, self.manifest)
        self.keep = _kept(self.path, self.manifest.identity.keep)
        self.index = Index.read(self.path)
        self._shards: list[dict[str, Stored] | None] = [
            shards.mapped(self.path / place.file, self.manifest.columns, place.rows) if place.file in there else None
            for place in self.manifest.places()
        ]
        self.fingerprint = self.manifest.fingerprint
        self._device, self._tables = torch.device("cpu"), self.index.tables

    @property
    def bytes(self) -> int:
        """Size of the recorded answers on disk, in bytes."""
        return self.manifest.bytes

    @property
    def seconds(self) -> float:
        """Wall seconds the recording took, all its sittings together; not a number when the note of it is gone."""
        return seconds_noted(self.path, math.nan)

    @property
    def silent(self) -> dict[int, Int[Tensor, " silent"]]:
        """The ids of the rows the teacher said nothing about, ascending, by view; a view without any is left out."""
        there = zip(self.manifest.places(), self._shards, strict=True)
        return silent(((place, shard) for place, shard in there if shard is not None), self.index)

    @property
    def ids(self) -> Int[Tensor, " rows"]:
        """The ids of the recorded rows, ascending."""
        return self.index.ids

    def to(self, device: torch.device) -> "Recording":
        """Gives answers on a device from now on, and returns itself; the recording stays where it is."""
        self._device = device
        self._tables = {name: table.to(device) for name, table in self.index.tables.items()}
        return self

    def signals(
        self,
        ids: Int[Tensor, " rows"],
        views: Int[Tensor, " rows"],
        layers: tuple[str, ...] = (),
        *,
        dense: bool = True,
    ) -> Signals:
        """What the teacher said about these rows in these views, in this order, on this recording's device.

        Hand it ids that are on the CPU: looking up ids that lie on another device waits for that device.

        Args:
            ids: Ids of recorded rows.
            views: For each row, which of its recorded views: 0 up to, not including, `views`.
            layers: Those of the recorded layers whose features are wanted.
            dense: Whether the logits themselves will be read, which a form may have to compute.

        Raises:
            RecordingError: When a row or a view was not recorded, or not yet.
        """
        ids, views = ids.cpu(), views.cpu()
        positions = self.index.positions(ids, self.path)
        self._check_views(views)
        numbers = views * self.manifest.shards_per_view + positions // self.manifest.shard_rows
        places = positions % self.manifest.shard_rows
        kept: dict[str, Stored] = {}
        for name in self.keep.columns(layers, self.manifest.columns):
            column = taken(self._columns(name, numbers), numbers, places)
            # The narrow numbers travel, not what is made of them.
            kept[name] = column.to(self._device, non_blocking=True) if isinstance(column, Tensor) else column
        found = self.keep.unpack(kept, layers, self._tables, dense)
        return found if self._device.type == "cpu" else found.to(self._device)

    def _columns(self, name: str, numbers: Tensor) -> Mapping[int, Stored]:
        """One column of the shards with these numbers."""
        columns = {}
        for number in numbers.unique().tolist():
            shard = self._shards[number]
            if shard is None:
                raise RecordingError(
                    f"the recording {self.path} is still being written, and its shard {number} is not finished",
                    expected=f"rows and views of the {sum(s is not None for s in self._shards)} finished shards",
                    remedy="wait until it has finished, or open it again to see the shards finished since",
                )
            columns[number] = shard[name]
        return columns

    def _check_views(self, views: Tensor) -> None:
        count = self.manifest.identity.views
        if not len(views) or (int(views.min()) >= 0 and int(views.max()) < count):
            return
        strange = views[(views < 0) | (views >= count)]
        raise RecordingError(
            f"the recording {self.path} holds no view {int(strange[0])}",
            expected=f"views from 0 to {count - 1}",
            remedy="cycle through the recorded views, or record more of them into another folder",
        )


def verify(path: Path | str, *, unfinished: bool = False) -> Manifest:
    """Compares every finished shard of a recording with its SHA-256.

    Args:
        path: The folder.
        unfinished: Whether to accept one that is not finished; it is compared up to its last finished shard.

    Returns:
        The manifest, listing the shards that were compared.

    Raises:
        RecordingError: When it is not finished, or shards are missing or not what was written; the message names them.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if not unfinished:
        refuse_incomplete(folder, manifest)
    there = finished(folder, manifest)
    compare(folder, manifest, there)
    return replace(manifest, shards=there)


def _kept(folder: Path, keep: str) -> form.Keep:
    try:
        return form.parse(keep)
    except RecipeError as error:
        raise RecordingError(
            f"{folder} keeps its answers as {keep!r}, which this Limbeck does not know",
            expected=f"one of {form.known_forms()}",
            remedy="upgrade limbeck, or record the teacher again into another folder",
        ) from error


def digest_of(ids: Int[Tensor, " rows"]) -> str:
    """The first 32 hexadecimal digits of a SHA-256 over ids."""
    return hashlib.sha256(ids.cpu().contiguous().numpy().tobytes()).hexdigest()[:32]


def silent(kept: Iterable[tuple[Place, Mapping[str, Stored]]], index: Index) -> dict[int, Int[Tensor, " silent"]]:
    """The ids of the rows, among those of some shards, that the teacher said nothing about, by view."""
    ids: dict[int, list[Tensor]] = {}
    for place, columns in kept:
        said = columns.get(form.SAID)
        if isinstance(said, Tensor) and len(missed := index.of(place.first, len(said))[~said]):
            ids.setdefault(place.view, []).append(missed)
    return {view: torch.cat(found) for view, found in ids.items()}


def refuse_incomplete(folder: Path, manifest: Manifest) -> None:
    """Refuses a recording that is not finished.

    Raises:
        RecordingError: How many of its shards are there.
    """
    if not manifest.complete:
        there, whole = len(finished(folder, manifest)), len(manifest.places())
        raise RecordingError(
            f"the recording {folder} is not finished: {there} of {whole} shards are there",
            expected="a finished recording",
            remedy="record again into the same folder: it goes on where it stopped",
        )


def note_seconds(folder: Path, seconds: float) -> None:
    """Notes how long a recording took so far, all its sittings and shares together.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    write_whole(folder / _TIMING, json.dumps({"seconds": round(seconds, 3)}).encode())


def seconds_noted(folder: Path, unknown: float) -> float:
    """How long a recording took so far, as noted in its folder."""
    try:
        return float(json.loads((folder / _TIMING).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return unknown
