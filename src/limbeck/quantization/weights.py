"""int8 weights and float32 sums: a quarter of the bytes in the file, unpacked once when the graph is loaded.

The graph restores each weight as Cast(weight) · scale. Both are constant, so that ONNX Runtime computes them while it
loads; a DequantizeLinear, which it keeps for its fused int8 kernels, would be computed in each call (measured: 84 µs in
place of 27). Answers then cost what they cost in float32, in time and in memory.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.quantization.graphs import copied

LEAST = 64
"""Tensors with fewer numbers stay as they are: scale and names would eat what is gained."""

# Along which axis of its weights an operation's outputs lie, by the place of the weights among its inputs.
_OUTPUTS = {"Conv": {1: 0}, "ConvTranspose": {1: 1}, "MatMul": {1: -1}, "GRU": {1: 1, 2: 1}, "LSTM": {1: 1, 2: 1}}


def weights(model: Any, *, per_channel: bool = True) -> Any:
    """A graph whose larger weights are stored in int8.

    Args:
        model: As `graphs.prepared` gives it; it is not changed.
        per_channel: Whether there is a scale for each output of a weight; else one for all.
    """
    from onnx import TensorProto, helper, numpy_helper

    found = copied(model)
    graph = found.graph
    uses = {name: (node, place) for node in graph.node for place, name in enumerate(node.input)}
    kept, restoring = [], []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST or tensor.name not in uses:
            kept.append(tensor)
            continue
        array = numpy_helper.to_array(tensor)
        whole, scale = packed(array, _axis(*uses[tensor.name], array.ndim) if per_channel else None)
        names = [f"{tensor.name}.{what}" for what in ("int8", "scale", "float")]
        kept += [numpy_helper.from_array(whole, names[0]), numpy_helper.from_array(scale, names[1])]
        restoring += [
            helper.make_node("Cast", [names[0]], [names[2]], to=TensorProto.FLOAT),
            helper.make_node("Mul", [names[2], names[1]], [tensor.name]),
        ]
    nodes = [*restoring, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return found


def packed(array: npt.NDArray[np.float32], axis: int | None) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Whole numbers from -127 to 127, and what they are multiplied by to come within half a step of the array.

    Args:
        array: Finite.
        axis: Along which there is a scale for each place; None: one for all.
    """
    others = None if axis is None else tuple(place for place in range(array.ndim) if place != axis % array.ndim)
    largest = np.abs(array).max(axis=others, keepdims=True)
    # No scale is so small that it has fewer bits than others, or none.
    scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
    return np.clip(np.rint(array / scale), -127, 127).astype(np.int8), scale


def _axis(node: Any, place: int, dimensions: int) -> int | None:
    if node.op_type == "Gemm" and place == 1:
        turned = any(part.name == "transB" and part.i for part in node.attribute)
        return 0 if turned else 1
    axis = _OUTPUTS.get(node.op_type, {}).get(place)
    return None if axis is None or dimensions < 2 else axis
