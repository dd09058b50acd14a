"""Plain values as JSON and back, exactly: what crosses the wall between tests and the code they test.

Only the types themselves cross, none of their subclasses: an object that claims to equal everything stays outside.
"""

from collections.abc import Callable
from typing import Any

_MOST = 100_000
_SINGLE: dict[type, Callable[[Any], Any]] = {
    float: float.hex,
    complex: lambda value: [value.real.hex(), value.imag.hex()],
    bytes: bytes.hex,
    range: lambda value: [value.start, value.stop, value.step],
}
_KINDS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "iterator": iter,
}


class NotPlain(TypeError):
    """A value that does not cross."""


def packed(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it: None, truth values, numbers, texts, bytes, and lists, tuples, sets, mappings of these.

    What is read once, such as a generator, crosses as what it gives.

    Raises:
        NotPlain: When it holds anything else, is nested too deeply, or gives too much.
    """
    kind = type(value)
    if depth > 50:
        raise NotPlain("a value that is nested too deeply")
    if value is None or kind in (bool, int, str):
        return value
    if kind in _SINGLE:
        return {kind.__name__: _SINGLE[kind](value)}
    if kind in (list, tuple, set, frozenset):
        return {kind.__name__: [packed(each, depth + 1) for each in value]}
    if kind is dict:
        return {"dict": [[packed(key, depth + 1), packed(held, depth + 1)] for key, held in value.items()]}
    if hasattr(kind, "__next__"):
        found = []
        for each in value:
            found.append(packed(each, depth + 1))
            if len(found) > _MOST:
                raise NotPlain(f"more than {_MOST} values of a {kind.__name__}")
        return {"iterator": found}
    raise NotPlain(f"a {kind.__name__}")


def unpacked(said: Any) -> Any:
    """The value that `packed` made such JSON of."""
    if not isinstance(said, dict):
        return said
    ((kind, held),) = said.items()
    if kind == "float":
        return float.fromhex(held)
    if kind == "complex":
        return complex(*map(float.fromhex, held))
    if kind == "bytes":
        return bytes.fromhex(held)
    if kind == "range":
        return range(*held)
    if kind == "dict":
        return {unpacked(key): unpacked(value) for key, value in held}
    found = [unpacked(each) for each in held]
    return _KINDS[kind](found)
