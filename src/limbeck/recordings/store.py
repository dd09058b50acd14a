"""Writing a recording shard by shard, and reading it by (id, view)."""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from limbeck.errors import RecordingError
from limbeck.recordings import shards
from limbeck.recordings.folder import LOCK, TEMPORARY, refuse_full_disk, write_atomically
from limbeck.recordings.manifest import FILE, Manifest, Place, Shard, read_manifest
from limbeck.signals import Signals

_TIMING = "timing.json"
_UNFINISHED = "unfinished"
_DIGEST = 32
# What a writer killed before its first manifest may leave.
_FIRST_FILES = {LOCK, FILE + TEMPORARY}


class Recording:
    """A finished recording: what its teacher said about any of its rows, without the teacher.

    Files are mapped, not read: a row comes from disk when it is first asked for.

    Args:
        path: The folder.
        verify: Whether to compare every shard with its SHA-256 first, which reads the whole recording once.

    Raises:
        RecordingError: When it is no recording, not finished, of a newer Limbeck, or damaged (which names the file).
    """

    def __init__(self, path: Path | str, *, verify: bool = True) -> None:
        self.path = Path(path)
        self.manifest = _readable(self.path)
        _refuse_incomplete(self.path, self.manifest)
        if verify:
            _compare(self.path, self.manifest)
        self._shards = [
            shards.mapped(self.path / place.file, self.manifest.columns, place.rows) for place in self.manifest.places()
        ]
        per_view = self.manifest.shards_per_view
        self._ids = torch.cat([shard[shards.IDS] for shard in self._shards[:per_view]])
        self.fingerprint = self.manifest.fingerprint

    @property
    def bytes(self) -> int:
        """Size of the recorded answers on disk, in bytes."""
        return self.manifest.bytes

    @property
    def seconds(self) -> float:
        """Wall seconds the recording took, all its sittings together; not a number when the note of it is gone."""
        return _seconds(self.path, math.nan)

    @property
    def silent(self) -> dict[int, Int[Tensor, " silent"]]:
        """The ids of the rows the teacher said nothing about, ascending, by view; a view without any is left out."""
        return _silent(zip(self.manifest.places(), self._shards, strict=True))

    @property
    def ids(self) -> Int[Tensor, " rows"]:
        """The ids of the recorded rows, ascending."""
        return self._ids

    def signals(self, ids: Int[Tensor, " rows"], views: Int[Tensor, " rows"], layers: tuple[str, ...] = ()) -> Signals:
        """What the teacher said about these rows in these views, in this order, on the CPU.

        Args:
            ids: Ids of recorded rows.
            views: For each row, which of its recorded views: 0 up to, not including, `views`.
            layers: Those of the recorded layers whose features are wanted.

        Raises:
            RecordingError: When a row or a view was not recorded.
        """
        ids, views = ids.cpu(), views.cpu()
        positions = self._positions(ids)
        self._check_views(views)
        numbers = views * self.manifest.shards_per_view + positions // self.manifest.shard_rows
        offsets = positions % self.manifest.shard_rows
        kept = {name: self._gather(name, numbers, offsets) for name in shards.names_of(layers, self.manifest.columns)}
        return shards.signals_of(kept, layers)

    def _gather(self, name: str, numbers: Tensor, offsets: Tensor) -> Tensor:
        """Rows of one column, from as many shards as they lie in."""
        touched = numbers.unique().tolist()
        if len(touched) == 1:
            return self._shards[touched[0]][name].index_select(0, offsets)
        first = self._shards[0][name]
        rows = torch.empty((len(offsets), *first.shape[1:]), dtype=first.dtype)
        for number in touched:
            here = (numbers == number).nonzero().squeeze(1)
            rows[here] = self._shards[number][name].index_select(0, offsets[here])
        return rows

    def _positions(self, ids: Tensor) -> Tensor:
        positions = torch.searchsorted(self._ids, ids).clamp(max=len(self._ids) - 1)
        strange = ids[self._ids[positions] != ids]
        if len(strange):
            raise RecordingError(
                f"the recording {self.path} holds no row with id {int(strange[0])} ({len(strange)} of {len(ids)} miss)",
                expected=f"{len(self._ids)} recorded rows with ids from {int(self._ids[0])} to {int(self._ids[-1])}",
                remedy="use the rows that were recorded, or record these rows too, into another folder",
            )
        return positions

    def _check_views(self, views: Tensor) -> None:
        count = self.manifest.identity.views
        strange = views[(views < 0) | (views >= count)]
        if len(strange):
            raise RecordingError(
                f"the recording {self.path} holds no view {int(strange[0])}",
                expected=f"views from 0 to {count - 1}",
                remedy="cycle through the recorded views, or record more of them into another folder",
            )


