"""A recipe's data -> `Data`: a known name, a file or folder, a hub data set, or a function of a person's own.

    digits              a file of `data/sets/`
    hf:NAME             a Hugging Face data set (`data/forms/hub.py`)
    a file or folder    tables, text, arrays or pictures, by what lies there (`data/forms/`)
    package.module:function, which returns arrays, splits, a data set, a generator, or any of the texts above

Objects handed to `distill` are read in the same way as what such a function returns.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.data.forms import arrays, generators, hub, images, prose, tables
from limbeck.data.source import Data, known_names, load
from limbeck.errors import DataError, did_you_mean
from limbeck.grammar import parse_call
from limbeck.recipe import Columns, DataSpec
from limbeck.task import OF_NAMES, LabelKind


def data_of(spec: DataSpec, given: Any = None, *, labels: LabelKind = "single") -> Data:
    """Loads the data a recipe names.

    Args:
        spec: The recipe's `data`.
        given: Data handed over as an object, in place of `spec.source`.
        labels: How labels are read: the task's `labels`.

    Raises:
        DataError: When it cannot be found or does not fit.
    """
    if isinstance(given, Data):
        return given
    _check_tokens(spec, labels)
    return load(
        _named(spec.source, spec, labels) if given is None else _held(given, spec, labels),
        labels=labels,
        path=spec.path,
        valid=spec.valid,
        test=spec.test,
        split=spec.split,
        labelled=spec.labelled,
        omit=spec.omit,
        seed=spec.seed,
    )


def _named(source: str, spec: DataSpec, labels: LabelKind) -> Any:
    """What a text stands for, read where it is a file, a folder or a hub data set."""
    if source in known_names():
        _refuse_keys(spec, f"{source} is a known set")
        return source
    if spec.path is not None:
        raise DataError(
            f"data.path is said, and {source!r} is no known set",
            expected=f"one of {', '.join(known_names())}",
            remedy=f"{did_you_mean(source, known_names())}; a file or folder of your own is the source itself",
        )
    place = Path(source).expanduser()
    if OF_NAMES[labels] and spec.tokens is None and (source.startswith("hf:") or place.exists()):
        raise DataError(
            "the task reads text, and no tokenizer is said",
            expected="data: {tokens: {tokenizer: hf:PATH, length: 512}}",
            remedy="the teacher's own tokenizer",
        )
    if source.startswith("hf:"):
        return hub.read(source.removeprefix("hf:"), spec, labels)
    if place.exists():
        return _at(place, spec, labels)
    module, _, call = source.partition(":")
    if call and all(part.isidentifier() for part in module.split(".")):
        return _held(_made(source), spec, labels)
    near = [str(Path(source).parent / inner.name) for inner in place.parent.glob("*")] if place.parent.is_dir() else []
    raise DataError(
        f"no data set, file or folder is called {source!r}",
        expected=f"a file, a folder, hf:NAME, package.module:function, or one of {', '.join(known_names())}",
        remedy=did_you_mean(source, [*known_names(), *near]),
    )


def _at(place: Path, spec: DataSpec, labels: LabelKind) -> Any:
    """Reads a file or folder by what it is; a folder by what lies in it, tables before arrays before pictures."""
    try:
        if place.is_file():
            if tables.is_table(place):
                return tables.read(place, spec, labels)
            if spec.tokens is not None:
                return _text(place, spec, labels)
            if arrays.is_arrays(place):
                return arrays.read(place, spec, labels)
            raise DataError(
                f"{place} is of no known kind",
                expected=f"one of {', '.join((*tables.SUFFIXES, *arrays.SUFFIXES))}, or a folder of pictures",
            )
        inside = [inner for inner in place.iterdir() if inner.is_file() and not inner.name.startswith(".")]
        if hub.is_saved(place):
            return hub.read(str(place), spec, labels)
        if any(tables.is_table(inner) for inner in inside):
            return tables.read(place, spec, labels)
        if spec.tokens is not None:
            return _text(place, spec, labels)
        if any(arrays.is_arrays(inner) for inner in inside):
            return arrays.read(place, spec, labels)
        return images.read(place, spec, labels)
    except OSError as error:
        raise DataError(f"{place} cannot be read: {error.strerror or error}", remedy="check its permissions") from error


def _text(place: Path, spec: DataSpec, labels: LabelKind) -> Any:
    """Reads a file or folder of text, in which there is no table."""
    there = prose.is_text(place) if place.is_file() else any(map(prose.is_text, place.rglob("*")))
    if not there:
        raise DataError(
            f"{place} is no text, and holds none",
            expected=f"a file or folder of {', '.join((*prose.SUFFIXES, *tables.SUFFIXES))}",
        )
    return prose.read(place, spec, labels)


def _check_tokens(spec: DataSpec, labels: LabelKind) -> None:
    """Tokens are for a task that reads text, and are no windows or pictures."""
    if spec.tokens is None:
        return
    if not OF_NAMES[labels]:
        raise DataError(
            "data.tokens is said, and the task reads no text",
            expected="task: language",
            remedy="another task, or leave data.tokens out",
        )
    if wrong := [key for key in ("windows", "size") if getattr(spec, key) is not None]:
        raise DataError(
            f"data.{wrong[0]} is said beside data.tokens", expected="one of them", remedy=f"leave data.{wrong[0]} out"
        )


def _held(given: Any, spec: DataSpec, labels: LabelKind) -> Any:
    """What an object gives: read where it has columns or is gone through once, and else as it is."""
    if isinstance(given, Path):
        return _named(str(given), spec, labels)
    if isinstance(given, str):
        return _named(given, spec, labels)
    if hub.is_held(given):
        return hub.of(given, spec, labels)
    if type(given).__name__ == "DataLoader":
        raise DataError("the data is a DataLoader, which gives batches", expected="rows", remedy="loader.dataset")
    if spec.tokens is not None:
        return generators.read(_rows(given), spec, labels)
    if isinstance(given, Mapping):
        if "train" not in given and (spec.columns != Columns() or spec.windows is not None):
            return arrays.of(given, spec, labels)
        if given and all(generators.is_stream(part) for part in given.values()):
            return generators.read(given, spec, labels)
    elif generators.is_stream(given):
        return generators.read(given, spec, labels, name=getattr(given, "__name__", "rows"))
    _refuse_keys(spec, f"the data is {type(given).__name__}")
    return given


def _rows(given: Any) -> Any:
    """Text in memory row by row: columns by name become rows of them; anything else is gone through as it is."""
    if not isinstance(given, Mapping):
        return {"train": given}
    if "train" in given:
        return {name: _rows(part)["train"] for name, part in given.items()}
    return {"train": [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]}


def _refuse_keys(spec: DataSpec, what: str) -> None:
    """What is said about reading must not be passed over in silence where nothing is read."""
    said = {"columns": spec.columns != Columns(), "windows": spec.windows is not None, "size": spec.size is not None}
    said["tokens"] = spec.tokens is not None
    if wrong := [key for key, there in said.items() if there]:
        raise DataError(
            f"data.{wrong[0]} is said, and {what}",
            expected="a table, text, arrays by name, pictures or a hub data set",
            remedy=f"leave data.{wrong[0]} out",
        )


def _made(source: str) -> Any:
    module, _, rest = source.partition(":")
    call = parse_call(rest, "data source")
    try:
        function = getattr(importlib.import_module(module), call.name)
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"the data source {source!r} cannot be imported: {error}",
            expected="package.module:function, a function that returns (inputs, labels) or splits",
            remedy="run from the folder that holds the module, or set PYTHONPATH",
        ) from error
    return function(*call.arguments, **call.keywords)
