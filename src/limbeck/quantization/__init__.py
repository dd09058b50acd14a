"""From a float32 graph to int8 ones: ONNX bytes and rows in, ONNX bytes out; one file for each family of recipes."""

# Before any file here imports ONNX Runtime's own quantisers: this keeps it from reporting to its maker.
from limbeck_runtime.onnx_runtime import onnxruntime as onnxruntime
