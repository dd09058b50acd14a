"""Which files, folders or names are train, validation and test: `train`, `valid` or `validation` or `val`, `test`."""

import re
from collections.abc import Iterable
from pathlib import Path

from limbeck.errors import DataError

NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
"""What a split may be called, in lower case."""

_NUMBERED = re.compile(r"^([a-z]+)([-_.]\d[-_.\da-z]*)?$")


def split_of(stem: str) -> str | None:
    """The split a name stands for, such as "valid" for "validation" or "train" for "train-00000-of-00002"."""
    found = _NUMBERED.match(stem.lower())
    return None if found is None else NAMES.get(found[1])


def split_folders(folder: Path) -> dict[str, Path]:
    """The folders of the splits inside a folder; the folder itself is "train" where it has none.

    Raises:
        DataError: When two folders are the same split, or there are others beside them.
    """
    inside = sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))
    named = {inner: NAMES.get(inner.name.lower()) for inner in inside}
    if "train" not in named.values():
        return {"train": folder}
    if strangers := [inner.name for inner, split in named.items() if split is None]:
        raise DataError(
            f"{folder} holds splits, and beside them the folder {strangers[0]}",
            expected="train, and perhaps valid and test",
            remedy="move it into one of the splits, or elsewhere",
        )
    return _once({inner: str(split) for inner, split in named.items()}, folder)


def split_files(files: Iterable[Path], folder: Path) -> dict[str, list[Path]]:
    """Files by split; all are "train" where none is named after a split.

    Raises:
        DataError: When some are named after a split and others are not.
    """
    listed = sorted(files)
    named = {path: split_of(path.name.partition(".")[0]) for path in listed}
    if not any(named.values()):
        return {"train": listed}
    if strangers := [path.name for path, split in named.items() if split is None]:
        raise DataError(
            f"{folder} holds files named after splits, and beside them {strangers[0]}",
            expected="train, valid and test, each in one file or in numbered ones such as train-1",
            remedy="name one file as the source, or move the other away",
        )
    found: dict[str, list[Path]] = {}
    for path, split in named.items():
        found.setdefault(str(split), []).append(path)
    return {split: found[split] for split in ("train", "valid", "test") if split in found}


def _once(named: dict[Path, str], folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path, split in named.items():
        if split in found:
            raise DataError(f"{folder} holds both {found[split].name} and {path.name}", expected=f"one {split} split")
        found[split] = path
    return {split: found[split] for split in ("train", "valid", "test") if split in found}
