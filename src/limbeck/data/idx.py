"""The IDX files of MNIST and its relatives: a big-endian header, then raw bytes, compressed with gzip or not.

Format: http://yann.lecun.com/exdb/mnist/, section "The IDX file format". Read: memory.
"""

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from limbeck.data import cache
from limbeck.data.raw import Pair, Raw
from limbeck.errors import DataError

_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_UNSIGNED_BYTES = 8


def read(path: Path) -> npt.NDArray[np.uint8]:
    """Reads one file of unsigned bytes.

    Raises:
        DataError: When it is not an IDX file of bytes, or is cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}", remedy="fetch the file again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES:
        raise DataError(
            f"{path} is not an IDX file of unsigned bytes",
            expected=f"a file that begins with 00 00 08, not {content[:4].hex(' ') or 'nothing'}",
            remedy="fetch the file again",
        )
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:start]) if len(content) >= start else (0,)
    if len(content) - start != int(np.prod(shape)):
        raise DataError(
            f"{path} is damaged: it holds {len(content) - start} bytes of data",
            expected=f"{int(np.prod(shape))} bytes for the shape {shape} in its header",
            remedy="fetch the file again",
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def files(folder: Path) -> dict[str, tuple[Path, Path]] | None:
    """The image and label files of both splits in a folder, or None where one is missing."""
    found = {}
    for split, stems in _STEMS.items():
        paths = [next((p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None) for stem in stems]
        if paths[0] is None or paths[1] is None:
            return None
        found[split] = (paths[0], paths[1])
    return found


def read_folder(folder: Path, name: str, classes: tuple[str, ...]) -> Raw:
    """Reads both splits of a folder.

    Raises:
        DataError: When a file is missing or damaged.
    """
    found = files(folder)
    if found is None:
        wanted = [stem for stems in _STEMS.values() for stem in stems]
        missing = [s for s in wanted if not (folder / s).is_file() and not (folder / f"{s}.gz").is_file()]
        raise DataError(
            f"{folder} holds no {missing[0]} for {name}" if folder.is_dir() else f"{folder} is no folder",
            expected=f"the files {', '.join(wanted)}, each with or without .gz",
            remedy=f"path=FOLDER to another folder that holds {name}",
        )
    pairs: dict[str, Pair] = {split: (read(images), read(labels)) for split, (images, labels) in found.items()}
    return Raw(name, pairs["train"], test=pairs["test"], classes=classes, origin=str(folder))


def download(name: str, torchvision_name: str, looked: list[Path], remedy: str) -> Path:
    """Fetches a set through torchvision into Limbeck's cache, and returns the folder of its IDX files.

    Called only for a set that the user named and that is nowhere on this machine.

    Raises:
        DataError: When torchvision is not installed, or the set cannot be fetched.
    """
    places = ", ".join(map(str, looked)) or "nowhere, since it has no usual place"
    root = cache.folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        from torchvision import datasets

        getattr(datasets, torchvision_name)(str(root), download=True)
    except ImportError as error:
        raise DataError(
            f"{name} is not on this machine (looked in {places}) and torchvision, which could fetch it, is absent",
            remedy=f"{remedy}, or pip install 'limbeck[vision]'",
        ) from error
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{name} is not on this machine (looked in {places}) and could not be fetched: {error}", remedy=remedy
        ) from error
    return root / torchvision_name / "raw"
