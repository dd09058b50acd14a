"""Writing a recording, or a share of it, shard by shard."""

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from limbeck.errors import RecordingError
from limbeck.recordings import columns, form, shards
from limbeck.recordings.columns import Stored
from limbeck.recordings.index import Index
from limbeck.recordings.integrity import compare, finished, note
from limbeck.recordings.manifest import FILE, INDEX, Manifest, Place, Shard, read_manifest
from limbeck.recordings.store import note_seconds, seconds_noted, silent
from limbeck.signals import Batch, Signals
from limbeck.storage import LOCK, PARTIAL, refuse_full_disk, write_whole

_DIGEST = 32
# What a writer killed before its first manifest may leave.
_FIRST_FILES = {LOCK, FILE + PARTIAL, INDEX, INDEX + PARTIAL}


@dataclass(frozen=True)
class Share:
    """Which of a recording's shards one of several writers makes: the `number`-th of `of`, from 0."""

    number: int = 0
    of: int = 1

    def places(self, manifest: Manifest) -> list[Place]:
        """The shards of this share, finished or not."""
        return manifest.places()[self.number :: self.of]


class Writer:
    """Writes the shards of a share that are not finished yet. The caller holds the shard (`storage.sole_writer`).

    Args:
        folder: Where.
        manifest: What is to be recorded; it has been written, and so has the index.
        index: The ids and the form's tables.
        keep: How answers are kept.
        save_seconds: How often the shard in work is saved, so that a kill costs at most so many seconds, and a batch.
        share: Which of the shards.
        times: Whether to note how long it takes; of several writers side by side in one folder one does.

    Raises:
        RecordingError: When a finished shard was damaged since; the message names it.
        StorageError: When the disk has no room for the rest.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        index: Index,
        keep: form.Keep,
        *,
        save_seconds: float,
        share: Share,
        times: bool,
    ) -> None:
        self.folder, self.manifest, self.index, self.keep, self.share = folder, manifest, index, keep, share
        own = {place.file for place in share.places(manifest)}
        there = finished(folder, manifest)
        self.finished = {name: shard for name, shard in there.items() if name in own and (folder / name).exists()}
        compare(folder, manifest, self.finished)
        self._before, self._start = seconds_noted(folder, 0.0), time.monotonic()
        self._save_seconds, self._saved, self._times = save_seconds, self._start, times
        self._pieces: list[dict[str, Stored]] = []
        refuse_full_disk(folder, sum(place.rows for place in self.places()) * manifest.row_bytes)

    def places(self) -> list[Place]:
        """The shards of the share that are still to be written."""
        return [place for place in self.share.places(self.manifest) if place.file not in self.finished]

    def silent(self) -> dict[int, Int[Tensor, " silent"]]:
        """The ids of the rows, in finished shards, that the teacher said nothing about, by view."""
        if form.SAID not in self.manifest.columns:
            return {}
        there = [place for place in self.share.places(self.manifest) if place.file in self.finished]
        known = self.manifest.columns
        kept = ((place, shards.mapped(self.folder / place.file, known, place.rows)) for place in there)
        return silent(kept, self.index)

    def begin(self, place: Place) -> int:
        """Takes up a shard; returns how many of its rows an earlier sitting had saved."""
        self._pieces = []
        path = self.folder / place.unfinished
        content = path.read_bytes() if path.exists() else b""
        # A piece that is torn is only time lost: its rows are asked for again.
        if content[:_DIGEST] == hashlib.sha256(content[_DIGEST:]).digest():
            self._pieces = [shards.decode(content[_DIGEST:])]
        return self._rows()

    def silent_here(self, place: Place) -> dict[int, Int[Tensor, " silent"]]:
        """As `silent`, of the shard in work."""
        return silent([(place, columns.joined(self._pieces))], self.index) if self._pieces else {}

    def add(self, batch: Batch, answer: Signals, place: Place) -> None:
        """Adds the answer about the next rows of a shard, in the order of their ids."""
        kept = self.keep.pack(answer, batch, self.manifest.identity.layers, self.index.tables)
        found = columns.described(kept)
        if found != self.manifest.columns:
            raise RecordingError(
                f"the teacher's answers changed shape or precision: {found}",
                expected=f"as at the beginning: {dict(self.manifest.columns)}",
                remedy="record with the same teacher in the same precision throughout",
            )
        self._pieces.append(kept)
        if time.monotonic() - self._saved >= self._save_seconds:
            self.save(place)

    def save(self, place: Place) -> None:
        """Saves the rows of a shard in work."""
        if self._pieces:
            content = shards.encode(columns.joined(self._pieces))
            write_whole(self.folder / place.unfinished, hashlib.sha256(content).digest() + content)
            self._note_time()
        self._saved = time.monotonic()

    def finish(self, place: Place) -> None:
        """Writes a shard whose rows have all been added, and notes beside it that it is finished."""
        content = shards.encode(columns.joined(self._pieces))
        write_whole(self.folder / place.file, content)
        shard = Shard(len(content), hashlib.sha256(content).hexdigest())
        note(self.folder, place, shard)
        self.finished[place.file], self._pieces = shard, []
        (self.folder / place.unfinished).unlink(missing_ok=True)
        self._note_time()
        self._saved = time.monotonic()

    def _rows(self) -> int:
        return sum(len(next(iter(piece.values()))) for piece in self._pieces)

    def _note_time(self) -> None:
        if self._times:
            note_seconds(self.folder, self._before + time.monotonic() - self._start)


def conclude(folder: Path) -> bool:
    """Lists the shards in the manifest once all are finished, and removes what was needed until then.

    Returns:
        Whether the recording is finished.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    manifest = read_manifest(folder)
    there = finished(folder, manifest)
    if len(there) < len(manifest.places()):
        return False
    if not manifest.complete:
        replace(manifest, shards=there).write(folder)
    for place in manifest.places():
        (folder / place.note).unlink(missing_ok=True)
        (folder / place.unfinished).unlink(missing_ok=True)
        # A killed writer let go of its shard, and left the file.
        (folder / place.lock).unlink(missing_ok=True)
    return True


def begun_manifest(folder: Path) -> Manifest | None:
    """The manifest of a recording that was begun in a folder, None when the folder is new or empty.

    Shards that the manifest lists and whose file is gone are to be made anew: they are taken from the list, and the
    others noted beside themselves, as in a recording that was never finished.

    Raises:
        RecordingError: When the manifest is damaged, this Limbeck cannot read it, or the folder is for something else.
        StorageError: When the disk is full or cannot be written.
    """
    if (folder / FILE).exists():
        manifest = read_manifest(folder)
        if all((folder / name).exists() for name in manifest.shards):
            return manifest
        for place in manifest.places():
            if place.file in manifest.shards and (folder / place.file).exists():
                note(folder, place, manifest.shards[place.file])
        reopened = replace(manifest, shards={})
        reopened.write(folder)
        return reopened
    strange = sorted(path.name for path in folder.glob("*") if path.name not in _FIRST_FILES)
    if strange:
        raise RecordingError(
            f"{folder} is not a recording and is not empty: it holds {strange[0]!r}",
            expected="a new or empty folder, or a recording of the same teacher and data",
            remedy="give another folder",
        )
    return None
