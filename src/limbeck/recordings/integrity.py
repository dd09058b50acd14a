"""Which shards of a recording are finished, and whether files are still what was written."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from limbeck.errors import RecordingError
from limbeck.recordings.folder import write_atomically
from limbeck.recordings.manifest import INDEX, Manifest, Place, Shard
from limbeck.recordings.shards import sha256


def note(folder: Path, place: Place, shard: Shard) -> None:
    """Writes beside a shard that it is finished.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    write_atomically(folder / place.note, json.dumps(asdict(shard)).encode())


def finished(folder: Path, manifest: Manifest) -> dict[str, Shard]:
    """The finished shards by file name: all that the manifest lists, and those whose note and file are there."""
    found = dict(manifest.shards)
    for place in manifest.places():
        if place.file not in found and (folder / place.file).exists():
            shard = _noted(folder / place.note)
            if shard is not None:
                found[place.file] = shard
    return found


def compare(folder: Path, manifest: Manifest, shards: Mapping[str, Shard]) -> None:
    """Compares the index and shards with their SHA-256, which reads them once.

    Raises:
        RecordingError: When a file is missing or is not what was written; the message names it.
    """
    again = "record again into the same folder: only that shard is made anew"
    for place in manifest.places():
        if place.file in shards:
            remedy = f"delete {place.file} and {again}" if (folder / place.file).is_file() else again
            _compare(folder / place.file, shards[place.file], "shard", remedy)
    compare_index(folder, manifest)


def compare_index(folder: Path, manifest: Manifest) -> None:
    """Compares the file with the ids and with what is kept once with its SHA-256.

    Raises:
        RecordingError: When it is missing or is not what was written.
    """
    remedy = "restore it from a copy, or record the teacher again into another folder"
    _compare(folder / INDEX, manifest.index, "index", remedy)


def _noted(path: Path) -> Shard | None:
    # A note that is torn or gone only costs time: its shard is made anew.
    try:
        return Shard(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _compare(path: Path, expected: Shard, what: str, remedy: str) -> None:
    if not path.is_file():
        raise RecordingError(
            f"the {what} {path} is missing", expected=f"a file of {expected.bytes} bytes", remedy=remedy
        )
    size = path.stat().st_size
    if size != expected.bytes:
        raise RecordingError(
            f"the {what} {path} is torn: it has {size} bytes", expected=f"{expected.bytes} bytes", remedy=remedy
        )
    if sha256(path) != expected.sha256:
        raise RecordingError(
            f"the {what} {path} is damaged: its SHA-256 is not the one that was written",
            expected=expected.sha256,
            remedy=remedy,
        )
