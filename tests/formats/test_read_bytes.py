"""ONNX Runtime's contributed operators on bytes: to its bytes, for every byte or pair of bytes, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anybit
from anybit.formats.convert import translate
from tests.formats.byte_models import Bytes
from tests.formats.linear_models import assert_equal, onnxruntime_outputs, operators
from tests.strategies import Array, examples, seeds

_VENDOR = "com.microsoft"
_TYPES = (np.uint8, np.int8)


def _assert_read(net: Bytes, x: Array) -> bool:
    """Exact if it is read; refused by the name of its own operator otherwise. Whether it is read."""
    proto = net.proto()
    result = translate(proto, "qonnx")
    vendor = [n.op_type for n in proto.graph.node if n.domain == _VENDOR]
    if result.refusals:
        assert result.refusals[0].node.split()[0] in vendor
        return False
    assert not {*vendor, "QuantizeLinear", "DequantizeLinear"} & set(operators(result.model))
    assert_equal(onnxruntime_outputs(proto, {"x": x}), anybit.Session(result.model, engine="reference").run(x))
    return True


def _net(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> tuple[Bytes, Array, str, str]:
    """A QuantizeLinear, all bytes as its input, and names of its scale and zero point."""
    net = Bytes(rng, shape)
    scale = net.scale()
    zero = net.zero_point(dtype)
    net.add("QuantizeLinear", scale, zero)
    info = np.iinfo(dtype)
    integers = np.resize(np.arange(info.min, info.max + 1), shape)
    x = (integers - int(net.zero)).astype(np.float32) * net.constants[scale]
    return net, x.astype(np.float32), scale, zero


@given(seeds, st.sampled_from(_TYPES), st.sampled_from(["QLinearAdd", "QLinearMul"]))
@examples(30)
def test_all_pairs_of_bytes(seed: int, dtype: type, op_type: str):
    net, x, scale, zero = _net(np.random.default_rng(seed), (256, 1), dtype)
    row, first = net.constant(np.array([1, 256])), net.current
    net.add("Reshape", row)
    factor = 1.0 if op_type == "QLinearAdd" else 60 * float(net.constants[scale])
    y_scale = net.constant(np.asarray(factor * net.rng.uniform(0.01, 0.2), np.float32))
    net.add(op_type, scale, zero, first, scale, zero, y_scale, net.zero_point(dtype), domain=_VENDOR)
    net.nodes[-1].input[:1] = [net.nodes[-2].output[0]]
    net.add("DequantizeLinear", y_scale, net.constant(net.zero))
    _assert_read(net, x)


def test_most_sums_are_read():
    """Of a kernel that adds in another way than float operators do, some pairs of bytes stay."""
    read = 0
    for seed in range(20):
        net, x, scale, zero = _net(np.random.default_rng(seed), (16, 16), np.uint8)
        y_scale = net.scale()
        net.add("QLinearAdd", scale, zero, net.current, scale, zero, y_scale, net.zero_point(np.uint8), domain=_VENDOR)
        net.add("DequantizeLinear", y_scale, net.constant(net.zero))
        read += _assert_read(net, x)
    assert read >= 10


@given(seeds, st.sampled_from(_TYPES), st.sampled_from(["QLinearLeakyRelu", "QLinearSigmoid"]))
@examples(40)
def test_functions_of_all_bytes(seed: int, dtype: type, op_type: str):
    net, x, scale, zero = _net(np.random.default_rng(seed), (16, 16), dtype)
    y_scale = net.scale()
    attributes = {"alpha": 0.2} if op_type == "QLinearLeakyRelu" else {}
    net.add(op_type, scale, zero, y_scale, net.zero_point(dtype), domain=_VENDOR, **attributes)
    net.add("DequantizeLinear", y_scale, net.constant(net.zero))
    assert _assert_read(net, x) or op_type == "QLinearSigmoid"


@given(seeds, st.sampled_from(_TYPES))
@examples(30)
def test_averages(seed: int, dtype: type):
    rng = np.random.default_rng(seed)
    net, _, scale, zero = _net(rng, (4, 3, 7, 5), dtype)
    y_scale = net.constant(np.asarray(net.constants[scale] * rng.uniform(0.1, 1), np.float32))
    net.add("QLinearGlobalAveragePool", scale, zero, y_scale, net.zero_point(dtype), domain=_VENDOR, channels_last=0)
    net.add("DequantizeLinear", y_scale, net.constant(net.zero))
    assert _assert_read(net, net.x)


@given(seeds, st.booleans(), st.booleans())
@examples(30)
def test_gemm(seed: int, transposed: bool, bias: bool):
    rng = np.random.default_rng(seed)
    net, _, scale, zero = _net(rng, (5, 12), np.uint8)
    weights = net.weights(*((7, 12) if transposed else (12, 7)), dtype=np.int8, channels=7)
    added = net.constant(rng.integers(-3000, 3000, 7).astype(np.int32)) if bias else ""
    y_scale = net.constant(np.float32(rng.uniform(0.5, 5)))
    net.add(
        "QGemm", scale, zero, *weights, added, y_scale, net.zero_point(np.uint8), domain=_VENDOR, transB=int(transposed)
    )
    net.add("DequantizeLinear", y_scale, net.constant(net.zero))
    assert _assert_read(net, net.x)


@given(seeds, st.booleans())
@examples(30)
def test_matrix_products_to_float(seed: int, bias: bool):
    rng = np.random.default_rng(seed)
    net, _, scale, zero = _net(rng, (5, 12), np.uint8)
    weights, w_scale, w_zero = net.weights(12, 7, dtype=np.int8, channels=7)
    added = [net.constant(rng.normal(size=7).astype(np.float32))] if bias else []
    net.add("MatMulIntegerToFloat", weights, scale, w_scale, zero, w_zero, *added, domain=_VENDOR)
    assert _assert_read(net, net.x)


def test_a_float_output_of_gemm_is_refused():
    net, _, scale, zero = _net(np.random.default_rng(0), (5, 12), np.uint8)
    net.add("QGemm", scale, zero, *net.weights(12, 7, dtype=np.int8, channels=7), domain=_VENDOR)
    (problem,) = (r.problem for r in translate(net.proto(), "qonnx").refusals if r.node.startswith("QGemm"))
    assert problem == "a form of QGemm"


@pytest.mark.parametrize("op_type", ["QLinearConcat", "QLinearWhere"])
def test_selections(op_type: str):
    net, x, scale, zero = _net(np.random.default_rng(0), (16, 16), np.uint8)
    y_scale, y_zero = net.scale(), net.zero_point(np.uint8)
    parts = [net.current, scale, zero]
    net.add(op_type, domain=_VENDOR, **({"axis": 1} if op_type == "QLinearConcat" else {}))
    condition = net.constant(np.arange(256).reshape(16, 16) % 3 == 0)
    inputs = (
        [y_scale, y_zero, *parts, *parts]
        if op_type == "QLinearConcat"
        else [condition, *parts, *parts, y_scale, y_zero]
    )
    net.nodes[-1].input[:] = inputs
    net.add("DequantizeLinear", y_scale, net.constant(net.zero))
    assert _assert_read(net, x)
