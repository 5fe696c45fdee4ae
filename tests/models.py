"""Small models that tests build, and the real ones that they read in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

DOMAIN = "qonnx.custom_op.general"
PROJECT = Path(__file__).resolve().parent.parent
DIGITS = PROJECT / "src" / "anybit" / "zoo" / "models" / "digits_mlp_2w2a"


def quant(
    x: str, y: str, *, prefix: str | None = None, domain: str = DOMAIN, op_type: str = "Quant", **attributes: Any
):
    """A Quant node whose parameters are the initializers ``prefix_scale``, ``prefix_zeropt`` and ``prefix_bits``."""
    p = prefix or y
    attributes = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **attributes}
    inputs = [x, f"{p}_scale", f"{p}_zeropt", f"{p}_bits"]
    return helper.make_node(op_type, inputs, [y], name=f"{y}_node", domain=domain, **attributes)


def parameters(prefix: str, *, scale: Any = 0.5, zeropt: Any = 0.0, bits: Any = 4.0) -> dict[str, np.ndarray]:
    """The initializers of `quant`."""
    values = {"scale": scale, "zeropt": zeropt, "bits": bits}
    return {
        f"{prefix}_{k}": np.asarray(v, None if isinstance(v, np.ndarray) else np.float32) for k, v in values.items()
    }


def model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Mapping[str, np.ndarray],
    *,
    inputs: Mapping[str, Sequence[int | str] | None],
    outputs: Sequence[str],
    opset: int = 21,
    imports: Mapping[str, int] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
    input_type: int = TensorProto.FLOAT,
    ir_version: int = 10,
) -> onnx.ModelProto:
    """A model of float inputs; outputs have no shape."""
    opsets = {"": opset, DOMAIN: 1} if imports is None else imports
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(n, input_type, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in initializers.items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()],
        ir_version=ir_version,
        functions=list(functions),
    )


def mlp(*, batch: int | str = 1, opset: int = 21, domain: str = DOMAIN, hidden: int = 8) -> onnx.ModelProto:
    """x -> Quant -> MatMul(Quant(w)) -> Relu -> Quant -> y, 6 features in."""
    rng = np.random.default_rng(0)
    nodes = [
        quant("x", "xq", domain=domain),
        quant("w", "wq", domain=domain, narrow=1),
        helper.make_node("MatMul", ["xq", "wq"], ["h"], name="matmul"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        quant("r", "y", domain=domain, signed=0),
    ]
    weights = {"w": rng.normal(size=(6, hidden)).astype(np.float32)}
    initializers = weights | parameters("xq") | parameters("wq", scale=0.25) | parameters("y", scale=0.125)
    imports = {"": opset, domain: 1}
    return model(nodes, initializers, inputs={"x": [batch, 6]}, outputs=["y"], opset=opset, imports=imports)


def samples(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed float32."""
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)
