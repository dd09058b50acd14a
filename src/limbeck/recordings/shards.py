"""Columns as the bytes of a file, and back: one safetensors file a shard, from which rows are mapped, not read."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from limbeck.errors import RecordingError
from limbeck.recordings.columns import BYTES, Blocks, Column, Stored, described

_ENDS = "ends:"  # before a name and not behind it, where a layer could be called so


def encode(kept: Mapping[str, Stored]) -> bytes:
    """The bytes of a file: equal columns give equal bytes."""
    tensors: dict[str, Tensor] = {}
    for name, column in kept.items():
        if isinstance(column, Blocks):
            tensors |= {name: column.payload, _ENDS + name: column.ends}
        else:
            tensors[name] = column
    return save(tensors)


def decode(content: bytes) -> dict[str, Stored]:
    """The columns, from a file's bytes."""
    return _columns(load(content))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mapped(path: Path, expected: Mapping[str, Column], rows: int) -> dict[str, Stored]:
    """The columns of a shard, mapped from the file: a row is read from disk when it is first looked at.

    Raises:
        RecordingError: When the file does not hold the columns the manifest says.
    """
    found = opened(path)
    lengths = {len(column) for column in found.values()}
    if described(found) != dict(expected) or lengths != {rows}:
        raise not_as_described(path, f"it holds {described(found)} of {sorted(lengths)} rows")
    for name, column in expected.items():
        blocks = found[name]
        if column.dtype == BYTES and isinstance(blocks, Blocks):
            _refuse_unordered(path, name, blocks)
    return found


def opened(path: Path) -> dict[str, Stored]:
    """Whatever columns a file holds, mapped.

    Raises:
        RecordingError: When it is no file of this kind.
    """
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            return _columns({name: file.get_tensor(name) for name in file.keys()})
    except (SafetensorError, OSError) as error:
        raise not_as_described(path, str(error)) from error


def not_as_described(path: Path, why: str) -> RecordingError:
    """A shard that is something else than its manifest says."""
    return RecordingError(
        f"the shard {path} is not as its manifest describes it: {why}",
        remedy=f"delete {path.name} and record again into the same folder: only that shard is made anew",
    )


def _refuse_unordered(path: Path, name: str, blocks: Blocks) -> None:
    ends = blocks.ends
    falls = bool((ends.diff(prepend=torch.zeros(1, dtype=ends.dtype)) < 0).any())
    if falls or int(ends[-1]) != len(blocks.payload):
        raise not_as_described(path, f"the rows of {name!r} do not end where its bytes do")


def _columns(tensors: Mapping[str, Tensor]) -> dict[str, Stored]:
    ends = {name.removeprefix(_ENDS): tensor for name, tensor in tensors.items() if name.startswith(_ENDS)}
    return {
        name: Blocks(tensor, ends[name]) if name in ends else tensor
        for name, tensor in tensors.items()
        if not name.startswith(_ENDS)
    }
