"""Weights and checkpoints as one safetensors file each, written so that a kill leaves the old file or the new one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from limbeck.errors import RunError
from limbeck.storage import write_whole

_FACTS = "limbeck"


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes tensors, and facts about them as JSON in the file's header.

    Args:
        path: The file; its folder is made.
        tensors: Named tensors of any device and memory layout; they are stored contiguous.
        facts: Anything JSON can hold.

    Raises:
        StorageError: When the disk is full or cannot be written; what stood at `path` before still does.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_whole(path, serialised(plain, metadata={_FACTS: json.dumps(facts)}))


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
