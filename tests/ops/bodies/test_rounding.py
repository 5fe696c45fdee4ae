"""The rounding of bodies against the rounding of references."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit.ops.bodies.rounding import rounded
from anybit.rounding import Rounding
from tests.ops.running import OPSETS, assert_same, session
from tests.strategies import MODES, special_values


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", MODES)
def test_bodies_round_as_references_do(mode: str, dtype) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    node = helper.make_node("rounded", ["v"], ["y"], domain="anybit", rounding_mode=mode)
    values = [helper.make_tensor_value_info(n, kind, None) for n in "vy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=OPSETS, ir_version=10, functions=[rounded.to_function_proto()]
    )
    v = np.concatenate([special_values(dtype), np.arange(-4, 4, 0.125, dtype)])
    (y,) = session(model, optimize=False).run(None, {"v": v})
    assert_same(y, Rounding[mode](v))
