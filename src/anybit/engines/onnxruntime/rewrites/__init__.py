"""Rewrites of a model on its way to ONNX Runtime, one a file."""
