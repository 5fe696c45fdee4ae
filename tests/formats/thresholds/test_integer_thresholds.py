"""MultiThreshold of integers, and with integer thresholds: counted exactly by every engine."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import anybit
from anybit.passes.layout.to_channels_last import ToChannelsLast
from tests.models import DOMAIN, model, parameters, quant

_X = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32)
_THRESHOLDS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.float32)


def thresholds_of(x: np.ndarray, rows: np.ndarray, *, scale: float, bias: float) -> onnx.ModelProto:
    node = helper.make_node(
        "MultiThreshold", ["x", "t"], ["y"], domain=DOMAIN, out_scale=scale, out_bias=bias, out_dtype="FLOAT32"
    )
    source = model([node], {"t": rows}, inputs={"x": [1, *x.shape[1:]]}, outputs=["y"])
    source.graph.input[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(x.dtype)
    return source


def counted(x: np.ndarray, rows: np.ndarray, *, scale: float, bias: float) -> np.ndarray:
    """Python's integers, one by one."""
    levels = [[sum(a >= t for t in row) for a, row in zip(sample, rows.tolist(), strict=True)] for sample in x.tolist()]
    return (np.array(levels, np.float64) * scale + bias).astype(np.float32)


@pytest.mark.parametrize("kind", _THRESHOLDS)
@pytest.mark.parametrize("dtype", _X)
def test_levels_are_counted_exactly(dtype, kind):
    rng = np.random.default_rng(0)
    limits = np.iinfo(dtype) if dtype is not np.float32 else np.iinfo(np.int16)
    x = rng.integers(limits.min, limits.max, (40, 3), endpoint=True).astype(dtype)
    x[0], x[1] = limits.min, limits.max
    rows = rng.choice(x.ravel(), (3, 5)).astype(np.float64) + rng.integers(-1, 2, (3, 5))
    info = np.iinfo(kind) if kind is not np.float32 else np.iinfo(np.int16)
    rows = np.clip(rows, info.min, info.max).astype(kind)
    source = thresholds_of(x, rows, scale=0.5, bias=-2.0)
    assert not anybit.check(source)
    expected = counted(x, rows, scale=0.5, bias=-2.0)
    for engine in ("reference", "onnxruntime"):
        y = anybit.run(source, x, engine=engine)["y"]
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, expected)
    embedded = anybit.convert(source, "qonnx", embed_functions=True)
    assert not embedded.refusals
    proto = anybit.to_proto(embedded.model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    stock = [session.run(None, {"x": row})[0] for row in x[:, None]]
    np.testing.assert_array_equal(np.concatenate(stock), expected)
    assert [n.op_type for n in anybit.load(proto).graph].count("MultiThreshold") == 1


def test_accumulators_of_integers():
    weights = np.arange(12, dtype=np.int8).reshape(4, 3) - 5
    nodes = [
        helper.make_node("MatMulInteger", ["x", "w"], ["sums"]),
        helper.make_node("MultiThreshold", ["sums", "t"], ["y"], domain=DOMAIN, out_dtype="UINT2"),
    ]
    rows = np.array([[-100, 0, 90]], np.int32)
    source = model(nodes, {"w": weights, "t": rows}, inputs={"x": [1, 4]}, outputs=["y"], input_type=TensorProto.UINT8)
    x = np.random.default_rng(0).integers(0, 50, (30, 4)).astype(np.uint8)
    sums = x.astype(int) @ weights.astype(int)
    expected = (sums[..., None] >= rows[0]).sum(-1)
    for engine in ("reference", "onnxruntime"):
        np.testing.assert_array_equal(anybit.run(source, x, engine=engine)["y"], expected)


def test_thresholds_beyond_float64_are_an_error():
    source = thresholds_of(np.zeros((1, 3), np.int32), np.array([[2**53 + 1]]), scale=1.0, bias=0.0)
    (finding,) = anybit.check(source)
    assert "float64" in finding.problem


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_matrices_have_no_layout_to_change(rank: int):
    shape = (1, 3, 4, 4, 2)[:rank]
    rows = np.array([[-0.5, 0.5], [0.0, 1.0], [0.25, 2.0]], np.float32)
    node = helper.make_node("MultiThreshold", ["xq", "t"], ["y"], domain=DOMAIN, out_dtype="UINT2")
    source = model([quant("x", "xq"), node], {"t": rows} | parameters("xq"), inputs={"x": shape}, outputs=["y"])
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    last = anybit.apply(source, [ToChannelsLast()]).model
    np.testing.assert_array_equal(anybit.run(last, x)["y"], anybit.run(source, x)["y"])
    handover = anybit.prepare_hls4ml(source)
    assert any("MultiThreshold" in f.node for f in (*handover.findings, *handover.rewrites))


def test_a_residual_of_one_scale_and_of_many():
    """One summand has a scale for each channel, the other a single one."""
    rng = np.random.default_rng(3)
    weights = rng.integers(-3, 4, (4, 3, 1, 1)).astype(np.float32)
    known = {"w": weights} | parameters("xq", scale=1.0) | parameters("y", scale=0.5, bits=6.0)
    known |= parameters("wq", scale=np.exp2(np.arange(4.0) - 2).reshape(4, 1, 1, 1).astype(np.float32), bits=4.0)
    known |= parameters("aq", scale=0.25)
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("Conv", ["xq", "wq"], ["sums"]),
        quant("sums", "aq"),
        helper.make_node("Add", ["aq", "sums"], ["r"]),
        quant("r", "y"),
    ]
    for order in (["aq", "sums"], ["sums", "aq"]):
        nodes[4].input[:] = order
        source = model(nodes, known, inputs={"x": [1, 3, 2, 2]}, outputs=["y"])
        made = anybit.convert(source, "finn")
        x = np.round(rng.normal(size=(16, 3, 2, 2)) * 6).astype(np.float32)
        np.testing.assert_array_equal(anybit.run(made.model, x)["y"], anybit.run(source, x)["y"])
        assert all(r.node for r in made.refusals)
        assert anybit.capabilities(source)


def test_the_parameters_of_the_file_keep_their_types():
    rows = np.array([[1, 2]], np.int8)
    loaded = anybit.load(thresholds_of(np.zeros((1, 3), np.int32), rows, scale=1.0, bias=0.0))
    (tensor,) = anybit.to_proto(loaded).graph.initializer
    assert numpy_helper.to_array(tensor).dtype == np.int8
