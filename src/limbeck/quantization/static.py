"""Static int8: activations are scaled by ranges seen before, weights by their own; products and sums are integers.

ONNX Runtime's QDQ form: the graph says where a tensor is quantised and restored, and the runtime fuses that with the
operations between.
"""

from collections.abc import Collection
from typing import Any, Literal, TypeAlias

from limbeck.quantization.graphs import PRODUCTS, copied, quiet

Activation: TypeAlias = Literal["u8", "s8"]


def static(
    model: Any,
    ranges: Any,
    *,
    activation: Activation = "u8",
    per_channel: bool = True,
    products_only: bool = False,
    leaving: Collection[str] = (),
    alone: Collection[str] = (),
) -> Any:
    """A graph whose weights are int8 and whose activations are, between the operations, 8-bit too.

    Args:
        model: As `graphs.prepared` gives it; it is not changed.
        ranges: Of its tensors, as `calibration.ranges` gives them.
        activation: `u8` is unsigned with a zero of its own, `s8` signed. Which is faster is the processor's choice.
        per_channel: Whether weights have a scale for each output; else one for all.
        products_only: Whether all but convolutions and matrix products stay in float32.
        leaving: Names of nodes that stay in float32.
        alone: Names of the only nodes that do not; empty: all may.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    quantiser = QDQQuantizer(
        copied(model),
        per_channel,
        False,  # 7-bit weights, for processors whose 8-bit products saturate: those before AVX512-VNNI
        QuantType.QInt8,
        QuantType.QUInt8 if activation == "u8" else QuantType.QInt8,
        ranges,
        list(alone),
        list(leaving),
        list(PRODUCTS if products_only else quantisable()),
        {},
    )
    with quiet():
        quantiser.quantize_model()
        quantiser.model.topological_sort()
    return quantiser.model.model


def quantisable() -> frozenset[str]:
    """The operations ONNX Runtime quantises statically."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return frozenset({*QDQRegistry, *QLinearOpsRegistry})
