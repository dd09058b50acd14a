"""A recipe's data -> `Data`: a known name, or a function of the user's that returns arrays, splits or a data set."""

import importlib
from typing import Any

from limbeck.data.source import Data, load
from limbeck.errors import DataError
from limbeck.grammar import parse_call
from limbeck.recipe import DataSpec
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
    source = given if given is not None else _made(spec.source) if ":" in spec.source else spec.source
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
