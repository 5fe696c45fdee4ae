"""The models that the generated parts of the pages speak of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import anybit

_QONNX = "qonnx.custom_op.general"


def shipped(name: str) -> Path:
    """The file of a model that ships with the package."""
    return Path(anybit.__file__).parent / "zoo" / "models" / name / "model.onnx"


def everything() -> onnx.ModelProto:
    """A net with one of each: 8 bits, 3 bits, 11 bits, a narrow range, other rounding, a zero point, weights only.

    x -> 8 bits -> MatMul by 3-bit weights -> 11 bits -> MatMul by narrow weights -> 4 bits, rounded down ->
    MatMul by 8-bit weights -> 8 bits with a zero point -> Sin -> MatMul by 4-bit weights alone -> y
    """
    random = np.random.default_rng(0)
    constants = {"zero": 0.0, "shift": 3.0, **{f"bits_{b}": float(b) for b in (3, 4, 8, 11)}}
    constants |= {f"step_{i}": 2.0**-i for i in range(1, 7)}
    constants |= {f"weights_{i}": random.normal(size=(4, 4)) for i in range(1, 5)}
    nodes = [
        _quant("x", "x_q", 6, 8),
        _quant("weights_1", "w_1", 2, 3),
        helper.make_node("MatMul", ["x_q", "w_1"], ["sums_1"], "layer_1"),
        _quant("sums_1", "h_1", 6, 11),
        _quant("weights_2", "w_2", 3, 4, narrow=1),
        helper.make_node("MatMul", ["h_1", "w_2"], ["sums_2"], "layer_2"),
        _quant("sums_2", "h_2", 1, 4, rounding_mode="FLOOR"),
        _quant("weights_3", "w_3", 6, 8),
        helper.make_node("MatMul", ["h_2", "w_3"], ["sums_3"], "layer_3"),
        _quant("sums_3", "h_3", 4, 8, zero="shift"),
        helper.make_node("Sin", ["h_3"], ["waves"], "sin"),
        _quant("weights_4", "w_4", 3, 4),
        helper.make_node("MatMul", ["waves", "w_4"], ["y"], "layer_4"),
    ]
    graph = helper.make_graph(
        nodes,
        "everything",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(_QONNX, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _quant(x: str, y: str, step: int, bits: int, *, zero: str = "zero", narrow: int = 0, rounding_mode: str = "ROUND"):
    attributes = {"signed": 1, "narrow": narrow, "rounding_mode": rounding_mode}
    inputs = [x, f"step_{step}", zero, f"bits_{bits}"]
    return helper.make_node("Quant", inputs, [y], y, domain=_QONNX, **attributes)
