"""QLinearConv and QLinearMatMul of the reference: equal to ONNX Runtime, ties before odd zero points included."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from tests.strategies import examples

KINDS = {np.uint8: onnx.TensorProto.UINT8, np.int8: onnx.TensorProto.INT8, np.int32: onnx.TensorProto.INT32}


def _run_both(node, x, constants, y_type):
    shape = [None] * x.ndim
    inputs = [helper.make_tensor_value_info("x", KINDS[x.dtype.type], list(x.shape))]
    outputs = [helper.make_tensor_value_info("y", KINDS[y_type], shape)]
    initializers = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph([node], "g", inputs, outputs, initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (expected,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    return anybit.run(proto, x, engine="reference")["y"], expected


def _scales(rng, count):
    return np.exp2(rng.integers(-4, 1, count)).astype(np.float32)  # ties are common on powers of two


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.int8]), st.booleans())
def test_matmul_equals_onnxruntime(seed, y_type, by_column):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 16, (4, 5)).astype(y_type)  # ONNX Runtime wants one type for both
    columns = 3 if by_column else 1
    b_scale = _scales(rng, columns)
    constants = {
        "xs": np.float32(0.5),
        "xz": y_type(rng.integers(0, 16)),
        "w": rng.integers(-8, 8, (5, 3)).astype(np.int8),
        "ws": b_scale if by_column else b_scale[0],
        "wz": np.zeros(3, np.int8) if by_column else np.int8(0),
        "ys": np.float32(0.5),
        "yz": y_type(rng.integers(0, 100)),
    }
    node = helper.make_node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
    ours, expected = _run_both(node, x, constants, y_type)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("axes", [1, 2])
@given(seed=st.integers(0, 2**32 - 1), by_channel=st.booleans(), group=st.sampled_from([1, 2]))
def test_conv_equals_onnxruntime(axes, seed, by_channel, group):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 16, (2, 4, *(5,) * axes)).astype(np.uint8)
    scale = _scales(rng, 6 if by_channel else 1)
    constants = {
        "xs": np.float32(0.25),
        "xz": np.uint8(rng.integers(0, 16)),
        "w": rng.integers(-8, 8, (6, 4 // group, *(3,) * axes)).astype(np.int8),
        "ws": scale if by_channel else scale[0],
        "wz": np.zeros(6, np.int8) if by_channel else np.int8(0),
        "ys": np.float32(0.5),
        "yz": np.uint8(rng.integers(0, 100)),
        "b": rng.integers(-50, 50, 6).astype(np.int32),
    }
    node = helper.make_node(
        "QLinearConv",
        ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"],
        ["y"],
        group=group,
        pads=[1] * (2 * axes),
        kernel_shape=[3] * axes,
    )
    ours, expected = _run_both(node, x, constants, np.uint8)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("op_type", ["ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"])
@pytest.mark.parametrize("zero", [0, 128])
@given(seed=st.integers(0, 2**32 - 1))
@examples(8)
def test_sums_wrap_around_as_in_onnxruntime(op_type, zero, seed):
    """Weights of 7 bits, whose products no kernel saturates in pairs."""
    rng, terms = np.random.default_rng(seed), 400_000
    is_conv, is_integer = "Conv" in op_type, op_type.endswith("Integer")
    x = rng.integers(200, 256, terms).astype(np.uint8).reshape((1, terms, 1, 1) if is_conv else (1, terms))
    w = np.stack([rng.integers(50, 64, terms), rng.integers(-64, -50, terms)]).astype(np.int8)
    constants = {"w": w.reshape(2, terms, 1, 1) if is_conv else w.T.copy(), "xz": np.uint8(zero)}
    if is_integer:
        node = helper.make_node(op_type, ["x", "w", "xz"], ["y"])
        ours, expected = _run_both(node, x, constants, np.int32)
    else:
        constants |= {"xs": np.float32(1), "ws": np.float32(2**-24), "wz": np.int8(0)}
        constants |= {"ys": np.float32(1), "yz": np.uint8(128), "b": rng.integers(0, 2**31, 2).astype(np.int32)}
        node = helper.make_node(op_type, [*"x xs xz w ws wz ys yz".split(), *(["b"] if is_conv else [])], ["y"])
        ours, expected = _run_both(node, x, constants, np.uint8)
    np.testing.assert_array_equal(ours, expected)
