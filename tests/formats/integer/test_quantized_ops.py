"""Quantised operators: exact both ways or refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from onnx import helper

import anybit
from anybit.formats.convert import translate
from anybit.formats.integer import quantized_ops
from anybit.graph.constants import constant
from anybit.graph.walk import label
from tests.formats.integer.integer_models import (
    Net,
    assert_exact_both_ways,
    assert_same_results,
    convnets,
    layer_of,
    mlps,
)
from tests.formats.ort_contrib.byte_models import Bytes, quantized_nets
from tests.formats.qdq.linear_models import assert_equal, loaded, onnxruntime_outputs, operators
from tests.integration.corpus import CORPUS, Case, departures, needs_corpus
from tests.models import model, parameters, quant
from tests.strategies import examples

_INTEGER = {"QLinearConv", "QLinearMatMul"}
_VENDOR = "com.microsoft"


@given(mlps())
@examples(200)
def test_matrix_products_are_exact_or_refused(net: Net):
    after, problems = assert_exact_both_ways(net, quantized_ops.write, _INTEGER)
    assert _INTEGER & set(after) or problems


@given(convnets())
@examples(120)
def test_convolutions_are_exact_or_refused(net: Net):
    after, problems = assert_exact_both_ways(net, quantized_ops.write, _INTEGER)
    assert _INTEGER & set(after) or problems


@given(mlps())
@examples(80)
def test_arbitrary_scales_give_the_levels_of_exact_sums(net: Net):
    """Float engines round the products of such scales; the oracle is integer arithmetic and the layer's own tail."""
    hub = net.proto()
    for init in hub.graph.initializer:
        if init.name.startswith(("t0_scale", "w1")) and init.name.endswith(("_scale", "w1")):
            init.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(init) * np.float32(0.37), init.name))
    target = loaded(hub)
    if quantized_ops.write(target).refusals:
        return
    layer = layer_of(hub)
    x = net.x * np.float32(0.37)
    sums = np.rint(x.astype(np.float64) / layer.x.scale).reshape(-1, layer.weights.shape[0]) @ layer.weights
    expected = (layer.function(sums) - layer.grid.zero_point) * layer.grid.scale
    (y,) = onnxruntime_outputs(anybit.to_proto(target), {"x": x}).values()
    np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=1e-6)


@given(quantized_nets())
@examples(100)
def test_models_of_other_tools_are_read_exactly(net: Bytes):
    proto = net.proto()
    hub = translate(proto, "qonnx")
    assert not hub.refusals
    assert not {"QuantizeLinear", "DequantizeLinear", *_INTEGER} & set(operators(hub.model))
    x = net.x
    expected = onnxruntime_outputs(proto, {"x": x})
    assert_equal(expected, anybit.Session(hub.model, engine="reference").run(x))
    again = translate(hub.model, "quantized-ops")
    assert {"QLinearConv"} <= set(operators(again.model)) or again.refusals
    assert_equal(expected, onnxruntime_outputs(anybit.to_proto(again.model), {"x": x}))


def test_sums_that_float32_does_not_hold_are_refused():
    net = Bytes(np.random.default_rng(0), (1, 600, 3, 3))
    net.quantise(np.uint8)
    zero = net.constant(net.zero)
    weights = net.weights(2, 600, 3, 3, dtype=np.int8, channels=2)
    weights[0] = net.constant(np.full((2, 600, 3, 3), 127, np.int8))
    net.add("QLinearConv", net.scale(), zero, *weights, net.scale(), zero)
    net.dequantise()
    result = translate(net.proto(), "qonnx")
    assert [r.problem for r in result.refusals][:1] == ["float32 does not hold its sums"]
    assert_equal(onnxruntime_outputs(net.proto(), {"x": net.x * 0}), onnxruntime_outputs(
        anybit.to_proto(result.model), {"x": net.x * 0}))  # fmt: skip


