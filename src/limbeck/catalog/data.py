"""A recipe's data -> `Data`: a known name, a file or folder, a data set of the hub, or a function of the user's."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.data.forms import arrays, generators, hub, images, tables
from limbeck.data.raw import Raw
from limbeck.data.source import Data, known_names, load
from limbeck.errors import DataError, did_you_mean
from limbeck.grammar import parse_call
from limbeck.recipe import Columns, DataSpec
from limbeck.task import LabelKind


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
    source = _read(spec, labels) if given is None else _given(given, spec, labels)
    return load(
        source,
        labels=labels,
        path=spec.path,
        valid=spec.valid,
        test=spec.test,
        split=spec.split,
        labelled=spec.labelled,
        omit=spec.omit,
        seed=spec.seed,
    )


def _read(spec: DataSpec, labels: LabelKind) -> Any:
    """What a recipe's text stands for: a known name stays one, everything else is read."""
    source = spec.source
    if source in known_names():
        return source
    if source.startswith("hf:"):
        return hub.read(source.removeprefix("hf:"), spec, labels)
    path = Path(source).expanduser()
    if path.exists():
        return _form(path, spec, labels)
    if ":" in source and "/" not in source.partition(":")[0]:
        return _given(_made(source), spec, labels)
    near = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
    raise DataError(
        f"there is no data set and no file called {source!r}",
        expected=f"a known name ({', '.join(known_names())}), a file or folder, hf:NAME, or package.module:function",
        remedy=did_you_mean(path.name, [*known_names(), *near]),
    )


def _form(path: Path, spec: DataSpec, labels: LabelKind) -> Raw:
    """A file or folder in the form that its names say it has."""
    if path.is_dir():
        if hub.is_saved(path):
            return hub.read(str(path), spec, labels)
        inner = [place for place in path.iterdir() if place.is_file() and not place.name.startswith(".")]
        if any(tables.is_table(place) for place in inner):
            return tables.read(path, spec, labels)
        if any(arrays.is_arrays(place) for place in inner):
            return arrays.read(path, spec, labels)
        return images.read(path, spec, labels)
    if tables.is_table(path):
        return tables.read(path, spec, labels)
    if arrays.is_arrays(path):
        return arrays.read(path, spec, labels)
    raise DataError(
        f"{path} is of no known form",
        expected=f"a table ({', '.join(tables.SUFFIXES)}), arrays ({', '.join(arrays.SUFFIXES)}), or a folder",
    )


def _given(given: Any, spec: DataSpec, labels: LabelKind) -> Any:
    """An object a caller handed over; what is neither a data set of `datasets` nor a stream is for `load`."""
    if hub.is_held(given):
        return hub.of(given, spec, labels)
    if generators.is_stream(given):
        return generators.read(given, spec, labels)
    if spec.columns != Columns() and isinstance(given, Mapping):
        return arrays.of(given, spec, labels)
    return given


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
