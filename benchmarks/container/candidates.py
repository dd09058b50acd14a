"""The containers that are compared, each behind the same small reader and writer, each as its own manual advises."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from limbeck.recordings.folder import write_atomically


@dataclass(frozen=True)
class Blocks:
    """A column whose rows are bytes of any length: one after the other, and where each begins (and the last ends)."""

    payload: np.ndarray
    offsets: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.payload.nbytes + self.offsets.nbytes

    def row(self, position: int) -> np.ndarray:
        return self.payload[self.offsets[position] : self.offsets[position + 1]]

    def tobytes(self) -> bytes:
        return self.payload.tobytes() + self.offsets.tobytes()


Shard = Mapping[str, Any]  # columns by name: arrays or Blocks; `ids` is always among them
OFFSETS = ".offsets"


def joined(rows: Sequence[Any]) -> Blocks:
    """Rows of bytes as one column."""
    return Blocks(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))


def take(shard: Shard, positions: np.ndarray) -> Shard:
    """Some rows of a shard that is in memory."""
    return {
        name: joined([column.row(at) for at in positions]) if isinstance(column, Blocks) else column[positions]
        for name, column in shard.items()
    }


class Reader(AbstractContextManager):
    """Rows by their position, counted over all shards. Left as a context, it holds no file any more."""

    def __len__(self) -> int:
        raise NotImplementedError

    def rows(self, positions: np.ndarray) -> Shard:
        """These rows in this order, in memory of their own."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        self.close()


class Container:
    """One way to keep shards in a folder."""

    name: str
    package: str
    one_file = False

    def write(self, folder: Path, shards: Iterable[Shard], *, atomic: bool = True) -> None:
        """Writes the shards one after the other; each is on the disk before the next begins."""
        raise NotImplementedError

    def open(self, folder: Path) -> Reader:
        raise NotImplementedError


class Files(Container):
    """A file a shard, made in memory. Not atomic means slowly and under its own name: what a kill or a reader meets."""

    def encode(self, arrays: Mapping[str, np.ndarray]) -> Any:
        raise NotImplementedError

    def mapped(self, path: Path) -> tuple[Shard, Any]:
        """The columns of a file, not yet read, and what must be closed (None where letting go is enough)."""
        raise NotImplementedError

    def write(self, folder: Path, shards: Iterable[Shard], *, atomic: bool = True) -> None:
        for number, shard in enumerate(shards):
            path = folder / f"{number:05d}.{self.name}"
            if atomic:
                write_atomically(path, self.encode(flat(shard)))
                continue
            content = memoryview(self.encode(flat(shard)))
            with open(path, "wb", buffering=0) as file:
                for start in range(0, len(content), 1 << 16):
                    file.write(content[start : start + (1 << 16)])
                    time.sleep(0.1)

    def open(self, folder: Path) -> Reader:
        return FilesReader([self.mapped(path) for path in sorted(folder.glob(f"*.{self.name}"))])


