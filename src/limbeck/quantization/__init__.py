"""From a float32 graph to int8 ones: ONNX bytes and rows in, ONNX bytes out; one file for each family of recipes."""
