"""errors_of: torch's elementary functions stay within the bounds that they are compared by."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from anybit.frontends.comparison.float_error import errors_of
from anybit.ops.standard.kernels import compile_node
from anybit.ops.traits import STANDARD

torch = pytest.importorskip("torch", reason="no torch installed")

F = torch.nn.functional
FUNCTIONS = {
    "Elu": F.elu,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Gelu": F.gelu,
    "HardSwish": F.hardswish,
    "Mish": F.mish,
    "Selu": F.selu,
    "Sigmoid": torch.sigmoid,
    "Softplus": F.softplus,
    "Softmax": lambda x: torch.softmax(x, -1),
    "Swish": F.silu,
    "Tanh": torch.tanh,
}


@pytest.mark.parametrize(("low", "high"), [(1e-8, 1e-3), (1e-3, 0.5), (0.5, 4.0), (4.0, 20.0), (80.0, 110.0)])
@pytest.mark.parametrize("op_type", FUNCTIONS)
def test_elementary_functions_of_torch_are_within_their_bounds(op_type: str, low: float, high: float):
    rng = np.random.default_rng(0)
    x = (rng.uniform(low, high, (1 << 14, 16)) * rng.choice([-1, 1], (1 << 14, 16))).astype(np.float32)
    if op_type == "Exp":
        x = np.minimum(x, 80)
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", op_type, [value])
    node.outputs[0].dtype = ir.DataType.FLOAT
    kernel, wide = compile_node(node, 24), x.astype(np.float64)
    exact = kernel([wide])
    (bound,) = errors_of(node, STANDARD[op_type], kernel, [wide], [0.0], exact)
    off = np.abs(FUNCTIONS[op_type](torch.from_numpy(x)).numpy().astype(np.float64) - exact[0])
    assert (off <= bound).all()
    size = np.abs(wide)
    assert (bound <= 2e-6 * (size + np.abs(exact[0]) * (1 + size)) + 2.0**-120).all()  # it says something
