"""Between which numbers each tensor of a graph lies, from rows that were learnt from: what static int8 is scaled by."""

import tempfile
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from limbeck.errors import DataError
from limbeck.quantization.graphs import portions, quiet

Method: TypeAlias = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)

# ONNX Runtime's own are 128 bins for as many steps, which leave entropy nothing to cut, and 99.999 %, which of the some
# ten thousand numbers that a small network's tensor has in 256 rows cuts none.
_OPTIONS: dict[Method, dict[str, Any]] = {
    "minmax": {},
    "percentile": {"percentile": 99.9, "num_bins": 2048, "symmetric": False},
    "entropy": {"num_bins": 512, "num_quantized_bins": 128},
}


class _Reader:
    """Rows as ONNX Runtime's calibrators ask for them."""

    def __init__(self, name: str, batches: list[npt.NDArray[Any]]) -> None:
        self._left = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        return next(self._left, None)


def ranges(model: Any, rows: npt.NDArray[Any], method: Method) -> Any:
    """The range of each float tensor, as ONNX Runtime's quantiser takes it.

    Args:
        model: As `graphs.prepared` gives it.
        rows: Raw, of the graph's type and shape; never rows that anything is judged by.
        method: `minmax` takes the least and the greatest number; `percentile` leaves out 0.05 % at each end of a
            histogram; `entropy` cuts where the KL of the histogram from its quantised self is
            least. All three are ONNX Runtime's.

    Raises:
        DataError: When there are no rows, or they are none of the graph's.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    check(model, rows)
    kinds = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    given = model.graph.input[0]
    shape = [dim.dim_value or None for dim in given.type.tensor_type.shape.dim]
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "graph.onnx"
        path.write_bytes(model.SerializeToString())
        seen = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(
            path, None, augmented_model_path=seen, calibrate_method=kinds[method], extra_options=_OPTIONS[method]
        )
        for batch in portions(rows, shape):  # one by one: a histogram's calibrator keeps what it was given at once
            calibrator.collect_data(_Reader(given.name, [batch]))
        return calibrator.compute_data()


def check(model: Any, rows: npt.NDArray[Any]) -> None:
    """Refuses rows that are none of the graph's.

    Raises:
        DataError: When there are none, or their shape or type is another.
    """
    import onnx

    said = model.graph.input[0].type.tensor_type
    shape = tuple(dim.dim_value for dim in said.shape.dim)[1:]
    kind = onnx.helper.tensor_dtype_to_np_dtype(said.elem_type)
    if not len(rows) or rows.shape[1:] != shape or rows.dtype != kind:
        raise DataError(
            f"calibration rows of shape {rows.shape} and type {rows.dtype}",
            expected=f"one row or more of shape {shape} and type {kind}",
            remedy="raw rows of the training split, as the data holds them",
        )
    if not np.isfinite(rows).all():
        raise DataError("the calibration rows hold NaN or infinity", expected="finite numbers")
