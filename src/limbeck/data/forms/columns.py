"""What the columns of a table mean, and their values as numbers, moments and labels, with what cannot be read marked.

Input columns are numbers. Text and true/false columns are not turned into numbers behind anybody's back: how many
classes a text has, and in which order, would depend on the file, and the student could not be fed on another one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from limbeck.data.pictures import SUFFIXES, Unfit
from limbeck.errors import DataError, did_you_mean
from limbeck.recipe import Columns

Form: TypeAlias = Literal["numbers", "text", "true/false", "times", "pictures", "arrays", "empty"]
"""What the values of a column are; texts that name picture files are pictures."""

Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
_TRUTH = frozenset({"true", "false"})
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_LOOKED_AT = 1000


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of a table.

    Args:
        columns: Values by name: an array of pyarrow or a list, one length.
        where: From a row's position in the block to the words that find it, such as "train.csv:17".
        typed: Whether the values have types of their own; False where all are text, as in a CSV file.
    """

    columns: Mapping[str, Any]
    where: Callable[[int], str]
    typed: bool = True

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str) -> Any:
        """The values of a column.

        Raises:
            DataError: When there is none of that name.
        """
        if name not in self.columns:
            known = list(self.columns)
            raise DataError(
                f"there is no column {name!r} in the rows from {self.where(0)} on",
                expected=f"one of {', '.join(known[:20])}",
                remedy=did_you_mean(name, known),
            )
        return self.columns[name]


@dataclass(frozen=True)
class Roles:
    """Which columns mean what, and what form the inputs have."""

    inputs: tuple[str, ...]
    form: Form
    label: tuple[str, ...]
    group: str | None
    time: str | None


def roles(said: Columns, block: Block) -> Roles:
    """The meaning of a table's columns, from what a recipe says and the first rows.

    Args:
        said: The recipe's columns. Without inputs, every numeric column that nothing else names; where there is none,
            the only column of pictures or of arrays.
        block: The first rows.

    Raises:
        DataError: When a column is not there, means two things, or cannot be an input.
    """
    named = [*said.inputs, *said.label, *(name for name in (said.group, said.time) if name)]
    for name in named:
        block.column(name)
    if twice := next((name for name in said.inputs if name in {*said.label, said.group}), None):
        raise DataError(
            f"the column {twice!r} is an input and also the label or the group",
            expected="inputs that do not give the answer away",
        )
    forms = {name: form(block.column(name), typed=block.typed) for name in (said.inputs or block.columns)}
    if not said.inputs:
        forms = _unnamed({name: found for name, found in forms.items() if name not in named})
    if not forms:
        raise DataError(
            f"no column can be an input: there are {', '.join(block.columns)}",
            expected="a column of numbers or of pictures",
            remedy="columns: {inputs: [NAME, ...]}",
        )
    kinds = {"numbers" if found == "empty" else found for found in forms.values()}
    alone = next(iter(kinds)) if len(forms) == 1 else None
    if alone not in ("pictures", "arrays") and kinds != {"numbers"}:
        _refuse({name: found for name, found in forms.items() if found not in ("numbers", "empty")}, len(forms))
    return Roles(tuple(forms), alone or "numbers", said.label, said.group, said.time)


def _unnamed(forms: Mapping[str, Form]) -> dict[str, Form]:
    found: dict[str, Form] = {name: form for name, form in forms.items() if form == "numbers"}
    for kind in ("pictures", "arrays"):
        those: dict[str, Form] = {name: form for name, form in forms.items() if form == kind}
        if not found and len(those) == 1:
            found = those
    return found


def _refuse(forms: Mapping[str, Form], inputs: int) -> None:
    listed = ", ".join(f"{name!r} ({found})" for name, found in forms.items())
    if set(forms.values()) <= {"pictures", "arrays"}:
        raise DataError(
            f"{listed} stands among {inputs} input columns", expected="a column of pictures or arrays alone"
        )
    raise DataError(
        f"input columns that are no numbers: {listed}",
        expected="numeric input columns, or one column of picture files",
        remedy="leave them out of columns.inputs, or write them as numbers, such as a 0/1 column for each value",
    )


def form(values: Any, *, typed: bool = True) -> Form:
    """What the values of a column are, by its type, or by its first thousand values."""
    kind = str(getattr(values, "type", ""))
    if kind == "bool":
        return "true/false"
    if kind.startswith(("int", "uint", "float", "double", "halffloat", "decimal")):
        return "numbers"
    if kind.startswith(("timestamp", "date")):
        return "times"
    seen = [value for value in _listed(values[:_LOOKED_AT]) if not _absent(value)]
    if not seen:
        return "empty"
    if all(isinstance(value, str) for value in seen):
        return _text(seen, typed)
    first = seen[0]
    if isinstance(first, bool | np.bool_):
        return "true/false"
    if isinstance(first, list | tuple | np.ndarray | Unfit) or hasattr(first, "detach"):
        return "arrays"
    if isinstance(first, bytes | dict) or hasattr(first, "getbands"):
        return "pictures"
    if isinstance(first, date):
        return "times"
    # a few stray texts in a column of numbers are rows to complain about, not a column of text
    numeric = sum(isinstance(value, int | float | np.number) for value in seen)
    return "numbers" if 2 * numeric > len(seen) else "text"


