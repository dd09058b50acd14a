"""Just enough of ONNX's protocol buffers to see whether a model reads other files, before anything runs it.

The field numbers are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from limbeck_runtime.errors import ArtifactError

_DEEPEST = 64


@dataclass(frozen=True)
class _Message:
    """Which fields of a message hold messages worth a look, by field number, and which must not be there."""

    name: str
    inner: Mapping[int, str]
    refused: frozenset[int] = frozenset()


_SCHEMA = {
    message.name: message
    for message in (
        _Message("model", {7: "graph", 20: "training", 25: "function"}),
        _Message("training", {1: "graph", 2: "graph"}),
        _Message("function", {7: "node"}),
        _Message("graph", {1: "node", 5: "tensor", 15: "sparse"}),
        _Message("node", {5: "attribute"}),
        _Message("attribute", {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"}),
        _Message("sparse", {1: "tensor", 2: "tensor"}),
        # 13 is external_data, 14 data_location, of which 0 means "here".
        _Message("tensor", {}, frozenset({13, 14})),
    )
}


def refuse_external_data(model: bytes) -> None:
    """Raises `ArtifactError` when a model's bytes cannot be read as ONNX, or name a file outside of them."""
    _walk(memoryview(model), "model", 0)


def _walk(content: memoryview, kind: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ArtifactError("the graph is nested too deeply", expected=f"at most {_DEEPEST} levels")
    message = _SCHEMA[kind]
    for number, value in _fields(content):
        if number in message.refused and value not in (0, b""):
            raise ArtifactError("the graph names a file outside of the artifact", expected="all weights in the graph")
        if number in message.inner:
            if isinstance(value, int):
                raise ArtifactError("the graph is damaged: a number where a message must be")
            _walk(value, message.inner[number], depth + 1)


def _fields(content: memoryview) -> Iterator[tuple[int, "int | memoryview"]]:
    """The fields of a message: numbers as they are, everything else as bytes."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(content, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(content, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ArtifactError(f"the graph is damaged: a field of wire type {wire}")
        if at + size > len(content):
            raise ArtifactError("the graph is damaged: a field that goes beyond its end")
        yield key >> 3, content[at : at + size]
        at += size


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at
    raise ArtifactError("the graph is damaged: a number without an end")
