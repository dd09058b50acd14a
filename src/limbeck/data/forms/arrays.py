"""Files of arrays: .npz, .npy, .safetensors and .pt; one file, or a folder with a file for each split or array.

An array is found by its name. Inputs are called `inputs`, `x` or `images` and labels `labels`, `label`, `y` or
`targets`, unless `data.columns` says other names; those of a split carry its name before or behind, as in `x_train`,
`test_labels`. An array without the name of a split is train. In a folder, `train.npz` and `test.npz` hold the arrays
of a split, and an .npy file is an array of its own name (`x_train.npy`).

Nothing is unpickled: NumPy reads with allow_pickle=False, and a .pt file may hold nothing but tensors.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.data.forms import tables
from limbeck.data.forms.columns import Block
from limbeck.data.forms.splits import NAMES, split_of
from limbeck.data.raw import Raw
from limbeck.data.shelf import identity
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError, did_you_mean
from limbeck.recipe import Columns, DataSpec
from limbeck.task import LabelKind

SUFFIXES = (".npz", ".npy", ".safetensors", ".pt")
"""Files that are taken for arrays, in lower case."""

_INPUTS = ("inputs", "x", "images")
_LABELS = ("labels", "label", "y", "targets")
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class Stored:
    """An array that can be read a few rows at a time, from the first on.

    Args:
        shape: Rows first.
        row_bytes: Bytes of a row.
        blocks: From a number of rows to what reads so many at once.
    """

    shape: tuple[int, ...]
    row_bytes: int
    blocks: Callable[[int], Iterator[Any]]


def is_arrays(path: Path) -> bool:
    """Whether a file's name says that it holds arrays."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path, spec: DataSpec, labels: LabelKind) -> Raw:
    """Reads a file or a folder of arrays.

    Args:
        path: The file or folder.
        spec: Its columns (names of arrays), windows, share of unreadable rows, and memory.
        labels: How the task reads labels.

    Raises:
        DataError: When a file cannot be read, an array is missing, or their lengths differ.
    """
    inside = path.iterdir() if path.is_dir() else [path]
    files = sorted(file for file in inside if is_arrays(file) and not file.name.startswith("."))
    found: dict[str, Stored] = {}
    for file in files:
        split = split_of(file.stem) if path.is_dir() else None
        for name, array in _stored(file).items():
            spelt = file.stem if file.suffix.lower() == ".npy" and path.is_dir() else name
            found[f"{spelt}_{split}" if split and spelt != file.stem else spelt] = array
    key = identity("arrays", files, spec, labels)
    return _split(found, str(path), path.stem, key, spec, labels)


def of(arrays: Mapping[str, Any], spec: DataSpec, labels: LabelKind) -> Raw:
    """Arrays in memory by name, as a function of a person's own may return them; read as those of a file.

    Raises:
        DataError: When an array is missing, or their lengths differ.
    """
    found = {name: _held(np.asarray(array), name, "the arrays") for name, array in arrays.items()}
    return _split(found, "arrays in memory", "arrays", None, spec, labels)


