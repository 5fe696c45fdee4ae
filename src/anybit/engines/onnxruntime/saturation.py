"""saturates: what ONNX Runtime's kernels for bytes do on this processor."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import onnxruntime


@cache
def saturates() -> bool:
    """Whether sums of two products of uint8 and int8 saturate at 16 bits, as kernels for x86 without VNNI do."""
    a, b = (ir.Value(name=n, type=ir.TensorType(t)) for n, t in (("a", ir.DataType.UINT8), ("b", ir.DataType.INT8)))
    node = ir.node("MatMulInteger", [a, b])
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.INT32)
    graph = ir.Graph([a, b], node.outputs, nodes=[node], opset_imports={"": 10}, name="probe")
    proto = ir.to_proto(ir.Model(graph, ir_version=8)).SerializeToString()
    session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"a": np.full((8, 64), 255, np.uint8), "b": np.full((64, 32), 127, np.int8)})
    return bool((np.asarray(y) != 64 * 255 * 127).any())
