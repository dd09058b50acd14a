"""Tables with named columns: .csv and .tsv (also .gz), .parquet, .jsonl; one file, or a folder with a file a split.

A folder holds `train.csv`, `valid.csv` (or `validation`), `test.csv`, or numbered ones such as `train-1.parquet`; files
of other names are all training rows. Numeric input columns become rows of float32 in the order in which the recipe
names them. A column of picture files is read relative to the table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.forms import documents, texts
from limbeck.data.forms.assembly import Assembly
from limbeck.data.forms.columns import Block, Roles, numbers, plain, roles
from limbeck.data.forms.gallery import hang, surveyed
from limbeck.data.forms.splits import split_files
from limbeck.data.pictures import Source
from limbeck.data.raw import Raw
from limbeck.data.shelf import Shelf, identity
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError
from limbeck.recipe import DataSpec
from limbeck.task import LabelKind

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz")
"""Files that are taken for tables, in lower case."""

_ROWS_AT_ONCE = 8192
_LABELS = ("label", "labels", "class", "target", "y")


@dataclass(frozen=True, eq=False)
class Table:
    """A table of any origin, split by split; its rows can be read as often as asked.

    Args:
        name: What to call the data.
        origin: Where it lies, for the report.
        splits: For each split, what reads its blocks from the first on.
        folder: What the names of picture files are relative to.
        classes: Names by class number, where the source has them.
        key: What `shelf.identity` gave, None where the content decides.
    """

    name: str
    origin: str
    splits: Mapping[str, Callable[[Unreadable], Iterator[Block]]]
    folder: Path = Path()
    classes: Sequence[str] | None = None
    key: str | None = None


def is_table(path: Path) -> bool:
    """Whether a file's name says that it is a table."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path, spec: DataSpec, labels: LabelKind) -> Raw:
    """Reads a file or a folder of tables.

    Args:
        path: The file or folder.
        spec: Its columns, windows or tokens, size, share of unreadable rows, and memory.
        labels: How the task reads labels.

    Raises:
        DataError: When pyarrow is not installed, a column is missing or no number, or too much is unreadable.
    """
    files = [inner for inner in path.iterdir() if is_table(inner)] if path.is_dir() else [path]
    # A file that is named alone is train, whatever its name.
    there = [file for file in files if not file.name.startswith(".")]
    by_split = split_files(there, path) if path.is_dir() else {"train": files}
    splits = {split: reader(listed) for split, listed in by_split.items()}
    listed = sorted(chain.from_iterable(by_split.values()))
    folder = path if path.is_dir() else path.parent
    name = path.name.partition(".")[0] or path.name
    return of(Table(name, str(path), splits, folder, key=identity("tables", listed, spec, labels)), spec, labels)


def of(table: Table, spec: DataSpec, labels: LabelKind) -> Raw:
    """The data of a table of any origin.

    Raises:
        DataError: When a column is missing or no number, or too much is unreadable.
    """
    if spec.tokens is not None:
        return documents.of(table.name, table.origin, table.splits, spec, table.key)
    lost = Unreadable(spec.unreadable)
    first = next(table.splits["train"](lost), None)
    lost = Unreadable(spec.unreadable)
    if first is None or not len(first):
        raise DataError(f"{table.origin} holds no row", expected="a table with a line of names and rows below it")
    if spec.windows is not None:
        return _windowed(table, spec, labels, lost)
    found = roles(spec.columns, first)
    if not found.label:
        raise DataError(
            f"no column of {table.origin} is said to be the label",
            expected="columns: {label: NAME}",
            remedy=_likely(list(first.columns)),
        )
    if found.form == "pictures":
        return _pictures(table, found, spec, labels, lost)
    if spec.size is not None:
        raise DataError("data.size is said, and the inputs are no pictures", remedy="leave it out")
    with Shelf(spec.memory, table.key) as shelf:
        if (kept := shelf.found()) is not None:
            return kept
        assembly = Assembly(labels, shelf, lost, first.typed)
        for split, blocks in table.splits.items():
            for block in blocks(lost):
                assembly.add(split, found, block)
        return assembly.raw(table.name, table.origin, found, classes=table.classes)


def _likely(names: list[str]) -> str:
    likely = [name for name in names if name.lower() in _LABELS]
    return f"columns: {{label: {likely[0]}}}" if likely else f"one of {', '.join(names[:20])}"


def _pictures(table: Table, found: Roles, spec: DataSpec, labels: LabelKind, lost: Unreadable) -> Raw:
    """Rows whose input is a picture, or the name of its file."""
    name = found.inputs[0]

    def sources(block: Block) -> list[Source | None]:
        return [_source(value, table.folder) for value in plain(block.column(name))]

    def everything() -> Iterator[Source]:
        # lines that cannot be read are counted in the second look, which also keeps what stands beside a picture
        ignored = Unreadable(1.0)
        for blocks in table.splits.values():
            for block in blocks(ignored):
                yield from (source for source in sources(block) if source is not None)

    with Shelf(spec.memory, _key_with_pictures(table.key, everything())) as shelf:
        if (kept := shelf.found()) is not None:
            return kept
        look = surveyed(everything(), spec.size)
        assembly = Assembly(labels, shelf, lost, typed=True)
        for split, read_blocks in table.splits.items():
            hang(
                assembly, split, ((block, sources(block)) for block in _noted(read_blocks(lost), assembly)), found, look
            )
        return assembly.raw(table.name, table.origin, found, classes=table.classes, facts=look.facts)


