"""What a recording is of: the teacher, the rows, the augmentation, and the shards that hold the answers."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from limbeck.errors import RecordingError
from limbeck.recordings.columns import Column
from limbeck.recordings.fidelity import Fidelity
from limbeck.storage import write_whole
from limbeck.targets.distance import Distance

SCHEMA = 2
FILE = "manifest.json"
INDEX = "index.safetensors"


@dataclass(frozen=True)
class Identity:
    """Everything that decides the bits of a recording; two recordings of one identity are one recording.

    `teacher` and `data` are fingerprints, of the data without its labels, and `ids` is a digest of the rows' ids;
    `augment` is the augmentation as it is written, "none" without one; `keep` says how answers are kept, as it is
    written; `layers` are the recorded features; `precision` is "float32" or the autocast type. `batch_size` is here
    because a row's last bits may depend on how many rows a network answers at once.
    """

    teacher: str
    data: str
    ids: str
    rows: int
    classes: tuple[str, ...]
    augment: str
    augment_seed: int
    views: int
    keep: str
    layers: tuple[str, ...]
    precision: str
    batch_size: int


@dataclass(frozen=True)
class Shard:
    """One finished file of a recording: its size in bytes and the SHA-256 of those bytes, in hex."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Place:
    """Where one shard lies in the recording: rows `first` up to `first + rows` of the sorted ids, in one view."""

    number: int
    view: int
    first: int
    rows: int

    @property
    def file(self) -> str:
        """The name of the shard's file."""
        return f"{self.number:05d}.safetensors"

    @property
    def note(self) -> str:
        """The name of the file that says the shard is finished, while the recording is not."""
        return f"{self.number:05d}.json"

    @property
    def lock(self) -> str:
        """The name of the file that whoever writes the shard has locked."""
        return f"{self.number:05d}.lock"

    @property
    def unfinished(self) -> str:
        """The name of the file that holds the rows of a shard in work."""
        return f"{self.number:05d}.unfinished"


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`: what the recording is of, how it is laid out, and, once it is finished, its shards.

    The shards go through view 0, then view 1 and so on, each view through the sorted ids, `shard_rows` rows a shard;
    a row takes about `row_bytes`.
    Until all are finished each says so in a note beside it, so that several processes can write shards of one
    recording. `index` is the file with the ids and with what is kept once. `made_with` (torch, device, threads) may
    also decide the last bits. `fidelity` says how far what is kept is from all logits; None where nothing is lost or no
    divergence will be asked for, and in recordings of earlier versions.
    """

    identity: Identity
    teacher_name: str
    columns: Mapping[str, Column]
    shard_rows: int
    row_bytes: int
    made_with: Mapping[str, str]
    index: Shard
    shards: Mapping[str, Shard] = field(default_factory=dict)
    fidelity: Fidelity | None = None
    schema: int = SCHEMA

    @property
    def shards_per_view(self) -> int:
        """How many shards hold one view."""
        return -(-self.identity.rows // self.shard_rows)

    @property
    def complete(self) -> bool:
        """Whether every shard has been finished."""
        return len(self.shards) == self.shards_per_view * self.identity.views

    @property
    def bytes(self) -> int:
        """Size of the finished shards and of the index on disk, in bytes."""
        return self.index.bytes + sum(shard.bytes for shard in self.shards.values())

    @property
    def fingerprint(self) -> str:
        """A hash that changes whenever a recorded answer does."""
        shards = {name: shard.sha256 for name, shard in sorted(self.shards.items())}
        text = json.dumps([asdict(self.identity), self.index.sha256, shards], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def places(self) -> list[Place]:
        """All shards of the finished recording, in the order they are written."""
        places = []
        for number in range(self.shards_per_view * self.identity.views):
            view, part = divmod(number, self.shards_per_view)
            first = part * self.shard_rows
            places.append(Place(number, view, first, min(self.shard_rows, self.identity.rows - first)))
        return places

    def write(self, folder: Path) -> None:
        """Writes the manifest so that a kill leaves either the old one or the new one.

        Raises:
            StorageError: When the disk is full or cannot be written.
        """
        raw = {**asdict(self), "complete": self.complete}
        write_whole(folder / FILE, json.dumps(raw, indent=1, sort_keys=True).encode())


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a recording.

    Raises:
        RecordingError: When the folder is no recording, its manifest is damaged, or a newer Limbeck wrote it.
    """
    path = folder / FILE
    if not path.is_file():
        near = sorted(other.parent.name for other in folder.parent.glob(f"*/{FILE}"))
        beside = f"a folder beside it that is one: {', '.join(near)}" if near else "record the teacher into it first"
        raise RecordingError(f"{folder} is not a recording: it has no {FILE}", remedy=beside)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        schema = raw["schema"]
        if isinstance(schema, int) and schema != SCHEMA:
            newer = schema > SCHEMA
            raise RecordingError(
                f"{path} has schema {schema}, from {'a newer' if newer else 'an older'} Limbeck",
                expected=f"schema {SCHEMA}",
                remedy=f"{'upgrade limbeck, or ' * newer}record the teacher again into another folder",
            )
        return _manifest(raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordingError(
            f"{path} is damaged ({type(error).__name__}: {error})",
            expected="the manifest of a recording, as limbeck wrote it",
            remedy="restore it from a copy, or record the teacher again into another folder",
        ) from error


def _manifest(raw: dict[str, Any]) -> Manifest:
    words = raw["identity"]
    identity = Identity(**{**words, "classes": tuple(words["classes"]), "layers": tuple(words["layers"])})
    columns = {name: Column(column["dtype"], tuple(column["shape"])) for name, column in raw["columns"].items()}
    shards = {name: Shard(**shard) for name, shard in raw["shards"].items()}
    index = Shard(**raw["index"])
    manifest = Manifest(
        identity,
        raw["teacher_name"],
        columns,
        raw["shard_rows"],
        raw["row_bytes"],
        raw["made_with"],
        index,
        shards,
        _fidelity(raw.get("fidelity")),
        raw["schema"],
    )
    if min(identity.rows, identity.views, manifest.shard_rows, identity.batch_size) < 1:
        raise ValueError("rows, views, shard_rows and batch_size must be at least 1")
    for name in shards.keys() - {place.file for place in manifest.places()}:
        raise ValueError(f"the shard {name!r} has no place in the recording")
    return manifest


def _fidelity(raw: Mapping[str, Any] | None) -> Fidelity | None:
    if raw is None:
        return None
    return Fidelity(raw["positions"], tuple(Distance(**each) for each in raw["distances"]))


def refuse_other(recorded: Identity, wanted: Identity, folder: Path) -> None:
    """Refuses a recording that is not the one wanted, naming the first thing that differs.

    A recording that holds more layers than are wanted is accepted.

    Raises:
        RecordingError: Which of teacher, data, rows, classes, augmentation, views, layers, precision or batch differs.
    """
    remedy = "give another folder for this recording, or delete that one if it is no longer wanted"
    missing = [layer for layer in wanted.layers if layer not in recorded.layers]
    for word in (part.name for part in fields(Identity)):
        have, want = getattr(recorded, word), getattr(wanted, word)
        if have != want and (word != "layers" or missing):
            what = f"no layer {missing[0]!r}" if word == "layers" else _DIFFERENCES[word].format(have=have)
            verb = "holds" if word == "layers" else "was made"
            raise RecordingError(
                f"the recording {folder} {verb} {what}", expected=f"{_names(word)}: {_short(want)}", remedy=remedy
            )


_DIFFERENCES = {
    "teacher": "of another teacher (fingerprint {have})",
    "data": "of other data (fingerprint {have})",
    "ids": "of other rows of this data (digest of ids {have})",
    "rows": "of {have} rows",
    "classes": "for other classes: {have}",
    "augment": "with another augmentation: {have}",
    "augment_seed": "with the augmentation seed {have}",
    "views": "with {have} views of each row",
    "keep": "with its answers kept as {have}",
    "precision": "in the precision {have}",
    "batch_size": "in batches of {have} rows",
}


def _names(word: str) -> str:
    return re.sub("^augment", "augmentation", word).replace("_", " ")


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
