"""How large an ONNX graph is and how much it computes for one row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from limbeck.errors import ModelError

Shape = tuple[int, ...]

# Operators that multiply and are not counted here; a graph with one of them has more work than is said.
_UNCOUNTED = {"Einsum", "Attention", "MultiHeadAttention", "Loop", "Scan", "If", "RNN", "DeformConv"}


@dataclass(frozen=True)
class Work:
    """The size and the work of a graph.

    Args:
        parameters: Numbers it holds as weights; shapes, axes and what int8 is scaled by are none.
        macs: Multiply-accumulates of products, convolutions and recurrences for one row.
        uncounted: Operators in it that multiply and are not counted.
    """

    parameters: int
    macs: int
    uncounted: tuple[str, ...] = ()


def work(content: bytes) -> Work:
    """Counts a graph's weights, and what it multiplies for one row.

    Args:
        content: ONNX bytes, with one input whose first dimension is rows.

    Raises:
        ModelError: When `onnx` is not installed or cannot work out the shapes.
    """
    try:
        import onnx
        from onnx import inliner
    except ModuleNotFoundError as error:
        raise ModelError("onnx is not installed", remedy="pip install 'limbeck[onnx]'") from error
    try:
        model = inliner.inline_local_functions(onnx.load_from_string(content))
    except Exception as error:  # protobuf's and onnx's own errors have no class in common
        raise ModelError(f"the graph cannot be read: {error}") from error
    graph = _shaped(model)
    held = {each.name: tuple(each.dims) for each in graph.initializer}
    shapes: dict[str, Shape] = dict(held)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.HasField("tensor_type"):
            shapes[value.name] = tuple(each.dim_value or 1 for each in value.type.tensor_type.shape.dim)
    kinds = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL}
    scales = {name for node in graph.node for name in _scales(node)}
    weights = [each for each in graph.initializer if each.data_type not in kinds and each.name not in scales]
    total, uncounted = _products(graph, shapes)
    return Work(sum(prod(each.dims) for each in weights), total, tuple(sorted(uncounted)))


def _shaped(model: Any) -> Any:
    """The graph for one row, with the shape of all that flows in it."""
    from onnx import shape_inference

    inside = {each.name for each in model.graph.initializer}
    for given in (each for each in model.graph.input if each.name not in inside):
        given.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    try:
        return shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # onnx's own errors have no class in common
        raise ModelError(f"the shapes in the graph cannot be worked out: {error}") from error


def _products(graph: Any, shapes: Mapping[str, Shape]) -> tuple[int, set[str]]:
    """Multiply-accumulates, and which operators are not among them."""
    total, uncounted = 0, set()
    for node in graph.node:
        if node.op_type in _UNCOUNTED:
            uncounted.add(node.op_type)
        elif (count := _COUNTS.get(node.op_type)) is not None:
            try:
                total += count(node, shapes)
            except KeyError:  # a shape that depends on numbers only known when the graph runs
                uncounted.add(f"{node.op_type} of unknown shape")
    return total, uncounted


def _scales(node: Any) -> list[str]:
    """The inputs of a quantising operator that say how numbers are scaled."""
    places = {
        "QuantizeLinear": (1, 2),
        "DequantizeLinear": (1, 2),
        "QLinearConv": (1, 2, 4, 5, 6, 7),
        "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    }.get(node.op_type, ())
    return [node.input[place] for place in places if place < len(node.input)]


def _convolution(weight: int) -> Callable[[Any, Mapping[str, Shape]], int]:
    """Each number out is a sum over a kernel and the channels of its group: all weights of one channel out."""

    def count(node: Any, shapes: Mapping[str, Shape]) -> int:
        kernel = shapes[node.input[weight]]
        return prod(shapes[node.output[0]]) * prod(kernel[1:])

    return count


def _transposed(node: Any, shapes: Mapping[str, Shape]) -> int:
    """Each number in is spread over a kernel and the channels out of its group."""
    kernel = shapes[node.input[1]]
    return prod(shapes[node.input[0]]) * prod(kernel[1:])


def _product(node: Any, shapes: Mapping[str, Shape]) -> int:
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: Any, shapes: Mapping[str, Shape]) -> int:
    turned = any(each.name == "transA" and each.i for each in node.attribute)
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if turned else -1]


def _recurrence(node: Any, shapes: Mapping[str, Shape]) -> int:
    """The weights of the input and of the state, once at each step."""
    steps, batch, _ = shapes[node.input[0]]
    return steps * batch * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))


_COUNTS: Mapping[str, Callable[[Any, Mapping[str, Shape]], int]] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Gemm": _gemm,
    "LSTM": _recurrence,
    "GRU": _recurrence,
}
