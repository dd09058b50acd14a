"""Dynamic int8: weights are int8, and activations are scaled anew in each call by what they hold.

The scale is one for all rows of a call, so that an answer depends on the rows beside it. A graph made here is therefore
for one row at a time.
"""

import tempfile
from pathlib import Path
from typing import Any

from limbeck.quantization.graphs import one_at_a_time, quiet


def dynamic(model: Any, *, per_channel: bool = False, convolutions: bool = True) -> Any:
    """A graph whose matrix products, and convolutions where asked for, are sums of 8-bit products.

    Args:
        model: As `graphs.prepared` gives it; it is not changed.
        per_channel: Whether weights have a scale for each output; else one for all.
        convolutions: Whether convolutions are quantised too, for which ONNX Runtime has no fast kernel.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kinds = ["MatMul", "Gemm", "Attention", "LSTM", "Gather", *(["Conv"] if convolutions else [])]
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = str(Path(folder) / "dynamic.onnx")
        quantize_dynamic(
            one_at_a_time(model), path, op_types_to_quantize=kinds, per_channel=per_channel, weight_type=QuantType.QInt8
        )
        return onnx.load(path)
