"""What an object holds, as one hash that another process gives too: how teachers that are no networks are told apart.

Every part that an object would be copied by is read: attributes, arrays, lists, and of functions the source text, the
defaults and what they closed over. Nothing is pickled. What cannot be read (locks, generators, open files) is named.
"""

import hashlib
import inspect
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


class Contents:
    """One reading of an object.

    Args:
        thing: The object. Two that hold the same have the same hash, also where only one holds a part twice.

    Attributes:
        digest: The first 32 hexadecimal digits of a SHA-256.
        unread: Names of the types of parts that could not be read, sorted; the hash knows nothing of what they hold.
        parts: Every object met on the way that is neither a number, a text, an array nor a plain collection.
    """

    def __init__(self, thing: Any) -> None:
        self.parts: list[Any] = []
        self._unread: set[str] = set()
        self._known: dict[int, bytes] = {}
        self._path: list[int] = []
        # Holding what was met keeps its id from being given to something else meanwhile.
        self._held: list[Any] = []
        self.digest = self._of(thing).hex()[:32]
        self.unread = tuple(sorted(self._unread))

    def _of(self, thing: Any) -> bytes:
        if isinstance(thing, _PLAIN):
            return _hash(type(thing).__name__, repr(thing).encode())
        if id(thing) in self._known:
            return self._known[id(thing)]
        if id(thing) in self._path:
            return _hash("circle", str(len(self._path) - self._path.index(id(thing))).encode())
        self._path.append(id(thing))
        found = self._array(thing) or self._collection(thing) or self._code(thing) or self._object(thing)
        self._path.pop()
        self._held.append(thing)
        self._known[id(thing)] = found
        return found

    def _array(self, thing: Any) -> bytes | None:
        if isinstance(thing, torch.Tensor):
            flat = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            return _hash(f"tensor {thing.dtype} {tuple(thing.shape)}", flat.tobytes())
        if isinstance(thing, np.dtype):
            return _hash("dtype", str(thing).encode())
        if not isinstance(thing, np.ndarray | np.generic):
            return None
        array = np.asarray(thing)
        if array.dtype.names is not None:
            # Field by field: the bytes between the fields are whatever was in memory.
            return _hash(f"record {array.shape}", *(self._of(array[name]) for name in array.dtype.names))
        if array.dtype.hasobject:
            return _hash(f"objects {array.shape}", *(self._of(part) for part in array.reshape(-1).tolist()))
        return _hash(f"array {array.dtype.str} {array.shape}", np.ascontiguousarray(array).tobytes())

    def _collection(self, thing: Any) -> bytes | None:
        # Subclasses may hold more than their items, so they are read as objects.
        if type(thing) in (list, tuple):
            return _hash(type(thing).__name__, *(self._of(part) for part in thing))
        if type(thing) in (set, frozenset):
            return _hash(type(thing).__name__, *sorted(self._of(part) for part in thing))
        if type(thing) is dict:
            pairs = _ordered(thing)
            return _hash("dict", *(part for key, value in pairs for part in (self._of(key), self._of(value))))
        return None

    def _code(self, thing: Any) -> bytes | None:
        if isinstance(thing, type):
            return _hash("type", _name(thing).encode())
        if isinstance(thing, types.ModuleType):
            return _hash("module", thing.__name__.encode())
        if isinstance(thing, types.MethodType):
            return _hash("method", self._of(thing.__func__), self._of(thing.__self__))
        if isinstance(thing, types.CodeType):
            return _hash("code", thing.co_code, self._of(thing.co_consts), self._of(thing.co_names))
        if not isinstance(thing, _FUNCTIONS):
            return None
        if isinstance(thing, types.BuiltinFunctionType):
            return _hash("builtin", _name(thing).encode(), self._of(thing.__self__))
        try:
            text = self._of(inspect.getsource(thing))
        except (OSError, TypeError):  # typed at a prompt, or made by exec
            text = self._of(thing.__code__)
        cells = [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
        return _hash("function", text, self._of(thing.__defaults__), self._of(thing.__kwdefaults__), self._of(cells))

    def _object(self, thing: Any) -> bytes:
        self.parts.append(thing)
        name = _name(type(thing)).encode()
        try:
            made = thing.__reduce_ex__(4)
        except Exception:  # noqa: BLE001 - whatever its own code raises, it cannot be read
            self._unread.add(name.decode())
            return _hash("unread", name)
        if isinstance(made, str):
            return _hash("named", name, made.encode())
        maker, arguments, state, items, pairs = (*made, None, None, None)[:5]
        told = (arguments, state, list(items or ()), list(pairs or ()))
        return _hash("object", name, _name(maker).encode(), *(self._of(part) for part in told))


def _ordered(thing: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    # Attributes may have been set in another order in another process; other keys keep the order they came in.
    if all(isinstance(key, str) for key in thing):
        return sorted(thing.items(), key=lambda pair: pair[0])
    return list(thing.items())


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - whether it can be looked up is the question
    except ValueError:
        return False
    return True


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _hash(kind: str, *parts: bytes) -> bytes:
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()