def _noted(blocks: Iterable[Block], assembly: Assembly) -> Iterator[Block]:
    for block in blocks:
        assembly.typed = block.typed
        yield block


def _source(value: Any, folder: Path) -> Source | None:
    if isinstance(value, dict):  # how Hugging Face keeps a picture
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return folder / value if value else None
    return value


def _key_with_pictures(key: str | None, sources: Iterable[Source]) -> str | None:
    """The table's key, and what the files of its pictures say of themselves."""
    import hashlib

    if key is None:
        return None
    digest = hashlib.sha256(key.encode())
    for source in sources:
        if isinstance(source, Path):
            try:
                there = source.stat()
                digest.update(f"{source}|{there.st_size}|{there.st_mtime_ns}\n".encode())
            except OSError:
                digest.update(f"{source}|missing\n".encode())
    return digest.hexdigest()[:32]


def _windowed(table: Table, spec: DataSpec, labels: LabelKind, lost: Unreadable) -> Raw:
    """Hands the columns of each split over to be cut into windows; splits of the source's own are cut apart."""
    from limbeck.data.windows import windowed

    cut = {}
    for split, blocks in table.splits.items():
        columns = whole(list(blocks(lost)), spec, labels, lost)
        cut[split] = windowed(columns, spec, labels, name=table.name, origin=table.origin)
    train = cut["train"]
    lines = sum(raw.facts["windows"]["readings"] for raw in cut.values())
    lost.check(lines)
    return replace(
        train,
        valid=cut["valid"].train if "valid" in cut else None,
        test=cut["test"].train if "test" in cut else None,
        groups={split: raw.groups["train"] for split, raw in cut.items() if "train" in raw.groups},
        times={split: raw.times["train"] for split, raw in cut.items() if "train" in raw.times},
        facts={**train.facts, **lost.facts()},
    )


def whole(blocks: list[Block], spec: DataSpec, labels: LabelKind, lost: Unreadable) -> dict[str, Any]:
    """The columns that windows need, as arrays: inputs with NaN where a reading is missing, times in seconds.

    Raises:
        DataError: When a column is missing or no number, or too much is unreadable.
    """
    found = roles(spec.columns, blocks[0])
    assembly = Assembly(labels, Shelf(0), lost, blocks[0].typed)
    parts = [_readings(block, found, assembly) for block in blocks]
    whole = {}
    for name, first in parts[0].items():
        if isinstance(first, np.ndarray):
            whole[name] = np.concatenate([part[name] for part in parts])
        else:
            whole[name] = np.asarray(assembly.tidied([value for part in parts for value in part[name]]))
    return whole


def _readings(block: Block, found: Roles, assembly: Assembly) -> dict[str, Any]:
    """The columns of one block without the lines that cannot be read; arrays, and lists for labels that are names."""
    read = assembly.read(replace(found, label=()), block)
    inputs = {name: numbers(block.column(name)) for name in found.inputs}
    for name, (_, bad) in inputs.items():
        read.lose(bad, "no number", name)
    columns: dict[str, Any] = {name: values[read.good] for name, (values, _) in inputs.items()}
    if found.time is not None and read.moments is not None:
        columns[found.time] = read.moments[read.good]
    if found.group is not None and read.groups is not None:
        columns[found.group] = np.array(read.groups, dtype=object)[read.good].astype(str)
    for name in found.label:
        if name in columns:
            continue
        if assembly.kind in ("values", "several"):
            columns[name] = numbers(block.column(name))[0][read.good]
        else:
            kept = zip(plain(block.column(name), typed=block.typed), read.good, strict=True)
            columns[name] = [value for value, good in kept if good]
    return columns


def reader(files: Sequence[Path]) -> Callable[[Unreadable], Iterator[Block]]:
    """What reads the blocks of these files, one file after the other."""

    def blocks(lost: Unreadable) -> Iterator[Block]:
        for path in files:
            name = path.name.lower().removesuffix(".gz")
            if name.endswith(".parquet"):
                yield from _parquet(path)
            elif name.endswith(".jsonl"):
                yield from texts.json_lines(path, lost)
            else:
                yield from texts.separated(path, "\t" if name.endswith(".tsv") else ",", lost)

    return blocks


def _parquet(path: Path) -> Iterator[Block]:
    pa = texts.arrow()
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            first = 1
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                yield of_arrow(batch, f"{path.name}, row", first)
                first += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", expected="a Parquet file") from error


def of_arrow(batch: Any, where: str, first: int) -> Block:
    """A block over a batch or table of pyarrow whose first row has this number; dictionaries are spelt out."""
    import pyarrow as pa

    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        packed = pa.types.is_dictionary(column.type)
        columns[name] = column.cast(column.type.value_type) if packed else column
    return Block(columns, lambda place: f"{where} {first + place}")
