"""Rows from a generator, or anything else that can be gone through once: pairs (input, label), or dicts by column name.

For a task that reads text a row is a text, a pair (prompt, completion), or a dict.

Rows are read once, into memory or, where they outgrow `data.memory`, into a mapped file.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from torch import Tensor

from limbeck.data import pictures
from limbeck.data.forms import documents
from limbeck.data.forms.assembly import Assembly
from limbeck.data.forms.columns import Block, Roles, roles
from limbeck.data.pictures import Unfit
from limbeck.data.raw import Raw
from limbeck.data.shelf import Shelf
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError
from limbeck.recipe import Columns, DataSpec
from limbeck.task import LabelKind

_ROWS_AT_ONCE = 256
_PAIR = ("input", "label")


def is_stream(source: object) -> bool:
    """Whether an object can be gone through, and not be indexed: a generator, a reader of lines, an iterable set."""
    return hasattr(source, "__iter__") and not (hasattr(source, "__getitem__") and hasattr(source, "__len__"))


def read(source: Any, spec: DataSpec, labels: LabelKind, *, name: str = "rows") -> Raw:
    """Goes through the rows of a source once.

    Args:
        source: An iterable of rows, or a mapping of "train", and perhaps "valid" and "test", to iterables. A row is a
            pair (input, label) or a dict; inputs are arrays, tensors, numbers or pictures of Pillow's, of one shape.
        spec: Its tokens, columns (for dicts), size, share of unreadable rows, and memory.
        labels: How the task reads labels.
        name: What to call the data.

    Raises:
        DataError: When there is no row, a row is neither pair nor dict, or too much is unreadable.
    """
    if spec.windows is not None:
        raise DataError(
            "data.windows is said, and the rows come one by one from a generator",
            expected="a table, or arrays by name",
            remedy="write the readings to a CSV or Parquet file, or return a dict of arrays",
        )
    splits = source if isinstance(source, Mapping) else {"train": source}
    if spec.tokens is not None:
        decoder = _Decoder(None)
        rows = {str(split): map(_document, given) for split, given in splits.items()}
        readers = {split: partial(_read_once, given, split, decoder) for split, given in rows.items()}
        return documents.of(name, "a generator", readers, spec)
    found: Roles | None = None
    with Shelf(spec.memory) as shelf:
        assembly = Assembly(labels, shelf, Unreadable(spec.unreadable))
        decoder = _Decoder(spec.size)
        for split, rows in splits.items():
            for block in _blocks(iter(rows), str(split), decoder):
                found = found or _roles(block, spec.columns)
                assembly.add(str(split), found, block)
        if found is None:
            raise DataError(f"{name} gave no row", expected="at least one (input, label)")
        if spec.size is not None and decoder.grey is None:
            raise DataError("data.size is said, and the inputs are no pictures", remedy="leave it out")
        return assembly.raw(name, "a generator", found)


def _document(row: Any) -> Any:
    if isinstance(row, str):
        return {"text": row}
    if isinstance(row, tuple | list) and len(row) == len(_PAIR):
        return {"prompt": row[0], "completion": row[1]}
    return row


def _read_once(rows: Iterator[Any], split: str, decoder: "_Decoder", lost: Unreadable) -> Iterator[Block]:
    return _blocks(rows, split, decoder)


def _roles(block: Block, said: Columns) -> Roles:
    if tuple(block.columns) == _PAIR and said == Columns():
        said = Columns(inputs=("input",), label=("label",))
    found = roles(said, block)
    if not found.label:
        raise DataError(
            f"no column of the rows is said to be the label: there are {', '.join(block.columns)}",
            expected="columns: {label: NAME}, or rows of (input, label)",
        )
    return found


def _blocks(rows: Iterator[Any], split: str, decoder: "_Decoder") -> Iterator[Block]:
    first = 0
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        columns = _columns(some, split, first)

        def where(place: int, first: int = first) -> str:
            return f"{split}, row {first + place}"

        yield Block({name: [decoder(value) for value in values] for name, values in columns.items()}, where)
        first += len(some)


def _columns(rows: list[Any], split: str, first: int) -> dict[str, list[Any]]:
    for place, row in enumerate(rows):
        if type(row) is not type(rows[0]) or not isinstance(row, Mapping | tuple | list):
            raise DataError(
                f"row {first + place} of the {split} rows is {type(row).__name__}, not a pair or a dict",
                expected="(input, label), or a dict of values by column name, the same for every row",
            )
        if not isinstance(row, Mapping) and len(row) != len(_PAIR):
            raise DataError(f"row {first + place} of the {split} rows has {len(row)} parts", expected="(input, label)")
    if not isinstance(rows[0], Mapping):
        return {name: [row[place] for row in rows] for place, name in enumerate(_PAIR)}
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


class _Decoder:
    """Makes pictures arrays of one size and of as many channels as the first has; other values pass."""

    def __init__(self, size: int | None) -> None:
        self.size = None if size is None else (size, size)
        self.grey: bool | None = None

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.numel() == 1 and value.ndim < 2:
            return value.item()
        if not (hasattr(value, "getbands") or isinstance(value, bytes)):
            return value
        try:
            with pictures.pillow():
                grey = pictures.header(value)[0]
                if self.grey and not grey:
                    raise Unfit("has colour, and the first picture has none")
                self.grey = grey if self.grey is None else self.grey
                return pictures.decoded(value, grey=self.grey, size=self.size)
        except Unfit as error:
            return error
