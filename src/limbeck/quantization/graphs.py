"""ONNX graphs before and after they are quantised: what quantisers need to find, and nothing that only they need."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""The operations whose sums of products are most of a network's work."""

_STANDARD = ("", "ai.onnx")


def prepared(graph: bytes) -> Any:
    """The `onnx.ModelProto` a quantiser reads: constants folded, shapes known, every node with a name of its own.

    ONNX Runtime's `quant_pre_process` does the same with a symbolic shape inference that these graphs do not need.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    # What the quantisers look for before they ask for the step done here.
    for key, value in (("onnx.infer", "onnxruntime.quant"), ("onnx.quant.pre_process", "onnxruntime.quant")):
        model.metadata_props.add(key=key, value=value)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def copied(model: Any) -> Any:
    """The same graph, to be changed."""
    return type(model).FromString(model.SerializeToString())


def one_at_a_time(model: Any) -> Any:
    """The graph for one row at a time."""
    import onnx

    found = copied(model)
    for end in (found.graph.input[0], found.graph.output[0]):
        end.type.tensor_type.shape.dim[0].dim_value = 1
    del found.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(found, data_prop=True)


def slim(model: Any) -> bytes:
    """The bytes of a graph with short names, but for inputs and outputs, and without what no runtime reads.

    Names are a third of the file of a network of some thousand parameters.

    Raises:
        onnx.checker.ValidationError: When the graph is none.
    """
    import onnx

    found = copied(model)
    graph = found.graph
    kept = {"", *(end.name for end in (*graph.input, *graph.output))}
    short: dict[str, str] = {}

    def called(name: str) -> str:
        return name if name in kept else short.setdefault(name, f"t{len(short)}")

    for tensor in graph.initializer:
        tensor.name = called(tensor.name)
        tensor.ClearField("doc_string")
    for node in graph.node:
        for part in ("name", "doc_string"):
            node.ClearField(part)
        node.input[:] = [called(name) for name in node.input]
        node.output[:] = [called(name) for name in node.output]
        assert not any(part.type in (part.GRAPH, part.GRAPHS) for part in node.attribute), "a graph in a graph"
    del graph.value_info[:], graph.metadata_props[:], found.metadata_props[:], graph.quantization_annotation[:]
    graph.name, found.producer_name = "student", "limbeck"
    found.ClearField("producer_version")
    used = {node.domain for node in graph.node}
    imports = [each for each in found.opset_import if each.domain in used or each.domain in _STANDARD]
    found.ClearField("opset_import")
    found.opset_import.extend(imports)
    onnx.checker.check_model(found, full_check=True)
    return bytes(found.SerializeToString(deterministic=True))


def slimmed(graph: bytes) -> bytes:
    """As `slim`, of bytes; a graph with another one inside, as of a loop or a branch, stays as it is."""
    import onnx

    model = onnx.load_from_string(graph)
    parts = [part for node in model.graph.node for part in node.attribute]
    if any(part.type in (part.GRAPH, part.GRAPHS) for part in parts) or len(model.functions):
        return graph
    return slim(model)


def operations(model: Any) -> frozenset[str]:
    """The kinds of nodes in a graph."""
    return frozenset(node.op_type for node in model.graph.node)


def asked(graph: bytes, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """What a graph says about rows, in batches that it takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    batches = portions(rows, session.get_inputs()[0].shape)
    return np.concatenate([session.run(None, {name: each})[0] for each in batches])[: len(rows)]


def portions(rows: npt.NDArray[Any], shape: list[Any]) -> list[npt.NDArray[Any]]:
    """Rows in batches a graph takes: of its own size, the last row repeated at the end, or of 32 where any will do."""
    size = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else 0
    if not size:
        return [rows[start : start + 32] for start in range(0, len(rows), 32)]
    filled = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
    return [filled[start : start + size] for start in range(0, len(filled), size)]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """ONNX Runtime's quantisers print their steps, and log advice that was followed in another way."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.root.setLevel(level)