def _text(seen: Sequence[str], typed: bool) -> Form:
    if PurePath(seen[0]).suffix.lower() in SUFFIXES:
        return "pictures"
    if typed:
        return "text"
    if {value.strip().lower() for value in seen} <= _TRUTH:
        return "true/false"
    there = [value for value in seen if value.strip().lower() not in _MISSING]
    return "numbers" if 2 * sum(_float(value) is not None for value in there) > len(there) else "text"


def numbers(values: Any) -> tuple[Floats, Mask]:
    """A column as numbers: NaN where one is missing, and a mask of the values that are there and are no finite number.

    Args:
        values: An array of pyarrow, an array, or a list. Texts are read as decimal numbers; the empty text, NA, N/A,
            NaN, null and none in any case are missing.
    """
    if hasattr(values, "to_pylist"):
        found = _arrow_numbers(values)
    elif isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        found = values.astype(np.float64), np.zeros(len(values), dtype=bool)
    else:
        read = [_number(value) for value in values]
        bad = np.array([number is None for number in read], dtype=bool)
        found = np.array([math.nan if number is None else number for number in read], dtype=np.float64), bad
    plain, bad = found
    endless = np.isinf(plain)
    return np.where(endless, math.nan, plain), bad | endless


def _arrow_numbers(values: Any) -> tuple[Floats, Mask]:
    import pyarrow as pa
    import pyarrow.compute as pc

    bad = np.zeros(len(values), dtype=bool)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        text = pc.utf8_trim_whitespace(values)
        right = pc.match_substring_regex(text, _NUMBER)
        missing = pc.is_in(pc.utf8_lower(text), pa.array(sorted(_MISSING), type=values.type))
        bad = _flat(pc.fill_null(pc.invert(pc.or_(right, missing)), False)).astype(bool)
        values = pc.if_else(right, text, pa.scalar(None, type=values.type))
    return _flat(pc.cast(values, pa.float64())).astype(np.float64), bad


def _flat(values: Any) -> npt.NDArray[Any]:
    whole = values.combine_chunks() if hasattr(values, "combine_chunks") else values
    return np.array(whole.to_numpy(zero_copy_only=False))


def _number(value: Any) -> float | None:
    """A number, NaN for a missing one, None for what is none."""
    if value is None or isinstance(value, bool | np.bool_):
        return math.nan if value is None else None
    if isinstance(value, int | float | np.number):
        return float(value)
    if isinstance(value, str):
        return math.nan if value.strip().lower() in _MISSING else _float(value)
    return float(value) if getattr(value, "ndim", None) == 0 else None


def _float(text: str) -> float | None:
    try:
        # float() would also take 1_000 and the digits of every script
        return float(text) if "_" not in text and text.isascii() else None
    except ValueError:
        return None


def moments(values: Any) -> tuple[Floats, Mask]:
    """A column of times in seconds since 1970 (numbers stay as they are), and a mask of those that are missing or none.

    Dates and times without a zone are taken for UTC, which shifts all of them alike.
    """
    kind = str(getattr(values, "type", ""))
    if getattr(getattr(values, "dtype", None), "kind", "") == "M":
        found = np.where(np.isnat(values), math.nan, values.astype("datetime64[us]").astype(np.int64) / 1e6)
    elif kind.startswith(("timestamp", "date")):
        import pyarrow as pa
        import pyarrow.compute as pc

        plain = pc.cast(values, pa.timestamp("us")) if kind.startswith("date") else values
        plain = pc.cast(plain, pa.timestamp("us", getattr(plain.type, "tz", None)), safe=False)
        found = _flat(pc.cast(pc.cast(plain, pa.int64()), pa.float64())).astype(np.float64) / 1e6
    else:
        found, bad = numbers(values)
        if not bad.any():
            return found, np.isnan(found)
        found = np.array([_moment(value) for value in _listed(values)], dtype=np.float64)
    return found, ~np.isfinite(found)


def _moment(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            number = _float(value)
            return math.nan if number is None else number
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    number = _number(value)
    return math.nan if number is None else number


def words(values: Any) -> list[str | None]:
    """A column as texts, None where one is missing."""
    return [None if _absent(value) or value != value else str(value) for value in _listed(values)]


def plain(values: Any, *, typed: bool = True) -> list[Any]:
    """A column as Python's own values, None where one is missing; an empty text is missing where all values are."""
    return [None if value is None or (not typed and _absent(value)) else value for value in _listed(values)]


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value)


def _listed(values: Any) -> list[Any]:
    if hasattr(values, "to_pylist"):
        found: list[Any] = values.to_pylist()
        return found
    return values.tolist() if isinstance(values, np.ndarray) and values.ndim == 1 else list(values)
