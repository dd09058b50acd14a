"""From JSON to dataclasses: every field there, none too many, each of its type, numbers finite."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from limbeck_runtime.errors import ArtifactError

Record = TypeVar("Record")


def built(kind: type[Record], raw: Any, where: str) -> Record:
    """A frozen dataclass from a mapping; fields with a default may be left out.

    Args:
        kind: A dataclass whose fields are str, int, float, bool, tuples of those, mappings, dataclasses, or None.
        raw: What was read.
        where: What it is called in messages.

    Raises:
        ArtifactError: When a field is missing, unknown, of another type, or a number is not finite.
    """
    if not isinstance(raw, Mapping):
        raise ArtifactError(f"{where} is a {type(raw).__name__}", expected="a mapping")
    hints, known = typing.get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [name for name in raw if name not in known]
    if unknown:
        raise ArtifactError(f"{where} has a field {unknown[0]!r}", expected=f"some of {', '.join(known)}")
    found: dict[str, Any] = {}
    for name, field in known.items():
        if name in raw:
            found[name] = _value(hints[name], raw[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ArtifactError(f"{where} has no {name!r}", expected=f"all of {', '.join(known)}")
    return kind(**found)


def _value(hint: Any, raw: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if raw is None and type(None) in typing.get_args(hint):
            return None
        return _value(next(part for part in typing.get_args(hint) if part is not type(None)), raw, where)
    if origin is tuple:
        if not isinstance(raw, list | tuple):
            raise ArtifactError(f"{where} is a {type(raw).__name__}", expected="a list")
        return tuple(_value(typing.get_args(hint)[0], each, f"{where}[{place}]") for place, each in enumerate(raw))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return built(hint, raw, where)
    return _plain(origin or hint, raw, where)


def _plain(kind: Any, raw: Any, where: str) -> Any:
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        raw = float(raw)
    wanted = Mapping if kind is Mapping or kind is dict else kind
    if not isinstance(raw, wanted) or (isinstance(raw, bool) and kind is not bool):
        raise ArtifactError(f"{where} is a {type(raw).__name__}", expected=getattr(kind, "__name__", str(kind)))
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ArtifactError(f"{where} is {raw}", expected="a finite number")
    return raw