def verify(path: Path | str) -> Manifest:
    """Compares every shard of a recording with the SHA-256 in its manifest.

    Returns:
        The manifest.

    Raises:
        RecordingError: When it is not finished, or a shard is missing or is not what was written; the message names it.
    """
    folder = Path(path)
    manifest = _readable(folder)
    _refuse_incomplete(folder, manifest)
    _compare(folder, manifest)
    return manifest


class Writer:
    """Writes a recording, or the rest of it, shard by shard. The caller holds the folder (`folder.sole_writer`).

    Args:
        folder: Where.
        manifest: What is to be recorded, with the shards that are finished; those whose file is gone are made anew.
        save_seconds: How often the shard in work is saved, so that a kill costs at most so many seconds, and a batch.

    Raises:
        RecordingError: When a finished shard was damaged since; the message names it.
        StorageError: When the disk has no room for the rest, or cannot be written.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, save_seconds: float) -> None:
        present = {name: shard for name, shard in manifest.shards.items() if (folder / name).exists()}
        self.folder, self.manifest = folder, replace(manifest, shards=present)
        _compare(folder, self.manifest)
        self._before, self._start = _seconds(folder, 0.0), time.monotonic()
        self._save_seconds, self._saved = save_seconds, self._start
        self._pieces: list[dict[str, Tensor]] = []
        left = sum(place.rows for place in self.places())
        refuse_full_disk(folder, left * shards.row_bytes(self.manifest.columns))
        self.manifest.write(folder)
        if not left:
            # A kill between the last shard and this leaves it behind.
            (folder / _UNFINISHED).unlink(missing_ok=True)

    def places(self) -> list[Place]:
        """The shards that are still to be written."""
        return [place for place in self.manifest.places() if place.file not in self.manifest.shards]

    def silent(self) -> dict[int, Int[Tensor, " silent"]]:
        """The ids of the rows, in finished shards, that the teacher said nothing about, by view."""
        finished = [place for place in self.manifest.places() if place.file in self.manifest.shards]
        if shards.SAID not in self.manifest.columns:
            return {}
        columns = self.manifest.columns
        return _silent((place, shards.mapped(self.folder / place.file, columns, place.rows)) for place in finished)

    def begin(self, place: Place) -> int:
        """Takes up a shard; returns how many of its rows an earlier sitting had saved."""
        self._pieces = []
        path = self.folder / _UNFINISHED
        content = path.read_bytes() if path.exists() else b""
        header = hashlib.sha256(f"{place.number}".encode() + content[_DIGEST:]).digest()
        # A piece that is torn, or of another shard, is only time lost: its rows are asked for again.
        if content[:_DIGEST] == header:
            self._pieces = [shards.decode(content[_DIGEST:])]
        return sum(len(piece[shards.IDS]) for piece in self._pieces)

    def silent_here(self, place: Place) -> dict[int, Int[Tensor, " silent"]]:
        """As `silent`, of the shard in work."""
        return _silent((place, piece) for piece in self._pieces)

    def add(self, ids: Int[Tensor, " rows"], answer: Signals, place: Place) -> None:
        """Adds the answer about the next rows of a shard; the ids are ascending."""
        kept = shards.columns(answer, self.manifest.identity.layers)
        found = shards.describe(kept)
        if found != self.manifest.columns:
            raise RecordingError(
                f"the teacher's answers changed shape or precision: {found}",
                expected=f"as at the beginning: {dict(self.manifest.columns)}",
                remedy="record with the same teacher in the same precision throughout",
            )
        self._pieces.append({shards.IDS: ids.cpu(), **kept})
        if time.monotonic() - self._saved >= self._save_seconds:
            self.save(place)

    def save(self, place: Place) -> None:
        """Saves the rows of a shard in work."""
        if self._pieces:
            content = shards.encode(_joined(self._pieces))
            digest = hashlib.sha256(f"{place.number}".encode() + content).digest()
            write_atomically(self.folder / _UNFINISHED, digest + content)
            self._note_time()
        self._saved = time.monotonic()

    def finish(self, place: Place) -> None:
        """Writes a shard whose rows have all been added, and notes it in the manifest."""
        content = shards.encode(_joined(self._pieces))
        write_atomically(self.folder / place.file, content)
        shard = Shard(len(content), hashlib.sha256(content).hexdigest())
        finished = replace(self.manifest, shards={**self.manifest.shards, place.file: shard})
        finished.write(self.folder)
        self.manifest, self._pieces = finished, []
        (self.folder / _UNFINISHED).unlink(missing_ok=True)
        self._note_time()
        self._saved = time.monotonic()

    def _note_time(self) -> None:
        seconds = self._before + time.monotonic() - self._start
        write_atomically(self.folder / _TIMING, json.dumps({"seconds": round(seconds, 3)}).encode())


def begun_manifest(folder: Path) -> Manifest | None:
    """The manifest of a recording that was begun in a folder, None when the folder is new or empty.

    Raises:
        RecordingError: When the manifest is damaged, this Limbeck cannot read it, or the folder is for something else.
    """
    if (folder / FILE).exists():
        return _readable(folder)
    strange = sorted(path.name for path in folder.glob("*") if path.name not in _FIRST_FILES)
    if strange:
        raise RecordingError(
            f"{folder} is not a recording and is not empty: it holds {strange[0]!r}",
            expected="a new or empty folder, or a recording of the same teacher and data",
            remedy="give another folder",
        )
    return None


def digest_of(ids: Int[Tensor, " rows"]) -> str:
    """The first 32 hexadecimal digits of a SHA-256 over ids."""
    return hashlib.sha256(ids.cpu().contiguous().numpy().tobytes()).hexdigest()[:32]


def _silent(kept: Iterable[tuple[Place, Mapping[str, Tensor]]]) -> dict[int, Int[Tensor, " silent"]]:
    ids: dict[int, list[Tensor]] = {}
    for place, columns in kept:
        if len(found := shards.silent(columns)):
            ids.setdefault(place.view, []).append(found)
    return {view: torch.cat(found) for view, found in ids.items()}


def _joined(pieces: list[dict[str, Tensor]]) -> Mapping[str, Tensor]:
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


def _readable(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest.form != shards.FORM:
        raise RecordingError(
            f"{folder} keeps its answers in the form {manifest.form!r}",
            expected=f"the form {shards.FORM!r}",
            remedy="upgrade limbeck, or record the teacher again into another folder",
        )
    return manifest


def _refuse_incomplete(folder: Path, manifest: Manifest) -> None:
    if not manifest.complete:
        there, whole = len(manifest.shards), len(manifest.places())
        raise RecordingError(
            f"the recording {folder} is not finished: {there} of {whole} shards are there",
            expected="a finished recording",
            remedy="record again into the same folder: it goes on where it stopped",
        )


def _compare(folder: Path, manifest: Manifest) -> None:
    for place in manifest.places():
        shard = manifest.shards.get(place.file)
        if shard is None:
            continue
        path = folder / place.file
        remedy = f"delete {place.file} and record again into the same folder: only that shard is made anew"
        if not path.is_file():
            raise RecordingError(
                f"the shard {path} is missing",
                expected=f"a file of {shard.bytes} bytes",
                remedy="record again into the same folder: only that shard is made anew",
            )
        if path.stat().st_size != shard.bytes:
            raise RecordingError(
                f"the shard {path} is torn: it has {path.stat().st_size} bytes",
                expected=f"{shard.bytes} bytes",
                remedy=remedy,
            )
        if shards.sha256(path) != shard.sha256:
            raise RecordingError(
                f"the shard {path} is damaged: its SHA-256 is not the one that was written",
                expected=shard.sha256,
                remedy=remedy,
            )


def _seconds(folder: Path, unknown: float) -> float:
    try:
        return float(json.loads((folder / _TIMING).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return unknown
