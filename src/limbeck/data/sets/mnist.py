"""MNIST: 60,000 + 10,000 handwritten digits, 28 x 28 pixels.

LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", Proceedings of the IEEE,
1998, https://doi.org/10.1109/5.726791.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from limbeck.data import cache, idx
from limbeck.data.raw import Raw
from limbeck.errors import DataError

CLASSES = tuple(str(number) for number in range(10))
_KEYS = ("x_train", "y_train", "x_test", "y_test")


def load(path: Path | None = None) -> Raw:
    """Reads both splits from `path` (an .npz file or a folder of idx files), or else fetches them by torchvision.

    Raises:
        DataError: When the files are missing or damaged and cannot be fetched.
    """
    if path is not None:
        return _read_archive(path) if path.suffix == ".npz" else idx.read_folder(path, "mnist", CLASSES)
    place = cache.folder() / "MNIST" / "raw"
    folder = place if idx.files(place) else idx.download("mnist", "MNIST", [place], "path=FILE.npz or path=FOLDER")
    return idx.read_folder(folder, "mnist", CLASSES)


def _read_archive(path: Path) -> Raw:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in _KEYS if key not in archive]
            if missing:
                raise DataError(f"{path} holds no array {missing[0]!r}", expected=f"the arrays {', '.join(_KEYS)}")
            images, labels, test_images, test_labels = (archive[key] for key in _KEYS)
    except (OSError, ValueError, BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read: {error}", expected="an .npz file", remedy="path=FILE.npz or path=FOLDER"
        ) from error
    return Raw("mnist", (images, labels), test=(test_images, test_labels), classes=CLASSES, origin=str(path))
