"""ONNX files of a few nodes, written by hand for the tests; it is no test by itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")


def made(
    to: Path,
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]],
    *,
    row: tuple[Any, ...] = (64,),
    rows: Any = "rows",
    given: str = "FLOAT",
    outputs: dict[str, list[Any]] | None = None,
    weights: dict[str, np.ndarray] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A file of a few nodes; `x` is its input."""
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node(kind, taken, gives, **words) for kind, taken, gives, words in nodes],
        "graph",
        [helper.make_tensor_value_info("x", getattr(kinds, given), [rows, *row])],
        [
            helper.make_tensor_value_info(name, kinds.FLOAT, shape)
            for name, shape in (outputs or {"y": [rows, *row]}).items()
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, to)
    return to


WEIGHT = np.random.default_rng(0).standard_normal((64, 10)).astype(np.float32)


def linear(to: Path, **changes: Any) -> Path:
    words: dict[str, Any] = {"outputs": {"y": ["rows", 10]}, "weights": {"w": WEIGHT}, **changes}
    return made(to, [("MatMul", ["x", "w"], ["y"], {})], **words)


def softmaxed(to: Path, **changes: Any) -> Path:
    nodes = [("MatMul", ["x", "w"], ["z"], {}), ("Softmax", ["z"], ["y"], {"axis": -1})]
    return made(to, nodes, outputs={"y": ["rows", 10]}, weights={"w": WEIGHT / 200}, **changes)


def zipmapped(to: Path) -> Path:
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("ZipMap", ["y"], ["z"], domain="ai.onnx.ml", classlabels_int64s=list(range(10))),
        ],
        "graph",
        [helper.make_tensor_value_info("x", kinds.FLOAT, ["rows", 64])],
        [
            helper.make_value_info(
                "z",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(kinds.INT64, helper.make_tensor_type_proto(kinds.FLOAT, []))
                ),
            )
        ],
        [onnx.numpy_helper.from_array(WEIGHT, "w")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), to)
    return to
