"""The tables that are text: lines of values with a separator, and lines of JSON; both know the line of each row."""

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.forms.columns import Block
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError

_ROWS_AT_ONCE = 4096
_OTHERS = (";", "\t", ",", "|")


def arrow() -> Any:
    """The package.

    Raises:
        DataError: When it is not installed.
    """
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise DataError("tables need pyarrow, which is not installed", remedy="pip install 'limbeck[data]'") from error
    return pyarrow


def separated(path: Path, separator: str, lost: Unreadable) -> Iterator[Block]:
    """Reads a file whose first line names the columns; every value is text, and an empty one is missing.

    Lines of the wrong number of values are noted as unreadable; empty lines are passed over. A line is named by its
    number in the file, counted as records: a quoted value that holds a line break does not count twice.

    Raises:
        DataError: When it is no such file, or names two columns alike.
    """
    pa = arrow()
    from pyarrow import csv

    names = _names(path, separator)
    skipped: list[int] = []
    waiting: list[tuple[str, str]] = []

    def invalid(row: Any) -> str:
        # nothing may be raised in here: this is called from within pyarrow
        skipped.append(row.number)
        waiting.append((f"{path.name}:{row.number}", f"{row.actual_columns} values, not {row.expected_columns}"))
        return "skip"

    try:
        reader = csv.open_csv(
            pa.input_stream(str(path), compression="gzip" if path.suffix.lower() == ".gz" else None),
            csv.ReadOptions(use_threads=False),
            csv.ParseOptions(
                delimiter=separator,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=invalid,
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
            ),
        )
        line = 2
        for batch in reader:
            lines, line = _lines(line, len(batch), skipped)
            while waiting:
                lost.add(*waiting.pop(0))
            yield from _without_empty(batch, lines, path.name)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}",
            expected="lines of text (UTF-8) with a separator, the first with the columns' names",
        ) from error


def json_lines(path: Path, lost: Unreadable) -> Iterator[Block]:
    """Reads a file with a JSON object a line; a column that a line leaves out is missing there.

    Lines that are no object are noted as unreadable; empty lines are passed over.

    Raises:
        DataError: When it is no text.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    names: dict[str, None] = {}
    try:
        with opened(path) as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                try:
                    row = json.loads(text)
                    if not isinstance(row, dict):
                        raise ValueError("is no object")
                except (ValueError, RecursionError) as error:
                    lost.add(f"{path.name}:{number}", f"no JSON object: {error}")
                    continue
                names |= dict.fromkeys(row)
                rows.append(row)
                lines.append(number)
                if len(rows) == _ROWS_AT_ONCE:
                    yield _block(rows, names, lines, path.name)
                    rows, lines = [], []
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}", expected="a JSON object a line (UTF-8)") from error
    if rows:
        yield _block(rows, names, lines, path.name)


def _block(rows: list[dict[str, Any]], names: dict[str, None], lines: list[int], file: str) -> Block:
    return Block({name: [row.get(name) for row in rows] for name in names}, lambda place: f"{file}:{lines[place]}")


def opened(path: Path) -> io.TextIOWrapper:
    """A text file in UTF-8, with or without a mark of it, packed or not; every end of a line is read as one newline."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _names(path: Path, separator: str) -> list[str]:
    """The columns of the first line; their names tell a wrong separator."""
    import csv

    try:
        with opened(path) as file:
            names = next(csv.reader(file, delimiter=separator), [])
    except (OSError, UnicodeDecodeError, EOFError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", expected="text (UTF-8)") from error
    if not names:
        raise DataError(f"{path} is empty", expected="a first line with the columns' names")
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise DataError(f"{path} has two columns {twice!r}", expected="a name of its own for each column")
    other = next((sign for sign in _OTHERS if sign in names[0]), None)
    if len(names) == 1 and other is not None:
        raise DataError(
            f"{path} has the single column {names[0]!r}",
            expected=f"columns separated by {separator!r}",
            remedy=f"save it with {separator!r} in place of {other!r} (a .tsv file is separated by tabs)",
        )
    return names


def _lines(first: int, rows: int, skipped: list[int]) -> tuple[Any, int]:
    """The numbers of the next `rows` lines that were not skipped, and the line after them."""
    numbers: list[int] = []
    gone = set(skipped)
    line = first
    if not any(number >= first for number in skipped):
        return np.arange(first, first + rows), first + rows
    while len(numbers) < rows:
        if line not in gone:
            numbers.append(line)
        line += 1
    return np.array(numbers), line


def _without_empty(batch: Any, lines: Any, file: str) -> Iterator[Block]:
    """A block without the lines that hold no value at all."""
    empty = np.ones(len(batch), dtype=bool)
    for column in batch.columns:
        if not empty.any():
            break
        empty &= np.asarray(column.is_null().to_numpy(zero_copy_only=False))
    if empty.any():
        import pyarrow as pa

        batch, lines = batch.filter(pa.array(~empty)), lines[~empty]
    if len(batch):
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        yield Block(columns, lambda place: f"{file}:{lines[place]}", typed=False)
