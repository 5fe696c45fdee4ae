"""ONNX Runtime's contributed quantised operators, read."""
