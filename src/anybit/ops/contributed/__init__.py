"""The quantised operators of domain `com.microsoft`, as ONNX Runtime 1.32 computes them on x86-64."""

DOMAIN = "com.microsoft"
"""Domain of the operators that ONNX Runtime contributes; its version is 1."""
