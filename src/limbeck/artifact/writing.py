"""An artifact on disk: sealed, written whole or not at all, and opened once before anybody relies on it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from limbeck.errors import RecipeError
from limbeck.storage import write_whole
from limbeck_runtime.container import MANIFEST, SUFFIX, sealed
from limbeck_runtime.manifest import Manifest


def place(to: str | os.PathLike[str]) -> Path:
    """The path of an artifact, refused where something lies there already.

    Raises:
        RecipeError: When it does not end in `.limbeck`, or exists.
    """
    path = Path(to)
    if path.suffix != SUFFIX:
        raise RecipeError(f"{path} is no name of an artifact", expected=f"NAME{SUFFIX}", remedy=f"{path.stem}{SUFFIX}")
    if path.exists():
        raise RecipeError(f"{path} is there already", remedy="another name, or delete it")
    return path


def content(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """The bytes of an artifact."""
    said = json.dumps(asdict(manifest), indent=1, allow_nan=False).encode()
    return sealed({MANIFEST: said, **files})


def write(manifest: Manifest, files: Mapping[str, bytes], path: Path) -> None:
    """Writes an artifact.

    Raises:
        StorageError: When the disk is full or cannot be written; what lay there before is untouched.
    """
    write_whole(path, content(manifest, files))