class FilesReader(Reader):
    """Looks rows up as limbeck.recordings.store does: by shard, then by their place in it."""

    def __init__(self, opened: list[tuple[Shard, Any]]) -> None:
        self._shards, self._files = [shard for shard, _ in opened], [file for _, file in opened]
        self._starts = np.cumsum([0, *(len(shard["ids"]) for shard in self._shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, positions: np.ndarray) -> Shard:
        numbers = np.searchsorted(self._starts, positions, "right") - 1
        offsets = positions - self._starts[numbers]
        return {name: self._gather(name, numbers, offsets) for name in self._shards[0]}

    def _gather(self, name: str, numbers: np.ndarray, offsets: np.ndarray) -> Any:
        first = self._shards[0][name]
        if isinstance(first, Blocks):
            each = zip(numbers.tolist(), offsets.tolist(), strict=True)
            return joined([self._shards[number][name].row(at) for number, at in each])
        rows = np.empty((len(offsets), *first.shape[1:]), first.dtype)
        for number in np.unique(numbers):
            here = np.flatnonzero(numbers == number)
            rows[here] = self._shards[number][name][offsets[here]]
        return rows

    def close(self) -> None:
        self._shards.clear()
        for file in self._files:
            if file is not None:
                file.close()
        self._files.clear()


def flat(shard: Shard) -> dict[str, np.ndarray]:
    """A column of blocks as two arrays: its bytes under its name, its offsets beside it."""
    arrays = {}
    for name, column in shard.items():
        arrays[name] = column.payload if isinstance(column, Blocks) else column
        if isinstance(column, Blocks):
            arrays[name + OFFSETS] = column.offsets
    return arrays


def unflat(arrays: Mapping[str, Any]) -> Shard:
    return {
        name: Blocks(column, arrays[name + OFFSETS][:]) if name + OFFSETS in arrays else column
        for name, column in arrays.items()
        if not name.endswith(OFFSETS)
    }


class Safetensors(Files):
    """As limbeck.recordings keeps them."""

    name = package = "safetensors"

    def encode(self, arrays: Mapping[str, np.ndarray]) -> bytes:
        import torch
        from safetensors.torch import save

        return save({name: torch.from_numpy(array) for name, array in arrays.items()})

    def mapped(self, path: Path) -> tuple[Shard, None]:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            return unflat({name: file.get_tensor(name).numpy() for name in file.keys()}), None


class Arrow(Files):
    """An IPC file with one record batch; rows of one length as fixed-size lists, blocks as large binary."""

    name, package = "arrow", "pyarrow"

    def encode(self, arrays: Mapping[str, np.ndarray]) -> Any:
        import pyarrow as pa

        columns, shapes = {}, {}
        for name, array in arrays.items():
            if name.endswith(OFFSETS):
                continue
            if (offsets := arrays.get(name + OFFSETS)) is not None:
                buffers = [None, pa.py_buffer(offsets), pa.py_buffer(array)]
                columns[name] = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
                continue
            shapes[name] = array.shape[1:]
            values = pa.array(array.reshape(-1))
            width = array[0].size
            columns[name] = pa.FixedSizeListArray.from_arrays(values, width) if array.ndim > 1 else values
        batch = pa.RecordBatch.from_pydict(columns).replace_schema_metadata({"shapes": json.dumps(shapes)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return memoryview(sink.getvalue())

    def mapped(self, path: Path) -> tuple[Shard, Any]:
        import pyarrow as pa

        source = pa.memory_map(str(path))
        batch = pa.ipc.open_file(source).get_batch(0)
        shapes = json.loads(batch.schema.metadata[b"shapes"])
        found: dict[str, Any] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in shapes:
                values = column.flatten() if shapes[name] else column
                found[name] = values.to_numpy(zero_copy_only=True).reshape(-1, *shapes[name])
            else:
                _, offsets, payload = column.buffers()
                found[name] = Blocks(np.frombuffer(payload, np.uint8), np.frombuffer(offsets, np.int64))
        return found, source


class Hdf5(Files):
    """Chunks of about 16 KiB, each with its checksum (Fletcher-32), which reading compares."""

    name, package = "hdf5", "h5py"

    def encode(self, arrays: Mapping[str, np.ndarray]) -> bytes:
        import h5py

        with h5py.File("shard", "w", driver="core", backing_store=False, libver="latest") as file:
            for name, array in arrays.items():
                rows = min(len(array), max(1, 16384 // array[0].nbytes))
                file.create_dataset(name, data=array, chunks=(rows, *array.shape[1:]), fletcher32=True)
            file.flush()
            return file.id.get_file_image()

    def mapped(self, path: Path) -> tuple[Shard, Any]:
        import h5py

        file = h5py.File(path, "r")
        found = {name: file[name] if name + OFFSETS in file else _RowByRow(file[name]) for name in file}
        return unflat(found), file


class _RowByRow:
    """A data set of HDF5. Asked for a list of rows it is some 30 times slower than asked for one after the other."""

    def __init__(self, rows: Any) -> None:
        self._rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, positions: Any) -> np.ndarray:
        return self._rows[positions] if isinstance(positions, slice) else np.array([self._rows[at] for at in positions])


class Lmdb(Container):
    """A B-tree in one file: a row a value, all its columns together; a transaction a shard."""

    name = package = "lmdb"
    one_file = True

    def write(self, folder: Path, shards: Iterable[Shard], *, atomic: bool = True) -> None:
        import lmdb

        at = 0
        with lmdb.open(str(folder), map_size=1 << 36) as env:
            for shard in shards:
                fixed = {name: column for name, column in shard.items() if not isinstance(column, Blocks)}
                blocks = [name for name in shard if name not in fixed]
                layout = [(name, column.dtype.str, column.shape[1:]) for name, column in fixed.items()]
                packed = np.empty(len(shard["ids"]), layout)
                for name, column in fixed.items():
                    packed[name] = column
                with env.begin(write=True) as transaction:
                    transaction.put(b"layout", json.dumps([layout, blocks]).encode())
                    for place, row in enumerate(packed):
                        rest = [shard[name].row(place).tobytes() for name in blocks]
                        transaction.put(at.to_bytes(8, "big"), b"".join([row.tobytes(), *rest]))
                        at += 1

    def open(self, folder: Path) -> Reader:
        return LmdbReader(folder)


class LmdbReader(Reader):
    """Reads what was committed when it was opened."""

    def __init__(self, folder: Path) -> None:
        import lmdb

        self._env = lmdb.open(str(folder), map_size=1 << 36, readonly=True)
        self._transaction = self._env.begin(buffers=True)
        layout, self._blocks = json.loads(bytes(self._transaction.get(b"layout", b"[[], []]")))
        self._layout = np.dtype([(name, kind, tuple(shape)) for name, kind, shape in layout])

    def __len__(self) -> int:
        return max(0, self._transaction.stat()["entries"] - 1)

    def rows(self, positions: np.ndarray) -> Shard:
        found = [self._transaction.get(at.to_bytes(8, "big")) for at in positions.tolist()]
        size = self._layout.itemsize
        packed = np.frombuffer(b"".join([value[:size] for value in found]), self._layout)
        columns: dict[str, Any] = {name: np.ascontiguousarray(packed[name]) for name in self._layout.names or ()}
        for name in self._blocks:
            columns[name] = joined([np.frombuffer(value[size:], np.uint8) for value in found])
        return columns

    def close(self) -> None:
        self._transaction.abort()
        self._env.close()


CANDIDATES: list[Container] = [Safetensors(), Arrow(), Hdf5(), Lmdb()]
