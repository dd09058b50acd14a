"""The form answers are kept in: all logits and the asked features, in the precision the teacher said them in.

This is the one module that knows the form. A compact form is another module with the same functions; the manifest names
the form, and everything else handles columns without knowing what they mean.
"""

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from limbeck.errors import RecordingError, TeacherError
from limbeck.recordings.manifest import Column
from limbeck.signals import Signals

FORM = "dense"
IDS = "ids"
SAID = "said"
_LOGITS = "logits"
_FEATURE = "feature:"


def columns(signals: Signals, layers: tuple[str, ...]) -> dict[str, Tensor]:
    """What is kept of a teacher's answer, by column, on the CPU.

    Raises:
        TeacherError: When the teacher said no dense logits or not all the layers, or a number that is none.
    """
    if signals.logits is None:
        raise TeacherError(
            "the teacher said no dense logits",
            expected="a teacher that says all its logits",
            remedy="record the teacher itself, not a reduced recording of it",
        )
    found = {_LOGITS: signals.logits}
    for layer in layers:
        if layer not in signals.features:
            raise TeacherError(f"the teacher said nothing of its layer {layer!r}", expected="the features asked for")
        found[_FEATURE + layer] = signals.features[layer]
    for name, tensor in found.items():
        # Minus infinity is the logit of an impossible class; the others would spoil every student trained on them.
        if bool((tensor.isnan() | tensor.isposinf()).any()):
            raise TeacherError(
                f"the teacher's {name.removeprefix(_FEATURE)} contain numbers that are not finite",
                expected="finite numbers",
                remedy="look at the teacher's weights and input transform; a half-precision teacher may overflow",
            )
    if signals.said is not None:
        found[SAID] = signals.said
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def describe(kept: Mapping[str, Tensor]) -> dict[str, Column]:
    """The dtype and the shape of each column."""
    return {
        name: Column(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape[1:])) for name, tensor in kept.items()
    }


def row_bytes(described: Mapping[str, Column]) -> int:
    """Bytes that one row takes in a shard, its id included."""
    sizes = [math.prod(column.shape) * getattr(torch, column.dtype).itemsize for column in described.values()]
    return int(torch.int64.itemsize + sum(sizes))


def names_of(layers: tuple[str, ...], described: Mapping[str, Column]) -> list[str]:
    """Those of the described columns that an answer with the features of these layers is made of."""
    return [_LOGITS, *(_FEATURE + layer for layer in layers), *({SAID} & described.keys())]


def signals_of(kept: Mapping[str, Tensor], layers: tuple[str, ...]) -> Signals:
    """The teacher's answer, from what was kept of it."""
    return Signals.dense(kept[_LOGITS], {layer: kept[_FEATURE + layer] for layer in layers}, kept.get(SAID))


def silent(kept: Mapping[str, Tensor]) -> Tensor:
    """The ids of the rows, among those kept, that the teacher said nothing about."""
    return kept[IDS][~kept[SAID]] if SAID in kept else kept[IDS][:0]


def encode(kept: Mapping[str, Tensor]) -> bytes:
    """The bytes of a shard: equal columns give equal bytes."""
    return save(dict(kept))


def decode(content: bytes) -> dict[str, Tensor]:
    """The columns of a shard, from its bytes."""
    return load(content)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mapped(path: Path, expected: Mapping[str, Column], rows: int) -> dict[str, Tensor]:
    """The columns of a shard as tensors mapped from the file: a row is read from disk when it is first looked at.

    Raises:
        RecordingError: When the file does not hold the columns the manifest says.
    """
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise _not_as_described(path, str(error)) from error
    shapes = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in found.items()}
    wanted = {name: (getattr(torch, column.dtype), (rows, *column.shape)) for name, column in expected.items()}
    if shapes != {IDS: (torch.int64, (rows,)), **wanted}:
        raise _not_as_described(path, f"it holds {shapes}")
    return found


def _not_as_described(path: Path, why: str) -> RecordingError:
    return RecordingError(
        f"the shard {path} is not as its manifest describes it: {why}",
        remedy=f"delete {path.name} and record again into the same folder: only that shard is made anew",
    )
