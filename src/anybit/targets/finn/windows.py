"""Windows that FINN, or qonnx, lowers to another layer than they are, or to none."""

from __future__ import annotations

import onnx_ir as ir

from anybit.graph.walk import shape_of


def is_padded_pixel(conv: ir.Node) -> bool:
    """Whether the kernel of a convolution is one pixel, at every position of an image with padding."""
    ones = [n for name in ("kernel_shape", "strides") for n in conv.attributes.get_ints(name, ())]
    return all(n == 1 for n in ones) and any(conv.attributes.get_ints("pads", ()))


def sees_padding_alone(conv: ir.Node) -> bool:
    """Whether a kernel is larger than an image of one row or one column, which it sees with padding around it."""
    x = conv.inputs[0]
    sizes = () if x is None else (shape_of(x) or ())[2:]
    kernel, pads = (list(conv.attributes.get_ints(name, ())) for name in ("kernel_shape", "pads"))
    around = [a + b for a, b in zip(pads[: len(kernel)], pads[len(kernel) :], strict=True)]
    return any(n == 1 and (k != 1 or p) for n, k, p in zip(sizes, kernel, around, strict=False))
