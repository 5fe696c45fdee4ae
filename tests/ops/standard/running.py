"""One standard operator by anybit's kernel and by ONNX Runtime, with everything that optimises turned off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from anybit.ops.standard.kernels import compile_node
from tests.ops.running import session

Inputs = Sequence[np.ndarray | None]


def run_kernel(
    op_type: str, inputs: Inputs, attributes: dict[str, Any], *, opset: int = 21, outputs: int = 1
) -> tuple[np.ndarray, ...]:
    values = [None if x is None else ir.Value(name=f"i{k}") for k, x in enumerate(inputs)]
    return compile_node(ir.node(op_type, values, attributes, num_outputs=outputs), opset)(inputs)


def run_ort(
    op_type: str, inputs: Inputs, attributes: dict[str, Any], *, opset: int = 21, outputs: int = 1
) -> list[np.ndarray]:
    feeds = {f"i{k}": np.asarray(x) for k, x in enumerate(inputs) if x is not None}
    names = ["" if x is None else f"i{k}" for k, x in enumerate(inputs)]
    results = [f"o{k}" for k in range(outputs)]
    node = helper.make_node(op_type, names, results, **attributes)
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in feeds.items()
    ]
    graph = helper.make_graph([node], "one", infos, [onnx.ValueInfoProto(name=r) for r in results])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return session(model, optimize=False).run(None, feeds)


def assert_close_to_ort(
    op_type: str, inputs: Inputs, attributes: dict[str, Any] | None = None, *, opset: int = 21, outputs: int = 1
) -> None:
    """Equal types and shapes; values equal within the float32 rounding of numbers as large as the largest result."""
    ours = run_kernel(op_type, inputs, attributes or {}, opset=opset, outputs=outputs)
    theirs = run_ort(op_type, inputs, attributes or {}, opset=opset, outputs=outputs)
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == their.dtype
        assert our.shape == their.shape
        scale = np.abs(their).max(initial=0) if their.dtype.kind == "f" else 0
        np.testing.assert_allclose(our, their, rtol=1e-5, atol=1e-6 * scale)


def assert_accumulates_like_ort(
    op_type: str, inputs: Inputs, attributes: dict[str, Any], *, opset: int = 21, rtol: float = 1e-5
) -> None:
    """Equal within `rtol` of the sum of the magnitudes of what is added up, element by element."""
    (ours,) = run_kernel(op_type, inputs, attributes, opset=opset)
    (theirs,) = run_ort(op_type, inputs, attributes, opset=opset)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    magnitudes = {name: abs(a) if name in ("alpha", "beta") else a for name, a in attributes.items()}
    (sums,) = run_kernel(op_type, [None if x is None else np.abs(x) for x in inputs], magnitudes, opset=opset)
    assert (np.abs(ours.astype(np.float64) - theirs) <= rtol * sums + 1e-30).all()