def _two_layers(between: list[onnx.NodeProto], last: str, rng: np.random.Generator) -> onnx.ModelProto:
    nodes = [
        quant("x", "a"), quant("w", "wq", narrow=1), helper.make_node("Conv", ["a", "wq"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]), quant("r", "q", signed=0), *between,
        quant("v", "vq"), helper.make_node("Conv", [last, "vq"], ["d"]), quant("d", "y"),
    ]  # fmt: skip
    channels = 8 if last == "joined" else 4
    values = {
        "w": rng.normal(size=(4, 2, 1, 1)).astype(np.float32),
        "v": rng.normal(size=(3, channels, 1, 1)).astype(np.float32),
    }
    for name, scale, bits in (("a", 0.5, 3), ("wq", 0.25, 3), ("q", 0.5, 4), ("vq", 0.5, 2), ("y", 1.0, 6)):
        values |= parameters(name, scale=scale, bits=bits)
    values["axes"] = np.array([0, 4, 1, 6], np.int64)
    return model(nodes, values, inputs={"x": [2, 2, 3, 2]}, outputs=["y"], opset=13)


@pytest.mark.parametrize(
    ("between", "last"),
    [
        ([], "q"),
        ([helper.make_node("MaxPool", ["q"], ["p"], kernel_shape=[2, 2], pads=[1, 1, 0, 0])], "p"),
        ([helper.make_node("Transpose", ["q"], ["t"], perm=[0, 1, 3, 2])], "t"),
        ([helper.make_node("Reshape", ["q", "axes"], ["s"])], "s"),
        ([helper.make_node("Concat", ["q", "q"], ["joined"], axis=1)], "joined"),
    ],
    ids=["nothing", "MaxPool", "Transpose", "Reshape", "Concat"],
)
def test_bytes_flow_from_layer_to_layer(between, last):
    hub = _two_layers(between, last, np.random.default_rng(1))
    target = loaded(hub)
    assert not quantized_ops.write(target).refusals
    after = operators(target)
    assert after.count("QLinearConv") == 2
    assert after.count("QuantizeLinear") == after.count("DequantizeLinear") == 1
    x = np.random.default_rng(2).normal(size=(2, 2, 3, 2)).astype(np.float32)
    assert_same_results(hub, target, x)
    back = translate(target, "qonnx")
    assert not back.refusals
    assert_same_results(hub, back.model, x)


def test_a_product_without_quantiser_behind_is_refused_or_kept_in_float():
    nodes = [quant("x", "a"), quant("w", "wq"), helper.make_node("MatMul", ["a", "wq"], ["y"], name="last")]
    values = {"w": np.eye(3, dtype=np.float32)} | parameters("a") | parameters("wq")
    hub = model(nodes, values, inputs={"x": [2, 3]}, outputs=["y"], opset=13)
    target = loaded(hub)
    (refusal,) = quantized_ops.write(target).refusals
    assert refusal.node == label(target.graph.node("last"))
    assert refusal.problem == "no quantiser follows"
    target = loaded(hub)
    outcome = quantized_ops.write(target, approximate=True)
    assert not outcome.refusals
    (approximation,) = outcome.approximations
    assert approximation.problem == "kept in float"
    assert set(operators(target)) == {"QuantizeLinear", "Clip", "DequantizeLinear", "MatMul"}


def test_a_float_product_is_none_of_the_formats_business():
    hub = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.eye(3, dtype=np.float32)},
                inputs={"x": [2, 3]}, outputs=["y"], opset=9)  # fmt: skip
    target = loaded(hub)
    outcome = quantized_ops.write(target)
    assert not outcome.refusals
    assert target.opset_imports[""] == 9


@pytest.mark.parametrize("shape", [["N", 3], ["N", "T", 3], ["N", 2, 3], ["A", "B", "C", 3]])
def test_free_dimensions_survive(shape):
    rng = np.random.default_rng(3)
    nodes = [quant("x", "a"), quant("w", "wq"), helper.make_node("MatMul", ["a", "wq"], ["m"]),
             helper.make_node("Add", ["m", "b"], ["s"]), quant("s", "y", signed=0)]  # fmt: skip
    values = {"w": rng.normal(size=(3, 5)).astype(np.float32), "b": rng.normal(size=5).astype(np.float32)}
    for name in ("a", "wq", "y"):
        values |= parameters(name)
    hub = model(nodes, values, inputs={"x": shape}, outputs=["y"], opset=13)
    target = loaded(hub)
    assert not quantized_ops.write(target).refusals
    assert _INTEGER & set(operators(target))
    for size in (1, 4):
        x = rng.normal(size=[2 if d == 2 else 3 if d == 3 else size for d in shape]).astype(np.float32)
        assert_same_results(hub, target, x)


