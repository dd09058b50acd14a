"""Which shards of a recording are finished, and whether files are still what was written."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from limbeck.errors import RecordingError
from limbeck.recordings.manifest import INDEX, Manifest, Place, Shard
from limbeck.recordings.shards import sha256
from limbeck.storage import write_whole


def note(folder: Path, place: Place, shard: Shard) -> None:
    """Writes beside a shard that it is finished.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    write_whole(folder / place.note, json.dumps(asdict(shard)).encode())


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
        RecordingError: When files are missing or are not what was written; the message names all such shards.
    """
    compare_index(folder, manifest)
    again = "record again into the same folder: only that shard is made anew"
    damages = {}
    for name in sorted(shards):
        remedy = f"delete {name} and {again}" if (folder / name).is_file() else again
        if (error := _damage(folder / name, shards[name], "shard", remedy)) is not None:
            damages[name] = error
    if len(damages) > 1:
        raise _together(folder, damages, len(shards))
    for error in damages.values():
        raise error


def compare_index(folder: Path, manifest: Manifest) -> None:
    """Compares the file with the ids and with what is kept once with its SHA-256.

    Raises:
        RecordingError: When it is missing or is not what was written.
    """
    remedy = "restore it from a copy, or record the teacher again into another folder"
    if (error := _damage(folder / INDEX, manifest.index, "index", remedy)) is not None:
        raise error


def _noted(path: Path) -> Shard | None:
    # A note that is torn or gone only costs time: its shard is made anew.
    try:
        return Shard(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _damage(path: Path, expected: Shard, what: str, remedy: str) -> RecordingError | None:
    """What became of a file; None where it is as it was written."""
    if not path.is_file():
        return RecordingError(
            f"the {what} {path} is missing", expected=f"a file of {expected.bytes} bytes", remedy=remedy
        )
    size = path.stat().st_size
    if size != expected.bytes:
        return RecordingError(
            f"the {what} {path} is torn: it has {size} bytes", expected=f"{expected.bytes} bytes", remedy=remedy
        )
    if sha256(path) != expected.sha256:
        return RecordingError(
            f"the {what} {path} is damaged: its SHA-256 is not the one that was written",
            expected=expected.sha256,
            remedy=remedy,
        )
    return None


def _together(folder: Path, damages: Mapping[str, RecordingError], of: int) -> RecordingError:
    """Several damaged shards as one error, so that nobody has to find them one run after the other."""
    present = [name for name in damages if (folder / name).is_file()]
    delete = f"delete {', '.join(present)} and " if present else ""
    return RecordingError(
        f"{len(damages)} of {of} finished shards are not what was written: "
        f"{'; '.join(error.happened for error in damages.values())}",
        expected="the bytes that were written; the other shards have them",
        remedy=f"{delete}record again into the same folder: only those shards are made anew",
    )
