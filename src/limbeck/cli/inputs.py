"""Rows from a file a person has at hand: .npy, .npz, an image, or a table, which a run itself reads as a series."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from limbeck.data import pictures
from limbeck.data.arrays import as_rows
from limbeck.data.forms import tables
from limbeck.errors import DataError, did_you_mean


def read(path: Path, row: tuple[int, ...], warn: Callable[[str], None]) -> Shaped[np.ndarray, "..."] | Path:
    """Reads rows.

    Args:
        path: A .npy file, a .npz file with one array or one called "inputs", an image, or a table.
        row: Shape of one row as the run knows it, such as (1, 28, 28); empty when it does not.
        warn: Told when an image is brought to another size or to grey.

    Returns:
        An array whose first axis counts rows; of a table its path.

    Raises:
        DataError: When the file is missing, cannot be read, or its rows have another shape.
    """
    if not path.is_file():
        near = [other.name for other in path.parent.glob("*") if other.is_file()] if path.parent.is_dir() else []
        raise DataError(
            f"there is no file {path}",
            expected="a .npy, .npz, .csv, .parquet or image file",
            remedy=did_you_mean(path.name, near),
        )
    if tables.is_table(path):
        return path
    if path.suffix.lower() in pictures.SUFFIXES:
        return _image(path, row, warn)
    if path.suffix.lower() not in (".npy", ".npz"):
        raise DataError(
            f"{path} is of no known kind",
            expected=f".npy, .npz, a series ({', '.join(tables.SUFFIXES)}) or an image: "
            f"{', '.join(sorted(pictures.SUFFIXES))}",
        )
    array = _array(path)
    found = as_rows(array, row) if row else array
    if found is None:
        raise DataError(
            f"{path} holds an array of shape {array.shape}",
            expected=f"rows of shape {row}: ({', '.join(['N', *map(str, row)])})",
            remedy="reshape or transpose it; images have their channels first",
        )
    array = found
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path} holds {array.dtype}", expected="numbers")
    if not np.isfinite(array).all():
        bad = int(np.argwhere(~np.isfinite(array))[0][0])
        raise DataError(f"row {bad} of {path} holds a value that is not a number", expected="finite numbers")
    return array


def _array(path: Path) -> Shaped[np.ndarray, "..."]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return np.asarray(loaded)
        with loaded:
            names = loaded.files
            if "inputs" not in names and len(names) != 1:
                raise DataError(
                    f"{path} holds the arrays {', '.join(names) or 'none'}",
                    expected='one array, or one called "inputs"',
                )
            return np.asarray(loaded["inputs" if "inputs" in names else names[0]])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read: {error}",
            expected="what numpy.save or numpy.savez wrote, without Python objects",
        ) from error


def _image(path: Path, row: tuple[int, ...], warn: Callable[[str], None]) -> Shaped[np.ndarray, "..."]:
    """A picture as one row, scaled and cropped as pictures of the training data are."""
    with pictures.pillow():
        if len(row) != 3 or row[0] not in (1, 3):
            raise DataError(f"{path} is an image", expected=f"rows of shape {row}, as a .npy file")
        wanted = row[0] == 1
        try:
            grey, size = pictures.header(path)
            pixels = pictures.decoded(path, grey=wanted, size=(row[1], row[2]))
        except pictures.Unfit as error:
            raise DataError(f"{path} cannot be read: {error}", expected="an image") from error
    if grey != wanted:
        warn(f"{path}: brought from {_colours(grey)} to {_colours(wanted)}, as the run was trained")
    if size != row[1:]:
        warn(
            f"{path}: brought from {size[0]} x {size[1]} to {row[1]} x {row[2]} pixels (height x width), "
            "as the run was trained"
        )
    return pixels[None]


def _colours(grey: bool) -> str:
    return "grey" if grey else "colour"