def _long(op_type: str, terms: int, weight: float, bias: float = 0.0) -> onnx.ModelProto:
    """Many terms of one sign, whose only steps lie where float32 holds the sums."""
    nodes = [quant("x", "a", signed=0), quant("w", "wq", narrow=1), helper.make_node(op_type, ["a", "wq"], ["p"]),
             helper.make_node("Add", ["p", "b"], ["s"]), quant("s", "y", signed=0)]  # fmt: skip
    shape, of_x = ((1, terms, 1, 1), [1, terms, 1, 1]) if op_type == "Conv" else ((terms, 1), [1, terms])
    values = {"w": np.full(shape, weight, np.float32), "b": np.full((1,) * (len(shape) // 2), bias, np.float32)}
    values |= parameters("a", bits=8.0, scale=1.0) | parameters("wq", bits=8.0, scale=1.0)
    values |= parameters("y", scale=2.0**20, bits=3.0)
    return model(nodes, values, inputs={"x": of_x}, outputs=["y"], opset=13)


@pytest.mark.parametrize("op_type", ["Conv", "MatMul"])
@pytest.mark.parametrize("to", ["integer-ops", "quantized-ops"])
@pytest.mark.parametrize(("terms", "fits"), [(66_000, True), (66_311, True), (66_312, False), (100_000, False)])
def test_sums_beyond_32_bits_are_refused(op_type, to, terms, fits):
    """255 * 127 * 66,311 is the last multiple of 255 * 127 that int32 holds."""
    hub = _long(op_type, terms, 127.0)
    result = translate(hub, to)
    assert [r.problem for r in result.refusals] == ([] if fits else ["its sums do not fit into 32 bits"])
    for x in (0.0, 1.0, 255.0):
        feed = np.full([d.dim_value for d in hub.graph.input[0].type.tensor_type.shape.dim], x, np.float32)
        expected = anybit.Session(hub, engine="reference").run(feed)
        assert_equal(expected, anybit.Session(result.model, engine="reference").run(feed))
        assert_equal(expected, anybit.Session(hub).run(feed))
        if fits:
            assert_equal(expected, onnxruntime_outputs(anybit.to_proto(result.model), {"x": feed}))


@pytest.mark.parametrize(("weight", "bias"), [(127.0, 0.0), (127.0, -(2.0**22)), (127.0, 2.0**22), (-127.0, 2.0**22)])
def test_the_bias_counts_in_sums_of_32_bits(bias, weight):
    hub = _long("MatMul", 66_250, weight, bias)
    result = translate(hub, "quantized-ops")
    assert [r.problem for r in result.refusals] == (["its sums do not fit into 32 bits"] if bias else [])


def test_factors_of_weights_leave_their_sums_in_32_bits():
    """Weights of 1 could be multiplied by 63, their sums by no more than 28."""
    hub = _long("MatMul", 300_000, 1.0, 1e5 + 1 / 3)
    result = translate(hub, "quantized-ops")
    for operator in result.model.graph:
        if operator.op_type == "QLinearMatMul":
            assert 300_000 * 255 * int(np.abs(constant(operator.inputs[3]).astype(int)).max()) < 2**31
    x = np.full((1, 300_000), 255, np.float32)
    expected = anybit.Session(hub, engine="reference").run(x)
    assert_equal(expected, onnxruntime_outputs(anybit.to_proto(result.model), {"x": x}))


def test_weights_leave_pairs_of_products_in_16_bits():
    nodes = [quant("x", "a", signed=0), quant("w", "wq", narrow=1), helper.make_node("Conv", ["a", "wq"], ["c"]),
             quant("c", "y")]  # fmt: skip
    rng = np.random.default_rng(4)
    values = {"w": rng.normal(size=(16, 4, 1, 1)).astype(np.float32)}
    values |= parameters("a", bits=7.0, scale=0.03) | parameters("wq", bits=2.0) | parameters("y", scale=0.7, bits=3.0)
    target = loaded(model(nodes, values, inputs={"x": [1, 4, 2, 2]}, outputs=["y"], opset=13))
    assert not quantized_ops.write(target).refusals
    (conv,) = (n for n in target.graph if n.op_type == "QLinearConv")
    weights = constant(conv.inputs[3])
    assert weights.dtype == np.int8
    assert 2 * 127 * np.abs(weights.astype(int)).max() <= 32767


_CORPUS = {"cnv_2w2a": (8, 9), "tfc_2w2a": (3, 4), "tfc_1w1a": (3, 4), "mobilenetv1_w05_4w4a_96": (26, 28)}


@needs_corpus
@pytest.mark.parametrize("name", _CORPUS)
def test_real_models_agree_with_their_framework(name):
    case = Case(CORPUS / name / "model.onnx")
    result = translate(case.path, "quantized-ops", approximate=True)
    after = operators(result.model)
    lowered, products = _CORPUS[name]
    assert sum(o in _INTEGER for o in after) == lowered
    assert sum(o in (*_INTEGER, "Conv", "MatMul", "Gemm") for o in after) == products
    assert after.count("QuantizeLinear") <= products - lowered + 1
    session = anybit.Session(result.model, engine="onnxruntime", threads=1)
    outputs = np.concatenate([next(iter(session.run(x[None]).values())) for x in case.inputs[:24]])
    assert departures(outputs, case.outputs[:24].reshape(outputs.shape), None) == 0


def test_the_written_model_needs_no_opset_beyond_onnxruntime():
    target = loaded(_two_layers([], "q", np.random.default_rng(1)))
    quantized_ops.write(target)
    assert target.opset_imports[""] == 13
    onnxruntime.InferenceSession(anybit.to_proto(target).SerializeToString(), providers=["CPUExecutionProvider"])


def test_the_kink_of_a_relu_before_a_signed_quantiser_becomes_a_clip():
    """With scales that are powers of two, sums lie on ties, which only the very multiplier and no bias reproduce."""
    nodes = [quant("x", "a"), quant("w", "wq"), helper.make_node("MatMul", ["a", "wq"], ["m"]),
             helper.make_node("Relu", ["m"], ["r"]), quant("r", "y")]  # fmt: skip
    values = {"w": np.random.default_rng(7).normal(size=(8, 5)).astype(np.float32)}
    for name in ("a", "wq", "y"):
        values |= parameters(name)
    hub = model(nodes, values, inputs={"x": [64, 8]}, outputs=["y"], opset=13)
    target = loaded(hub)
    assert not quantized_ops.write(target).refusals
    assert "QLinearMatMul" in operators(target)
    assert_same_results(hub, target, np.random.default_rng(8).normal(size=(64, 8)).astype(np.float32))


@pytest.mark.parametrize("op_type", ["Add", "BatchNormalization", "Mul", "PRelu"])
@pytest.mark.parametrize("to", ["quantized-ops", "integer-ops", "finn"])
def test_parameters_of_another_axis_behind_a_product_of_one_channel(op_type: str, to: str):
    statistics = ["c"] * 4 if op_type == "BatchNormalization" else ["c"]
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["s"]),
        helper.make_node(op_type, ["s", *statistics], ["m"]),
        quant("m", "y"),
    ]
    slope = np.float32([1, 2, 3]).reshape((3,) if op_type == "BatchNormalization" else (3, 1))
    values = {"w": np.float32([[3], [-1], [2], [1]]), "c": slope}
    values |= parameters("xq", scale=1.0) | parameters("wq", scale=1.0) | parameters("y", scale=2.0)
    proto = model(nodes, values, inputs={"x": ["N", 3, 4]}, outputs=["y"])
    written = translate(proto, to)
    assert bool(written.refusals) == (to == "quantized-ops")
    x = {"x": np.random.default_rng(1).normal(size=(50, 3, 4)).astype(np.float32) * 4}
    expected, actual = (anybit.run(m, x, engine="reference")["y"] for m in (proto, written.model))
    np.testing.assert_array_equal(actual, expected)
