"""Where rows go while they are read: memory, or, once they outgrow what a recipe allows, a file in the cache.

An entry of the cache is a folder named by a hash of what was read and how. It holds a mapped file of inputs for each
split, and `rest.json` with the labels and facts. It is made under another name and renamed when it is complete, so a
conversion that was killed leaves nothing that could be taken for one; the next one begins anew.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from limbeck.data import cache
from limbeck.data.inputs import Inputs
from limbeck.data.mapped import MappedInputs, MapWriter
from limbeck.data.raw import Raw
from limbeck.errors import DataError, StorageError
from limbeck.recipe import DataSpec

_FORMAT = 1
_REST = "rest.json"
_ABANDONED_SECONDS = 24 * 3600
_SPLITS = ("train", "valid", "test")
_DECODERS = ("pillow", "pyarrow", "datasets")


def identity(form: str, files: Iterable[Path], spec: DataSpec, labels: str) -> str:
    """A hash of what decides the rows: the files (path, size, time of change), how they are read, and by what.

    Args:
        form: Which file of `data/forms/` reads them.
        files: Every file that is read.
        spec: Its columns, size and share of unreadable rows count; how rows are split afterwards does not.
        labels: The kind of labels.
    """
    digest = hashlib.sha256()
    how = spec.model_dump(mode="json", include={"columns", "size", "unreadable"})
    digest.update(json.dumps([_FORMAT, form, how, labels, _versions()], sort_keys=True).encode())
    for path in files:
        found = path.stat()
        digest.update(f"{path.resolve()}|{found.st_size}|{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


class Shelf:
    """Takes blocks of inputs and gives a `Raw`; use it in a `with` block, so that nothing half-written is left.

    Args:
        memory: Bytes of inputs that may be held in memory, over all splits.
        key: What `identity` gave; None where it cannot be known before reading: the content is then the key.
    """

    def __init__(self, memory: int, key: str | None = None) -> None:
        self.memory, self.key = memory, key
        self._held: dict[str, list[Tensor]] = {}
        self._writers: dict[str, MapWriter] = {}
        self._bytes = 0
        self._rows: dict[str, int] = {}
        self._partial: Path | None = None

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.abandon()
        if self._partial is not None:
            shutil.rmtree(self._partial, ignore_errors=True)

    def found(self) -> Raw | None:
        """What an earlier reading of the same has left in the cache; a damaged entry is warned of and removed."""
        place = None if self.key is None else _entries() / self.key
        if place is None or not (place / _REST).is_file():
            return None
        try:
            raw, total = _unpacked((place / _REST).read_text(encoding="utf-8"))
            mapped = {split: MappedInputs.open(place / f"{split}.safetensors") for split in raw_splits(raw)}
        except (DataError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"the data in {place} is damaged ({error}): it is read again from its source", stacklevel=2)
            shutil.rmtree(place, ignore_errors=True)
            return None
        if total > self.memory:
            return _with_files(raw, mapped, total)
        return _with_inputs(raw, {split: _dense(inputs) for split, inputs in mapped.items()})

    def rows(self, split: str | None = None) -> int:
        """How many rows were added, of one split or of all."""
        return sum(self._rows.values()) if split is None else self._rows.get(split, 0)

    def add(self, split: str, block: Shaped[Tensor, "rows ..."]) -> None:
        """Keeps rows of one shape and type.

        Raises:
            StorageError: When the cache cannot be written.
        """
        self._bytes += block.numel() * block.element_size()
        self._rows[split] = self._rows.get(split, 0) + len(block)
        if self._partial is None:
            self._held.setdefault(split, []).append(block)
            if self._bytes > self.memory:
                self._spill()
            return
        with _written(self._partial):
            self._writer(split).add(block)

    def raw(self, rest: Raw) -> Raw:
        """The data whose inputs were added.

        Args:
            rest: Everything else; the inputs of its pairs are not looked at.

        Raises:
            StorageError: When the cache cannot be written.
        """
        splits = raw_splits(rest)
        if self._partial is None:
            return _with_inputs(rest, {split: _joined(self._held.pop(split, [])) for split in splits})
        packed = _packed(rest, self._bytes)
        with _written(self._partial):
            for split in splits:
                self._writer(split).close()
            (self._partial / _REST).write_text(packed, encoding="utf-8")
        digests = "".join(writer.digest.hexdigest() for writer in self._writers.values())
        key = self.key or hashlib.sha256((packed + digests).encode()).hexdigest()[:32]
        place = _entries() / key
        with _written(place):
            try:
                self._partial.rename(place)
            except OSError:
                if not (place / _REST).is_file():
                    raise
                # another process was faster, and the two are equal
                shutil.rmtree(self._partial, ignore_errors=True)
        self._partial = None
        mapped = {split: MappedInputs.open(place / f"{split}.safetensors") for split in splits}
        return _with_files(rest, mapped, self._bytes)

    def _spill(self) -> None:
        with _written(_entries()):
            _entries().mkdir(parents=True, exist_ok=True)
            _sweep()
            self._partial = Path(tempfile.mkdtemp(prefix="partial-", dir=_entries()))
            for split, blocks in self._held.items():
                writer = self._writer(split)
                while blocks:
                    writer.add(blocks.pop(0))

    def _writer(self, split: str) -> MapWriter:
        assert self._partial is not None
        if split not in self._writers:
            self._writers[split] = MapWriter(self._partial / f"{split}.safetensors")
        return self._writers[split]


def raw_splits(raw: Raw) -> list[str]:
    """The splits a source has of its own."""
    return [split for split in _SPLITS if getattr(raw, split) is not None]


def _entries() -> Path:
    return cache.folder() / "data"


def _sweep() -> None:
    """Removes what killed conversions have left."""
    for left in _entries().glob("partial-*"):
        newest = max((path.stat().st_mtime for path in [left, *left.iterdir()]), default=0.0)
        if time.time() - newest > _ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _written(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{place} could not be written: {error.strerror or error}",
            expected="a folder with room for the inputs, which are larger than data.memory",
            remedy="free some space, set LIMBECK_CACHE to a folder on another disk, or raise data.memory",
        ) from error


def _joined(blocks: list[Tensor]) -> Tensor:
    """One tensor; each block is let go when it was copied, so that memory holds the rows once."""
    if len(blocks) < 2:
        return blocks[0] if blocks else torch.zeros((0, 1))
    rows = sum(len(block) for block in blocks)
    whole = torch.empty((rows, *blocks[0].shape[1:]), dtype=blocks[0].dtype)
    first = 0
    while blocks:
        block = blocks.pop(0)
        whole[first : first + len(block)] = block
        first += len(block)
    return whole


def _dense(inputs: MappedInputs) -> Tensor:
    return inputs.take(torch.arange(inputs.shape[0]))


def _with_inputs(raw: Raw, inputs: Mapping[str, Tensor | Inputs]) -> Raw:
    pairs: dict[str, Any] = {split: (held, getattr(raw, split)[1]) for split, held in inputs.items()}
    return replace(raw, **pairs)


def _with_files(raw: Raw, inputs: Mapping[str, MappedInputs], total: int) -> Raw:
    facts = {**raw.facts, "kept": {"in": "a mapped file", "bytes": total}}
    return _with_inputs(replace(raw, facts=facts), inputs)


def _versions() -> dict[str, str]:
    found = {}
    for name in _DECODERS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _packed(raw: Raw, total: int) -> str:
    """Everything but the inputs, as JSON."""
    return json.dumps(
        {
            "bytes": total,
            "name": raw.name,
            "labels": {split: _array(getattr(raw, split)[1]) for split in raw_splits(raw)},
            "classes": raw.classes,
            "origin": raw.origin,
            "groups": {split: _array(groups) for split, groups in raw.groups.items()},
            "times": {split: [_array(moment) for moment in span] for split, span in raw.times.items()},
            "facts": dict(raw.facts),
        }
    )


def _unpacked(text: str) -> tuple[Raw, int]:
    said = json.loads(text)
    pairs = {split: (None, _unarray(labels)) for split, labels in said["labels"].items()}
    raw = Raw(
        said["name"],
        pairs["train"],
        pairs.get("valid"),
        pairs.get("test"),
        None if said["classes"] is None else tuple(said["classes"]),
        said["origin"],
        {split: _unarray(groups) for split, groups in said["groups"].items()},
        {split: (_unarray(span[0]), _unarray(span[1])) for split, span in said["times"].items()},
        said["facts"],
    )
    return raw, int(said["bytes"])


def _array(values: Any) -> Any:
    if values is None:
        return None
    array = np.asarray(values)
    return {"type": "text" if array.dtype.kind == "U" else array.dtype.str, "values": array.tolist()}


def _unarray(said: Any) -> Any:
    if said is None:
        return None
    if said["type"] == "|O":
        array = np.empty(len(said["values"]), dtype=object)
        array[:] = said["values"]
        return array
    return np.array(said["values"], dtype=str if said["type"] == "text" else said["type"])
