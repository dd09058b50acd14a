"""From an artifact to C: sources without an allocator for a microcontroller, held to ONNX Runtime."""
