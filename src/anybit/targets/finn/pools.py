"""streams: whether FINN makes a MaxPool its StreamingMaxPool, or a window generator and a Pool behind it."""

from __future__ import annotations

import onnx_ir as ir

from anybit.graph.walk import shape_of


def windows_of(node: ir.Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Kernel and strides of a pooling."""
    kernel, strides = node.attributes.get("kernel_shape"), node.attributes.get("strides")
    sizes = () if kernel is None else tuple(kernel.as_ints())
    return sizes, (1,) * len(sizes) if strides is None else tuple(strides.as_ints())


def streams(node: ir.Node) -> bool:
    """Whether windows lie side by side, in rows and columns without a rest and a border."""
    kernel, strides = windows_of(node)
    shape = None if node.inputs[0] is None else shape_of(node.inputs[0])
    pads = node.attributes.get("pads")
    padded = pads is not None and any(pads.as_ints())
    if kernel != strides or padded or shape is None:
        return False
    return all(n is not None and n % k == 0 for n, k in zip(shape[2:], kernel, strict=True))
