"""What is written is computed by stock ONNX Runtime, at every level, as the file says, or a note names the node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.formats.convert import translate
from anybit.formats.dialect import Conversion, Note, Remedy
from tests.formats.qdq.linear_models import assert_equal, operators
from tests.formats.stock_runtime.stock_models import LEVELS, departs, quantised_graphs, stock_outputs
from tests.graphs import BATCH, RandomGraph
from tests.models import model, parameters, quant
from tests.properties.attempts import inputs_within
from tests.strategies import Array, examples

_RNG = np.random.default_rng


@pytest.mark.parametrize("to", ["qcdq", "qdq", "quantized-ops", "integer-ops"])
@given(quantised_graphs(), st.integers(0, 2**32 - 1))
@examples(40)
def test_random_nets_are_computed_as_written_or_noted(to: str, graph: RandomGraph, seed: int):
    rng = _RNG(seed)
    feeds = {
        info.name: inputs_within(rng, (BATCH, *info.shape[1:]), *graph.ranges[info.name], info.dtype.type)
        for info in anybit.Session(graph.model, engine="reference").inputs
    }
    written = translate(graph.model, to, standard=True)
    proto = anybit.to_proto(written.model)
    try:
        expected = stock_outputs(proto, feeds, level="none")
    except Exception:  # noqa: BLE001  it has no kernel for an operator of the graph, quantisers aside
        return
    for level in LEVELS:
        if departs(expected, proto, feeds, level=level):
            assert written.notes, f"{level}: no note\n{graph}"
    if written.notes and all(n.remedy is Remedy.DISABLE_QUANT_QDQ for n in written.notes):
        assert not departs(expected, proto, feeds, remedy=Remedy.DISABLE_QUANT_QDQ)


def _net(nodes: Sequence[onnx.NodeProto], values: dict[str, Any], shape: Sequence[int], opset: int = 17):
    return model(nodes, values, inputs={"x": list(shape)}, outputs=["y"], opset=opset)


def _written(source: onnx.ModelProto, to: str, x: Array) -> tuple[Conversion, onnx.ModelProto, dict[str, Array]]:
    """A conversion without refusals, which means the same."""
    result = translate(source, to)
    assert not result.refusals
    expected = anybit.Session(source, engine="reference").run(x)
    assert_equal(expected, anybit.Session(result.model, engine="reference").run(x))
    proto = anybit.to_proto(result.model)
    onnx.checker.check_model(proto, full_check=True)
    return result, proto, dict(expected)


def _assert_left_alone(source: onnx.ModelProto, to: str, x: Array) -> Conversion:
    """No note, and equal at every level."""
    result, proto, expected = _written(source, to, x)
    assert result.notes == ()
    for level in LEVELS:
        assert not departs(expected, proto, {"x": x}, level=level), level
    return result


def _assert_noted(source: onnx.ModelProto, to: str, x: Array, *, departing: bool = True) -> Note:
    """One note, and stock ONNX Runtime departs without its remedy, not with it."""
    result, proto, expected = _written(source, to, x)
    (note,) = result.notes
    assert note.hint == note.remedy.value
    if departing:
        assert departs(expected, proto, {"x": x})
    assert not departs(expected, proto, {"x": x}, remedy=note.remedy)
    return note


@pytest.mark.parametrize("columns", [1, 4, 7])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("op_type", "turned"), [("MatMul", False), ("MatMul", True), ("Gemm", False)])
@pytest.mark.parametrize(("to", "bits", "opset"), [("qcdq", 3, 13), ("qcdq", 8, 11), ("qdq", 4, 21), ("qdq", 2, 25)])
def test_weights_of_float_products_stay_out_of_block_formats(to, bits, opset, op_type, turned, per_channel, columns):
    """Dequantised weights of one scale, or one for each column, become MatMulNBits, which quantises x to 8 bits."""
    rng = _RNG(0)
    scale = rng.uniform(0.1, 0.3, columns).astype(np.float32) if per_channel else np.float32(0.2)
    weights = rng.normal(size=(12, columns)).astype(np.float32)
    nodes = [quant("w", "q", signed=1)]
    if turned:
        weights, scale = np.ascontiguousarray(weights.T), np.reshape(scale, (-1, 1)) if per_channel else scale
        nodes.append(helper.make_node("Transpose", ["q"], ["t"], perm=[1, 0]))
    nodes.append(helper.make_node(op_type, ["x", "t" if turned else "q"], ["y"], name="product"))
    source = _net(nodes, parameters("q", bits=float(bits), scale=scale) | {"w": weights}, [5, 12], opset)
    result = _assert_left_alone(source, to, rng.normal(size=(5, 12)).astype(np.float32))
    back = translate(result.model, "qonnx").model
    (scale_back,) = (n.inputs[1].const_value.numpy() for n in back.graph if n.op_type == "Quant")
    assert scale_back.size == (columns if per_channel else 1)


def test_blocks_of_weights_stay_out_of_block_formats():
    rng = _RNG(0)
    scale = np.repeat(rng.uniform(0.1, 0.3, (2, 3)), 16, axis=0).astype(np.float32)
    nodes = [quant("w", "q"), helper.make_node("MatMul", ["x", "q"], ["y"])]
    values = parameters("q", scale=scale) | {"w": rng.normal(size=(32, 3)).astype(np.float32)}
    _assert_left_alone(_net(nodes, values, [4, 32], 21), "qcdq", rng.normal(size=(4, 32)).astype(np.float32))


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("to", ["qcdq", "qdq", "quantized-ops", "integer-ops"])
def test_two_quantisers_in_a_row_stay_two(to, signed):
    nodes = [quant("x", "a", signed=signed), quant("a", "b", signed=signed), quant("b", "y", signed=signed)]
    values = (
        parameters("a", bits=8.0, scale=0.11) | parameters("b", bits=8.0, scale=0.07)
        | parameters("y", bits=8.0, scale=0.13)
    )  # fmt: skip
    x = _RNG(0).normal(size=(200,)).astype(np.float32) * 3
    result = _assert_left_alone(_net(nodes, values, [200]), to, x)
    assert operators(translate(result.model, "qonnx").model) == ["Quant"] * 3


def test_two_quantisers_of_16_bits_in_a_row_are_noted():
    nodes = [quant("x", "a"), quant("a", "y")]
    values = parameters("a", bits=16.0, scale=0.11) | parameters("y", bits=16.0, scale=0.07)
    x = _RNG(0).normal(size=(200,)).astype(np.float32) * 3
    note = _assert_noted(_net(nodes, values, [200], 21), "qcdq", x)
    assert (note.node, note.remedy) == ("QuantizeLinear 'y/quantized/QuantizeLinear'", Remedy.DISABLE_ALL)


@pytest.mark.parametrize("bound", ["Relu", "Clip"])
def test_bounds_before_small_types_stay(bound):
    limits = ["lo", "hi"] if bound == "Clip" else []
    nodes = [helper.make_node(bound, ["x", *limits], ["r"]), quant("r", "y")]
    values = parameters("y", scale=0.25) | ({"lo": np.float32(-0.6), "hi": np.float32(0.9)} if limits else {})
    x = _RNG(0).normal(size=(64,)).astype(np.float32)
    result = _assert_left_alone(_net(nodes, values, [64], 21), "qdq", x)
    assert bound in operators(translate(result.model, "qonnx").model) or bound == "Clip"


def test_relu_before_float8_stays():
    node = helper.make_node("FloatQuant", ["r", "s", "e", "m", "b", "max"], ["y"], domain="qonnx.custom_op.general",
                            has_nan=1, name="float8")  # fmt: skip
    numbers = {"s": 0.07, "e": 4, "m": 3, "b": 7, "max": 448.0}
    source = _net([helper.make_node("Relu", ["x"], ["r"]), node], {k: np.float32(v) for k, v in numbers.items()}, [64])
    x = _RNG(0).normal(size=(64,)).astype(np.float32) * 4
    result = _assert_left_alone(source, "qdq", x)
    assert operators(result.model) == ["Max", "QuantizeLinear", "DequantizeLinear"]
    assert operators(translate(result.model, "qonnx").model) == ["Relu", "FloatQuant"]


def _product(op_type: str, *, bias: Any, out_scale: float = 0.0625, weight_bits: float = 3.0) -> onnx.ModelProto:
    """y = Quant(product of Quant(x) and Quant(w), and a bias); all scales but that of y are powers of two."""
    rng = _RNG(0)
    shape, w_shape = {
        "Conv": ([2, 4, 5, 5], (3, 4, 3, 3)),
        "ConvTranspose": ([2, 4, 5, 5], (4, 3, 3, 3)),
    }.get(op_type, ([16, 8], (8, 3)))
    values = (
        parameters("a", bits=4.0, scale=0.125) | parameters("q", bits=weight_bits, scale=0.5)
        | parameters("y", bits=8.0, scale=out_scale) | {"w": rng.integers(-3, 4, w_shape).astype(np.float32) / 2}
    )  # fmt: skip
    inputs = ["a", "q"]
    if bias is not None:
        values["bias"] = np.asarray(bias, np.float32)
    if bias is not None and op_type != "MatMul":
        inputs.append("bias")
    nodes = [quant("x", "a", signed=0), quant("w", "q"), helper.make_node(op_type, inputs, ["p"], name="product")]
    last = "p"
    if bias is not None and op_type == "MatMul":
        nodes.append(helper.make_node("Add", ["p", "bias"], ["s"], name="sum"))
        last = "s"
    return _net([*nodes, quant(last, "y", signed=0)], values, shape)


_BIAS = [0.011, 1.02, 0.47]


@pytest.mark.parametrize("op_type", ["Gemm", "MatMul"])
def test_biases_of_matrix_products_stay_what_they_are(op_type):
    source = _product(op_type, bias=_BIAS)
    x = _RNG(1).uniform(0, 2, (16, 8)).astype(np.float32)
    _assert_left_alone(source, "qcdq", x)


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
def test_biases_of_convolutions_are_noted_where_they_are_rounded(op_type):
    x = _RNG(1).uniform(0, 2, (2, 4, 5, 5)).astype(np.float32)
    note = _assert_noted(_product(op_type, bias=_BIAS, out_scale=0.015625), "qcdq", x)
    assert note.node == f"{op_type} 'product'"
    assert note.problem == "stock ONNX Runtime rounds its bias (WeightBiasQuantization)"
    _assert_left_alone(_product(op_type, bias=[0.0625, -1.0, 0.5]), "qcdq", x)  # whole multiples of the scales


def test_float_weights_between_quantisers_are_noted():
    source = _product("Conv", bias=None)
    (node,) = (n for n in source.graph.node if n.name == "product")
    node.input[1] = "w"
    for tensor in source.graph.initializer:
        if tensor.name == "w":
            tensor.CopyFrom(onnx.numpy_helper.from_array(_RNG(2).normal(size=(3, 4, 3, 3)).astype(np.float32), "w"))
    x = _RNG(1).uniform(0, 2, (2, 4, 5, 5)).astype(np.float32)
    result = translate(source, "qcdq")
    (note,) = result.notes
    assert note.problem == "stock ONNX Runtime rounds its weights to 8 bits (WeightBiasQuantization)"
    proto, feeds = anybit.to_proto(result.model), {"x": x}
    expected = stock_outputs(proto, feeds, level="none")
    assert departs(expected, proto, feeds, level="basic")
    assert not departs(expected, proto, feeds, remedy=note.remedy)


@pytest.mark.parametrize("op_type", ["Gemm", "MatMul"])
def test_integer_biases_of_another_scale_are_noted(op_type):
    """QGemm takes a bias of 32 bits to have the scale of the product."""
    source = _product(op_type, bias=_BIAS)
    for node in source.graph.node:
        node.input[:] = ["bq" if n == "bias" else n for n in node.input]
    source.graph.node.insert(0, quant("bias", "bq"))
    scale = parameters("bq", bits=12.0, scale=0.0078125)
    source.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in scale.items())
    x = _RNG(1).uniform(0, 2, (16, 8)).astype(np.float32)
    note = _assert_noted(source, "qcdq", x)
    assert "QGemm" in note.problem


@pytest.mark.parametrize("op_type", ["Conv", "Gemm", "MatMul"])
def test_levels_at_ties_are_noted_and_exact_scales_are_not(op_type):
    x = _RNG(1).uniform(0, 2, (2, 4, 5, 5) if op_type == "Conv" else (16, 8)).astype(np.float32)
    _assert_left_alone(_product(op_type, bias=None), "qcdq", x)
    _assert_left_alone(_product(op_type, bias=None, out_scale=0.0731), "qcdq", x)  # 625 n / 731 is no half of a whole
    note = _assert_noted(_product(op_type, bias=None, out_scale=0.025), "qcdq", x, departing=False)
    assert note.got == "levels at ties, by one step"


def test_products_on_ties_depart():
    """x and w are whole multiples of 0.1, and sums of 0.01, half a step of y."""
    nodes = [quant("x", "a", signed=0), quant("w", "q"), helper.make_node("MatMul", ["a", "q"], ["p"], name="product"),
             quant("p", "y", signed=0)]  # fmt: skip
    values = parameters("a", bits=4.0, scale=0.1) | parameters("q", bits=3.0, scale=0.1)
    values |= parameters("y", bits=8.0, scale=0.02) | {"w": _RNG(0).integers(-3, 4, (2, 4)).astype(np.float32) / 10}
    x = _RNG(0).uniform(0, 2, (64, 2)).astype(np.float32)
    result = translate(_net(nodes, values, [64, 2]), "qcdq")
    (note,) = result.notes
    assert "QLinearMatMul" in note.problem
    proto = anybit.to_proto(result.model)
    expected = stock_outputs(proto, {"x": x}, level="none")  # its float sums decide ties in their own way
    assert departs(expected, proto, {"x": x})
    assert not departs(expected, proto, {"x": x}, remedy=note.remedy)


def test_sums_on_ties_are_noted():
    nodes = [quant("x", "a"), quant("r", "b"), helper.make_node("Transpose", ["x"], ["r"], perm=[1, 0]),
             helper.make_node("Add", ["a", "b"], ["s"], name="sum"), quant("s", "y")]  # fmt: skip
    values = parameters("a", bits=8.0, scale=0.3) | parameters("b", bits=8.0, scale=0.3)
    values |= parameters("y", bits=8.0, scale=0.6)
    nodes[1], nodes[2] = nodes[2], nodes[1]
    x = _RNG(0).normal(size=(64, 64)).astype(np.float32) * 9
    assert _assert_noted(_net(nodes, values, [64, 64]), "qcdq", x).got == "levels at ties, by one step"


def test_softmax_between_quantisers_is_noted():
    nodes = [quant("x", "a"), helper.make_node("Softmax", ["a"], ["s"], axis=1, name="softmax"),
             quant("s", "y", signed=0)]  # fmt: skip
    values = parameters("a", bits=8.0, scale=0.05) | parameters("y", bits=8.0, scale=0.004)
    x = _RNG(0).normal(size=(64, 32)).astype(np.float32)
    assert "QLinearSoftmax" in _assert_noted(_net(nodes, values, [64, 32]), "qcdq", x).problem


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Sigmoid", {}),
        ("LeakyRelu", {"alpha": 0.1}),
        ("AveragePool", {"kernel_shape": [2, 2]}),
        ("GlobalAveragePool", {}),
    ],
)
def test_scales_by_channel_that_stock_onnx_runtime_refuses_are_noted(op_type, attributes):
    nodes = [quant("x", "a"), helper.make_node(op_type, ["a"], ["s"], name="op", **attributes), quant("s", "y")]
    scale = np.float32([0.25, 0.5, 0.125, 1]).reshape(4, 1, 1)
    values = parameters("a", scale=scale) | parameters("y", scale=0.0625)
    x = _RNG(0).normal(size=(2, 4, 4, 6)).astype(np.float32)
    note = _assert_noted(_net(nodes, values, [2, 4, 4, 6]), "qcdq", x)
    assert note.got == f"QLinear{op_type} of a scale per channel"


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("signed", [0, 1])
def test_moved_signed_integers_are_noted_from_opset_21(opset, signed):
    nodes = [quant("x", "a", signed=signed), helper.make_node("Transpose", ["a"], ["y"], perm=[1, 0], name="move")]
    x = _RNG(0).normal(size=(3, 4)).astype(np.float32)
    source = _net(nodes, parameters("a"), [3, 4], opset)
    if signed and opset >= 21:
        assert _assert_noted(source, "qcdq", x).node == "Transpose 'move'"
    else:
        _assert_left_alone(source, "qcdq", x)


@pytest.mark.parametrize("to", ["qcdq", "quantized-ops", "integer-ops"])
def test_sums_of_pairs_that_saturate_are_noted(to):
    """Whether they do depends on the processor; with the remedy they do not."""
    nodes = [quant("x", "a", signed=0), quant("w", "q"), helper.make_node("MatMul", ["a", "q"], ["p"], name="product"),
             quant("p", "y", signed=0)]  # fmt: skip
    values = parameters("a", bits=8.0, scale=0.125) | parameters("q", bits=8.0, scale=0.5)
    values |= parameters("y", bits=8.0, scale=256.0)
    for weight, is_noted in ((63.5, True), (32.0, False)):  # 2 * 255 * 64 fits
        values["w"] = np.full((16, 4), weight, np.float32)
        source, x = _net(nodes, values, [3, 16]), np.full((3, 16), 31.0, np.float32)
        if is_noted:
            assert "VNNI" in _assert_noted(source, to, x, departing=False).problem
        else:
            _assert_left_alone(source, to, x)


@pytest.mark.parametrize("op_type", ["Conv", "Gemm", "MatMul"])
@pytest.mark.parametrize("signed", [0, 1])
def test_sums_that_leave_int32_are_noted(op_type, signed):
    nodes = [quant("x", "a", signed=signed), quant("w", "q", signed=signed),
             helper.make_node(op_type, ["a", "q"], ["p"], name="product"), quant("p", "y")]  # fmt: skip
    values = parameters("a", bits=8.0, scale=1.0) | parameters("q", bits=8.0, scale=1.0)
    values |= parameters("y", bits=8.0, scale=2.0**26)
    level = 127 if signed else 255
    for terms, is_noted in ((2**31 // level**2 + 500, True), (1000, False)):
        values["w"] = np.full((1, terms, 1, 1) if op_type == "Conv" else (terms, 1), level, np.float32)
        x = np.full((1, terms, 1, 1) if op_type == "Conv" else (1, terms), level, np.float32)
        source = _net(nodes, values, x.shape)
        if is_noted:
            assert "int32" in _assert_noted(source, "qcdq", x).problem
        else:
            _assert_left_alone(source, "qcdq", x)


def test_embedded_functions_are_noted_where_the_scale_becomes_a_factor_of_the_product():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"], name="product"), quant("p", "y")]
    values = {"w": _RNG(0).integers(-3, 4, (8, 16)).astype(np.float32)}
    x = (_RNG(1).integers(-8, 8, (64, 8)) * 0.25).astype(np.float32)
    notes = {}
    for scale in (0.3, 0.25):
        source = _net(nodes, values | parameters("y", bits=8.0, scale=scale), [64, 8], 21)
        result = translate(source, "qonnx", embed_functions=True)
        expected = dict(anybit.Session(source, engine="reference").run(x))
        proto = anybit.to_proto(result.model)
        notes[scale] = result.notes
        assert departs(expected, proto, {"x": x}) == bool(result.notes)
        assert not departs(expected, proto, {"x": x}, remedy=Remedy.BASIC)
    assert [n.node for n in notes[0.3]] == ["Quant 'y_node'"]
    assert notes[0.25] == ()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spatial", [1, 2])
@pytest.mark.parametrize(("to", "options"), [("qonnx", {"embed_functions": True}), ("qcdq", {"standard": True})])
def test_the_factor_of_the_sums_of_a_convolution_stays_behind_them(to, options, spatial, channels, per_channel):
    """100 * s_x * s_w / s_y is 0.5: half of the sums are on ties, and terms that are scaled alone add up beside."""
    rng = _RNG(0)
    scale = np.full(channels if per_channel else (), 0.0078125, np.float32)
    values = {
        "s_x": np.float32(0.01), "z": np.int8(0), "s_y": np.float32(0.015625), "s_w": scale,
        "z_w": np.zeros(scale.shape, np.int8),
        "w": rng.integers(-128, 128, (channels, 3, *[3] * spatial)).astype(np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s_x", "z"], ["q"]),
        helper.make_node("QLinearConv", ["q", "s_x", "z", "w", "s_w", "z_w", "s_y", "z"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s_y", "z"], ["y"]),
    ]
    source = _net(nodes, values, [16, 3, *[5] * spatial])
    x = rng.choice([-1.0, 0.0, 1.0], (16, 3, *[5] * spatial)).astype(np.float32)
    _assert_equal_at_every_level(source, to, options, x)


@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("to", "options"), [("qonnx", {"embed_functions": True}), ("qcdq", {"standard": True})])
def test_the_factor_of_the_sums_of_a_product_stays_behind_them(to, options, per_channel, columns):
    """The same of long sums, which ONNX Runtime makes of parts; those of one column are noted."""
    rng = _RNG(0)
    scale = np.full(columns if per_channel else (), 0.0078125, np.float32)
    values = {
        "s_x": np.float32(0.01), "z": np.int8(0), "s_y": np.float32(0.25), "s_w": scale,
        "z_w": np.zeros(scale.shape, np.int8), "w": rng.integers(-9, 10, (600, columns)).astype(np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s_x", "z"], ["q"]),
        helper.make_node("QLinearMatMul", ["q", "s_x", "z", "w", "s_w", "z_w", "s_y", "z"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s_y", "z"], ["y"]),
    ]
    source = _net(nodes, values, [64, 600])
    x = rng.choice([-0.64, 0.0, 0.64], (64, 600)).astype(np.float32)
    _assert_equal_at_every_level(source, to, options, x, noted=columns == 1)


def _assert_equal_at_every_level(source, to: str, options: dict[str, bool], x: Array, *, noted: bool = False):
    written = translate(source, to, **options)
    assert bool(written.notes) == noted
    proto = anybit.to_proto(written.model)
    expected = dict(anybit.Session(source, engine="reference").run({"x": x}))
    departing = [level for level in LEVELS if departs(expected, proto, {"x": x}, level=level)]
    assert departing == [] or noted
    for note in written.notes:
        assert not departs(expected, proto, {"x": x}, remedy=note.remedy)
