"""Integer layers for ONNX Runtime: convolutions of bytes, where each level is certified to be the same."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir


def with_integer_layers(model: ir.Model) -> ir.Model | None:
    """The model with QLinearConv in the place of Conv, None where most of its convolutions have to stay in float.

    A layer becomes one only if its level is the same for every sum that it can meet
    (`anybit.formats.integer.quantized_ops`); it is three to four times faster, and exact where float sums are rounded.
    Nets without convolutions have their matrix products made integer another way, which is faster for them
    (`anybit.engines.onnxruntime.rewrites.integer_matmul`).

    Args:
        model: Hub model without model-local functions, constants folded; it is not changed.
    """
    if not any(n.op_type == "Conv" and n.domain == "" for n in model.graph):
        return None
    from anybit.formats.integer import quantized_ops  # most sessions never need it

    written = model.clone()
    quantized_ops.write(written, most=True)
    kinds = Counter(n.op_type for n in written.graph if n.domain == "")
    return written if kinds["QLinearConv"] > kinds["Conv"] else None
