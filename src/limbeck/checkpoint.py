"""Weights and checkpoints as one safetensors file each, written so that a kill leaves the old file or the new one."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from limbeck.errors import RunError, StorageError

_FACTS = "limbeck"


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turns what the operating system says about writing `path` into an error a person can act on.

    Raises:
        StorageError: When the disk is full or cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space" in str(error)
        raise StorageError(
            f"{path} could not be written: {'the disk is full' if full else error}",
            remedy="free some space and run the same command with --resume; what was complete before is kept",
        ) from error


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary path that becomes `path` when the block ends well and is removed when it does not.

    Raises:
        StorageError: When the disk is full or cannot be written; what stood at `path` before still does.
    """
    temporary = path.with_name(path.name + ".partial")
    with storage(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes tensors, and facts about them as JSON in the file's header.

    Args:
        path: The file; its folder is made.
        tensors: Named tensors of any device and memory layout; they are stored contiguous.
        facts: Anything JSON can hold.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        temporary.write_bytes(serialised(plain, metadata={_FACTS: json.dumps(facts)}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save` wrote.

    Raises:
        RunError: When the file is missing, torn, truncated or not one of ours.
    """
    if not path.is_file():
        raise RunError(
            f"{path} does not exist", remedy="was the run finished? `limbeck distill RECIPE --resume` goes on"
        )
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[_FACTS])
            return {name: file.get_tensor(name) for name in file.keys()}, facts
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise RunError(
            f"{path} is damaged: {error}", expected="a file written by limbeck", remedy="delete it and resume the run"
        ) from error


def read_facts(path: Path) -> dict[str, Any] | None:
    """The facts of a file, without its tensors; None when there is no such file."""
    return load(path)[1] if path.is_file() else None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors: `PARAMETER-NUMBER.NAME`, in the order of its parameter groups."""
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_tensors` gave; the parameter groups stay as the optimiser was built."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under `prefix.NAME`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under `prefix.`, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Loads a state dict strictly.

    Raises:
        RunError: When a name or shape does not fit the module.
    """
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise RunError(
            f"the weights in {where} do not fit the model: {str(error).splitlines()[-1].strip()}",
            expected="weights of the same model",
            remedy="was the model's code or its arguments changed since the run?",
        ) from error
