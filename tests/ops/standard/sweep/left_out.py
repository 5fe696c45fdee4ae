"""Which operators, and which of their versions, the sweep does not compare, and why."""

from __future__ import annotations

_RANDOM = "draws random numbers"
_CONTROL = "has a subgraph: tests/runtime compares it with ONNX Runtime"

OPERATORS: dict[str, str] = {
    "Bernoulli": _RANDOM,
    "If": _CONTROL,
    "ImageDecoder": "ONNX Runtime has no kernel",
    "Loop": _CONTROL,
    "Multinomial": _RANDOM,
    "RandomNormal": _RANDOM,
    "RandomNormalLike": _RANDOM,
    "RandomUniform": _RANDOM,
    "RandomUniformLike": _RANDOM,
    "Scan": _CONTROL,
    "SequenceMap": _CONTROL,
    "SwiGLU": "ONNX Runtime has no kernel: test_exact compares it with its formula",
}
"""Operators that are compared at no version."""

VERSIONS: dict[tuple[str, int], str] = {
    ("OptionalGetElement", 15): "takes optional values only, which ONNX Runtime's Python interface cannot feed",
    ("OptionalHasElement", 15): "takes optional values only, which ONNX Runtime's Python interface cannot feed",
}

NEWEST_KERNEL: dict[str, int] = {
    "DequantizeLinear": 25,
    "GlobalLpPool": 21,
    "MaxRoiPool": 21,
    "Optional": 27,
    "OptionalGetElement": 27,
    "OptionalHasElement": 27,
    "QuantizeLinear": 25,
    "RoiAlign": 21,
    "Scatter": 10,
    "Swish": 24,
    "Upsample": 9,
}
"""The last opset at which ONNX Runtime has a kernel. Later versions differ from it in element types only, and are
compared with it; those of Scatter and Upsample are deprecated."""
