"""Tests of the reference kernels and shapes of ONNX Runtime's contributed operators."""
