"""Inputs in a file that is mapped into memory: written once while data is read, then fetched row by row.

The file is a safetensors file with two tensors: "inputs", and "checks", a CRC-32 of each row. A row is checked the
first time it is fetched, so that a damaged file is noticed before it is learnt from, and never twice. A file that is
cut short while it is mapped ends the process, as the system has it; what replaces one is another file of that name.
"""

import contextlib
import hashlib
import json
import math
import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from limbeck.errors import DataError

_HEADER = 4096
_TOUCHED = 1 << 25
_AROUND = 1 << 16  # Linux maps so much around a page that is asked for, if it has it
_TYPES = {
    "U8": (torch.uint8, np.uint8),
    "I8": (torch.int8, np.int8),
    "I16": (torch.int16, np.int16),
    "I32": (torch.int32, np.int32),
    "I64": (torch.int64, np.int64),
    "F16": (torch.float16, np.float16),
    # numpy has no such type; its bits travel as 16-bit integers
    "BF16": (torch.bfloat16, np.int16),
    "F32": (torch.float32, np.float32),
}
_REMEDY = "delete it: the data is then read again from its source"


class MapFile:
    """One such file, opened; every selection of its rows shares it.

    Args:
        path: The file.

    Raises:
        DataError: When it is missing, torn or not one of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        kind, self.shape, start = _layout(path)
        self.dtype, plain = _TYPES[kind]
        rows = self.shape[0]
        with path.open("rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows: npt.NDArray[Any] = np.frombuffer(self._pages, plain, math.prod(self.shape), _HEADER)
        self._rows = self._rows.reshape(self.shape)
        self._checks = np.frombuffer(self._pages, np.uint32, rows, start)
        self._checked = np.zeros(rows, dtype=bool)
        self._touched = 0
        if hasattr(mmap, "MADV_RANDOM"):
            self._pages.madvise(mmap.MADV_RANDOM)

    def take(self, places: npt.NDArray[np.int64]) -> Shaped[Tensor, "taken ..."]:
        """Rows of the file, copied.

        Raises:
            DataError: When a row is no longer what was written.
        """
        rows = np.ascontiguousarray(self._rows[places])
        for place in np.flatnonzero(~self._checked[places]):
            if zlib.crc32(rows[place].tobytes()) != self._checks[places[place]]:
                raise DataError(f"row {places[place]} of {self.path} is damaged", remedy=_REMEDY)
        self._checked[places] = True
        self._let_go(places, rows)
        return torch.from_numpy(rows).view(self.dtype)

    def _let_go(self, places: npt.NDArray[np.int64], rows: npt.NDArray[Any]) -> None:
        """Hands pages back now and then; the system still caches them, but they are not ours to hold."""
        if not len(places):
            return
        row = rows.nbytes // len(places)
        span = int(places.max() - places.min() + 1) * row + _AROUND
        self._touched += min(span, len(places) * (row + _AROUND))
        if self._touched >= _TOUCHED and hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


@dataclass(frozen=True, eq=False)
class MappedInputs:
    """Rows of a file, in any order; keeps the protocol `Inputs`.

    Args:
        file: The file.
        places: Which of its rows, in which order.
    """

    file: MapFile
    places: Int[Tensor, " rows"]

    @classmethod
    def open(cls, path: Path) -> "MappedInputs":
        """Every row of a file, in order.

        Raises:
            DataError: When it is missing, torn or not one of ours.
        """
        file = MapFile(path)
        return cls(file, torch.arange(file.shape[0]))

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Rows first, then the shape of one row."""
        return (len(self.places), *self.file.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """The type of the file's numbers."""
        return self.file.dtype

    def take(self, positions: Int[Tensor, " taken"]) -> Shaped[Tensor, "taken ..."]:
        """The inputs at these positions, copied into memory.

        Raises:
            DataError: When a row is no longer what was written.
        """
        return self.file.take(self.places[positions].numpy())

    def select(self, positions: Int[Tensor, " taken"]) -> "MappedInputs":
        """The inputs at these positions, over the same file."""
        return MappedInputs(self.file, self.places[positions])


class MapWriter:
    """Writes blocks of rows to a file; it can be opened after `close`, and not before.

    Args:
        path: The file, in a folder that exists; whatever is there is overwritten.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = hashlib.sha256()
        self._file: BinaryIO = path.open("wb")
        # a file without its header is no map: it is written last
        self._file.write(b"\0" * _HEADER)
        self._checks: list[int] = []
        self._row: tuple[int, ...] = ()
        self._kind = ""

    def add(self, block: Shaped[Tensor, "rows ..."]) -> None:
        """Appends rows of one shape and type."""
        kind = next(name for name, (dtype, _) in _TYPES.items() if dtype == block.dtype)
        assert self._kind in ("", kind) and self._row in ((), tuple(block.shape[1:])), "one shape and type"
        self._kind, self._row = kind, tuple(block.shape[1:])
        plain = block.contiguous().view(torch.int16) if kind == "BF16" else block.contiguous()
        for row in plain.numpy():
            content = row.tobytes()
            self._checks.append(zlib.crc32(content))
            self.digest.update(content)
            self._file.write(content)

    def close(self) -> None:
        """Writes the checks and the header, and sees the file through to the disk."""
        checks = np.array(self._checks, dtype=np.uint32).tobytes()
        end = self._file.tell() - _HEADER
        # the format wants its tensors to begin at multiples of their own width
        self._file.write(b"\0" * (-end % 8))
        start = end + -end % 8
        self._file.write(checks)
        rows = len(self._checks)
        said = {
            "__metadata__": {"limbeck": json.dumps({"crc": zlib.crc32(checks), "padding": start - end})},
            "inputs": {"dtype": self._kind, "shape": [rows, *self._row], "data_offsets": [0, end]},
        }
        if start > end:
            said["padding"] = {"dtype": "U8", "shape": [start - end], "data_offsets": [end, start]}
        said["checks"] = {"dtype": "U32", "shape": [rows], "data_offsets": [start, start + len(checks)]}
        header = json.dumps(said).encode()
        assert len(header) <= _HEADER - 8, "a shape of hundreds of dimensions"
        self._file.seek(0)
        self._file.write(struct.pack("<Q", _HEADER - 8) + header.ljust(_HEADER - 8))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Closes the file without making it one that can be opened."""
        with contextlib.suppress(OSError):  # what is still buffered may not fit on the disk either
            self._file.close()


def _layout(path: Path) -> tuple[str, tuple[int, ...], int]:
    """The numbers' kind, the shape, and where the checks begin, of a file whose size and header are right."""
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_HEADER)[8:])
            inputs, checks = said["inputs"], said["checks"]
            start, end = checks["data_offsets"]
            file.seek(_HEADER + start)
            right = zlib.crc32(file.read(end - start)) == json.loads(said["__metadata__"]["limbeck"])["crc"]
        if not right or path.stat().st_size != _HEADER + end:
            raise DataError(f"{path} is torn: its size or its checks are wrong", remedy=_REMEDY)
        return inputs["dtype"], tuple(inputs["shape"]), _HEADER + start
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", remedy=_REMEDY) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no file of inputs: {error}", remedy=_REMEDY) from error