def _split(
    found: Mapping[str, Stored], origin: str, name: str, key: str | None, spec: DataSpec, labels: LabelKind
) -> Raw:
    """Puts the arrays of each split side by side as the columns of a table."""
    said = spec.columns
    inputs = said.inputs or (_series(found, said) if spec.windows else _known(found, _INPUTS, origin))
    label = said.label or (() if spec.windows else _known(found, _LABELS, origin))
    columns = Columns(inputs=inputs, label=label, group=said.group, time=said.time)
    wanted = [*inputs, *label, *(word for word in (said.group, said.time) if word)]
    splits = {}
    for split in ("train", "valid", "test"):
        there = {word: _of_split(found, word, split) for word in wanted}
        if there[inputs[0]] is None and split != "train":
            continue
        whole = {word: array for word, array in there.items() if array is not None}
        if missing := [word for word in wanted if word not in whole]:
            raise DataError(
                f"{origin} holds no array {missing[0]!r} for {split}",
                expected=f"such as {missing[0]}_{split}, or {missing[0]} for train",
                remedy=did_you_mean(f"{missing[0]}_{split}", found),
            )
        lengths = {word: array.shape[0] for word, array in whole.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the {split} arrays of {origin} differ in length: {lengths}", expected="one length")
        splits[split] = _reader(whole, split)
    changed = spec.model_copy(update={"columns": columns})
    return tables.of(tables.Table(name, origin, splits, key=key), changed, labels)


def _series(found: Mapping[str, Stored], said: Columns) -> tuple[str, ...]:
    other = {*said.label, said.group, said.time}
    return tuple(name for name, array in found.items() if len(array.shape) == 1 and name not in other)


def _known(found: Mapping[str, Stored], words: Sequence[str], origin: str) -> tuple[str, ...]:
    named = next((word for word in words if _of_split(found, word, "train") is not None), None)
    if named is not None:
        return (named,)
    if words is _INPUTS and len(found) == 1:
        return (next(iter(found)),)
    raise DataError(
        f"{origin} holds no array called {' or '.join(words)}: there are {', '.join(found) or 'none'}",
        expected="such as x_train and y_train, or names said in the recipe",
        remedy="columns: {inputs: NAME, label: NAME}",
    )


def _of_split(found: Mapping[str, Stored], word: str, split: str) -> Stored | None:
    for spelt, means in NAMES.items():
        if means == split:
            for name in (f"{word}_{spelt}", f"{spelt}_{word}"):
                if name in found:
                    return found[name]
    return found.get(word) if split == "train" else None


def _reader(arrays: Mapping[str, Stored], split: str) -> Callable[[Unreadable], Iterator[Block]]:
    rows = max(1, _BLOCK_BYTES // max(1, sum(array.row_bytes for array in arrays.values())))

    def blocks(lost: Unreadable) -> Iterator[Block]:
        first = 0
        for parts in zip(*(array.blocks(rows) for array in arrays.values()), strict=True):

            def where(place: int, first: int = first) -> str:
                return f"{split}, row {first + place}"

            yield Block(dict(zip(arrays, parts, strict=True)), where)
            first += len(parts[0])

    return blocks


def _held(array: npt.NDArray[Any], name: str, origin: str) -> Stored:
    if array.dtype.hasobject and not all(isinstance(value, str | None) for value in array.ravel()[:100]):
        raise DataError(f"the array {name!r} of {origin} holds Python objects", expected="numbers or text")
    if array.ndim == 0:
        raise DataError(f"{name!r} of {origin} is a single value", expected="an array with a row for each sample")

    def blocks(rows: int) -> Iterator[Any]:
        for first in range(0, len(array), rows):
            yield np.asarray(array[first : first + rows])

    return Stored(array.shape, array.nbytes // max(1, len(array)), blocks)


def _stored(path: Path) -> dict[str, Stored]:
    """The arrays of a file by name; each is read anew whenever it is asked for."""
    try:
        if path.suffix.lower() == ".npy":
            return {path.stem: _held(np.load(path, "r", allow_pickle=False), path.stem, str(path))}
        if path.suffix.lower() == ".npz":
            return _archive(path)
        return _safetensors(path) if path.suffix.lower() == ".safetensors" else _torch(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read: {error}", expected="arrays of numbers or text, without Python objects"
        ) from error


def _archive(path: Path) -> dict[str, Stored]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                continue
            with archive.open(member) as file:
                shape, fortran, dtype = _npy_header(file)
            if dtype.hasobject:
                raise ValueError(f"the array {member.removesuffix('.npy')!r} holds Python objects")
            name = member.removesuffix(".npy")
            if fortran or not shape:
                with np.load(path, allow_pickle=False) as whole:
                    found[name] = _held(whole[name], name, str(path))
            else:
                size = dtype.itemsize * int(np.prod(shape[1:]))
                found[name] = Stored(shape, size, _member(path, member, shape, dtype))
    return found


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    major, minor = np.lib.format.read_magic(file)
    if (major, minor) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if (major, minor) == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"its format {major}.{minor} is not supported")


def _member(path: Path, member: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[int], Iterator[Any]]:
    """Reads an array of an archive through its compression, so that it need not fit into memory."""

    def blocks(rows: int) -> Iterator[Any]:
        size = dtype.itemsize * int(np.prod(shape[1:]))
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            _npy_header(file)
            for first in range(0, shape[0], rows):
                count = min(rows, shape[0] - first)
                content = file.read(count * size)
                if len(content) < count * size:
                    raise DataError(f"{path} is cut short in the array {member.removesuffix('.npy')!r}")
                yield np.frombuffer(content, dtype).reshape(count, *shape[1:])

    return blocks


def _safetensors(path: Path) -> dict[str, Stored]:
    from safetensors import SafetensorError, safe_open

    def blocks(name: str, shape: tuple[int, ...]) -> Callable[[int], Iterator[Any]]:
        def read_rows(rows: int) -> Iterator[Any]:
            with safe_open(path, framework="pt") as file:
                part = file.get_slice(name)
                for first in range(0, shape[0], rows):
                    yield _columnar(part[first : min(first + rows, shape[0])])

        return read_rows

    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            first = {name: file.get_slice(name)[:1] for name, shape in shapes.items() if shape and shape[0]}
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return {name: Stored(shapes[name], row.nbytes, blocks(name, shapes[name])) for name, row in first.items()}


def _torch(path: Path) -> dict[str, Stored]:
    import torch

    try:
        # weights_only: a reader that makes tensors and plain containers and runs nothing else
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # noqa: TID251
    except Exception as error:
        raise ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ValueError("it holds something other than a dict of tensors by name")

    def blocks(tensor: torch.Tensor) -> Callable[[int], Iterator[Any]]:
        return lambda rows: (_columnar(tensor[first : first + rows]) for first in range(0, len(tensor), rows))

    return {
        str(name): Stored(tuple(tensor.shape), tensor.nbytes // max(1, len(tensor)), blocks(tensor))
        for name, tensor in loaded.items()
        if tensor.ndim
    }


def _columnar(part: Any) -> Any:
    """A tensor of single values as an array, which a column of a table is; rows that are tensors stay so."""
    return part.detach().numpy() if part.ndim == 1 and part.dtype.itemsize * 8 != 16 else part.detach()
