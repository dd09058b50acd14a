"""Several shares of one recording, written in folders of their own, as one recording."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from limbeck.errors import RecordingError
from limbeck.recordings.integrity import compare, finished, note
from limbeck.recordings.manifest import INDEX, Manifest, read_manifest, refuse_other
from limbeck.recordings.store import note_seconds, seconds_noted
from limbeck.recordings.writer import begun_manifest, conclude
from limbeck.storage import copy_whole, refuse_full_disk, sole_writer


def merge(parts: Sequence[Path | str], to: Path | str) -> Manifest:
    """Copies the finished shards of several folders into one, and concludes the recording when none is missing.

    Args:
        parts: Folders in which shares of one recording were written: of the same teacher, rows, views and form, begun
            by the same call but for its share.
        to: A new folder, an empty one, or one of an earlier merging of this recording, which is gone on with.

    Returns:
        The manifest of the merged recording; where shards are missing it is not complete, and `record` into the folder
        makes them.

    Raises:
        RecordingError: When the parts are not of one recording, a shard is damaged, or the folder is something else.
        StorageError: When the disk is full or cannot be written; what was copied is kept.
    """
    folders, target = [Path(part) for part in parts], Path(to)
    if not folders:
        raise RecordingError("no recordings to merge were named", expected="two folders or more")
    manifests = [read_manifest(folder) for folder in folders]
    first = manifests[0]
    for folder, manifest in zip(folders[1:], manifests[1:], strict=True):
        refuse_other(manifest.identity, first.identity, folder)
        for word in ("columns", "shard_rows", "index"):
            if getattr(manifest, word) != getattr(first, word):
                raise RecordingError(
                    f"{folder} is laid out otherwise than {folders[0]}: another {word.replace('_', ' ')}",
                    expected="shares of one recording, begun by the same call",
                    remedy="record the shares again with equal settings (keep, shard size, layers)",
                )
    with sole_writer(target):
        begun = begun_manifest(target)
        if begun is None:
            copy_whole(folders[0] / INDEX, target / INDEX)
            replace(first, shards={}).write(target)
        else:
            refuse_other(begun.identity, first.identity, target)
        for folder, manifest in zip(folders, manifests, strict=True):
            _copy(folder, manifest, target)
        note_seconds(target, sum(seconds_noted(folder, 0.0) for folder in folders))
        conclude(target)
    return read_manifest(target)


def _copy(folder: Path, manifest: Manifest, target: Path) -> None:
    there, have = finished(folder, manifest), finished(target, read_manifest(target))
    missing = {name: shard for name, shard in there.items() if name not in have}
    compare(folder, manifest, missing)
    refuse_full_disk(target, sum(shard.bytes for shard in missing.values()))
    for place in manifest.places():
        if place.file in missing:
            copy_whole(folder / place.file, target / place.file)
            note(target, place, missing[place.file])
