"""ONNX Runtime as an engine: models lowered to the standard operators that it has kernels for."""
