"""QDQ: what its writers emit is read exactly, and written back; types as widths; shared and moved integers."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import anybit
from anybit.formats.qdq import qcdq, qdq
from tests.formats.qdq.linear_models import (
    QUARTER,
    assert_refused,
    assert_same,
    linear_model,
    loaded,
    onnxruntime_outputs,
    operators,
    q_dq,
    quant_cases,
)
from tests.models import model, parameters, quant, samples
from tests.strategies import examples, near, positive_scales, seeds

_TYPES = {
    TensorProto.INT8: (13, -128, 127),
    TensorProto.UINT8: (13, 0, 255),
    TensorProto.INT16: (21, -32768, 32767),
    TensorProto.UINT16: (21, 0, 65535),
    TensorProto.INT4: (21, -8, 7),
    TensorProto.UINT4: (21, 0, 15),
    TensorProto.INT2: (25, -2, 1),
    TensorProto.UINT2: (25, 0, 3),
}


def _round_trip(source, x, *, read=qdq, write=qdq, step=1e-3):
    """source -> hub -> format: bit-equal each time."""
    hub = loaded(source)
    assert not read.read(hub).refusals
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(hub))
    assert_same(hub, source, x, step=step)
    target = loaded(hub)
    outcome = write.write(target)
    assert not outcome.refusals
    assert not outcome.approximations
    assert_same(source, target, x, step=step, runtime=False)
    assert_same(hub, target, x, step=step)
    return hub, target


@st.composite
def linear_cases(draw):
    """Q/DQ of every integer type and zero point, per tensor or axis, perhaps with Clip."""
    dtype = draw(st.sampled_from(sorted(_TYPES)))
    opset, lo, hi = _TYPES[dtype]
    axis = draw(st.sampled_from([None, 0, 1, -1]))
    shape = (3, 4)
    length = 1 if axis is None else shape[axis]
    zero = draw(st.integers(lo, hi)) if draw(st.booleans()) else max(lo, 0)
    clip = None
    if hi in (127, 255) and draw(st.booleans()):
        low, high = sorted(draw(st.lists(st.integers(lo, hi), min_size=2, max_size=2)))
        clip = (draw(st.sampled_from([low, None])), draw(st.sampled_from([high, None])))
    rng = np.random.default_rng(draw(seeds))
    scale = positive_scales(rng, () if axis is None else (length,), np.float32)
    nodes, values = q_dq(
        dtype=dtype, zero_point=zero, scale=scale, clip=clip, **({} if axis is None else {"axis": axis})
    )
    spread = scale.reshape([-1 if a == (axis or 0) % 2 else 1 for a in range(2)]) if axis is not None else scale
    ends = rng.choice([lo - 1, lo, lo + 1, hi - 1, hi, hi + 1, *(b for b in clip or () if b is not None)], shape)
    x = near(rng, ends, np.broadcast_to(spread, shape), np.asarray(float(zero)), np.float32)
    x = np.nan_to_num(x, nan=0.5, posinf=np.inf, neginf=-np.inf)
    return linear_model(nodes, values, shape=shape, opset=opset), x, float(scale.min())


@given(linear_cases())
@examples(100)
def test_every_type_zero_point_axis_and_clip_is_read_exactly_and_written_back(case):
    source, x, step = case
    _, target = _round_trip(source, x, write=qcdq, step=step)
    if "Clip" not in operators(loaded(source)):
        again = loaded(target)
        assert not qdq.read(again).refusals
        assert not qdq.write(again).refusals
        assert operators(again) == operators(loaded(source))
        assert_same(source, again, x, step=step, runtime=False)


@given(quant_cases(modes=["ROUND"], zero_points=False, per_axis=True))
@examples(150)
def test_a_width_is_written_only_where_a_type_is_it(case):
    target = loaded(case.hub())
    outcome = qdq.write(target)
    if case.is_bipolar or case.bits not in (2, 4, 8, 16) or case.narrow:
        assert_refused(outcome, target)
        return
    assert not outcome.refusals
    assert target.opset_imports[""] == {2: 25, 4: 21, 16: 21}.get(case.bits, 13)
    assert operators(target) == ["QuantizeLinear", "DequantizeLinear", "Identity"]
    assert_same(case.hub(), target, case.x, step=float(case.scale.min()))


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("signed", [0, 1])
def test_narrow_grids_are_for_constants_only(bits, signed):
    if bits == 1:
        return
    values = parameters("p", bits=float(bits), scale=0.5) | {"w": np.arange(-9, 9, dtype=np.float32)}
    nodes = [quant("w", "q", prefix="p", narrow=1, signed=signed), helper.make_node("Mul", ["x", "q"], ["y"])]
    source = model(nodes, values, inputs={"x": [18]}, outputs=["y"])
    target = loaded(source)
    outcome = qdq.write(target)
    assert bool(outcome.refusals) == (bits not in (2, 4, 8, 16))
    assert_same(source, target, np.ones(18, np.float32), runtime=not outcome.refusals)


def _blocked(dtype, block, axis, shape, opset=21):
    sides = list(shape)
    sides[axis] = -(-sides[axis] // block)
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.1, 1, sides).astype(np.float32)
    zero = helper.make_tensor("z", dtype, sides, rng.integers(0, 7, int(np.prod(sides))).tolist())
    w = helper.make_tensor("w", dtype, shape, rng.integers(0, 8, int(np.prod(shape))).tolist())
    return {"s": scale, "z": zero, "w": w}, {"axis": axis, "block_size": block}


@pytest.mark.parametrize(("block", "axis", "shape"), [(2, 0, (4, 3)), (4, 1, (3, 8)), (3, 1, (2, 9)), (2, 0, (6, 5))])
@pytest.mark.parametrize("dtype", [TensorProto.INT8, TensorProto.INT4, TensorProto.UINT4])
def test_blocked_scales_of_weights(block, axis, shape, dtype):
    values, attributes = _blocked(dtype, block, axis, shape)
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["r"], **attributes),
             helper.make_node("MatMul", ["x", "r"], ["y"])]  # fmt: skip
    source = linear_model(nodes, values, shape=[2, shape[0]], opset=21)
    hub, target = _round_trip(source, samples(2, shape[0]))
    assert operators(hub) == ["Quant", "MatMul"]
    (node,) = (n for n in target.graph if n.op_type == "DequantizeLinear")
    assert node.attributes["block_size"].as_int() == block
    assert node.inputs[1].const_value.shape == values["s"].shape


def test_blocked_activations():
    values, attributes = _blocked(TensorProto.INT8, 2, 1, (2, 6))
    nodes, _ = q_dq(**attributes)
    del values["w"]
    source = linear_model(nodes, values, shape=[2, 6], opset=21)
    hub = loaded(source)
    assert not qdq.read(hub).refusals
    x = samples(2, 6) * 40
    assert_same(hub, source, x, runtime=False)


def test_a_missing_zero_point_is_an_unsigned_0():
    nodes, values = q_dq(zero_point=None)
    source = linear_model(nodes, values, shape=[6])
    hub, _ = _round_trip(source, np.array([-1, 0.125, 0.375, 63.8, 64, 1e5], np.float32))
    assert operators(hub) == ["Quant"]
    assert hub.graph.node(0).attributes["signed"].as_int() == 0


def test_old_models_with_clip_of_real_numbers_get_a_narrower_grid():
    clip = helper.make_node("Clip", ["a"], ["x2"], min=-2.0, max=1.75)
    nodes, values = q_dq()
    nodes[0].input[0] = "x2"
    source = linear_model([helper.make_node("Neg", ["x"], ["a"]), clip, *nodes], values, shape=[7], opset=10)
    x = np.array([-9, -2, -1.875, -1.8, 0.125, 1.999, 5], np.float32)
    hub = loaded(source)
    assert not qdq.read(hub).refusals
    assert operators(hub) == ["Neg", "Quant"]
    assert hub.graph.node(1).inputs[3].const_value.numpy() == 4
    assert_same(hub, source, x)


@pytest.mark.parametrize("bounds", [(-2.1, 1.3), (-100.0, 100.0), (0.0, 1.0)])
def test_a_clip_of_real_numbers_that_ends_at_no_grid_stays(bounds):
    nodes, values = q_dq()
    nodes[0].input[0] = "a"
    values |= {"lo": np.float32(bounds[0]), "hi": np.float32(bounds[1])}
    source = linear_model([helper.make_node("Clip", ["x", "lo", "hi"], ["a"]), *nodes], values, shape=[80])
    hub = loaded(source)
    assert not qdq.read(hub).refusals
    assert operators(hub) == ["Clip", "Quant"]
    assert_same(hub, source, np.linspace(-10, 10, 80, dtype=np.float32))


@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.INT8])
@pytest.mark.parametrize("clip", [False, True])
def test_a_zero_point_for_each_channel(dtype, clip):
    _, lo, hi = _TYPES[dtype]
    zero = np.array([lo, 3, 7, hi])
    nodes, values = q_dq(dtype=dtype, scale=np.array([0.1, 0.25, 0.3, 1], np.float32), axis=0)
    values["z"] = helper.make_tensor("z", dtype, [4], zero.tolist())
    if clip:
        values |= {n: helper.make_tensor(n, dtype, [], [b]) for n, b in (("lo", 5), ("hi", 100))}
        nodes.insert(1, helper.make_node("Clip", ["q", "lo", "hi"], ["c"]))
        nodes[2].input[0] = "c"
    x = samples(4, 30) * np.array([[20], [20], [20], [90]], np.float32)
    hub, target = _round_trip(linear_model(nodes, values, shape=[4, 30]), x, write=qcdq)
    assert operators(hub) == ["Quant", "Max", "Min"]
    assert operators(target) == ["QuantizeLinear", *["Clip"] * clip, "DequantizeLinear"]


def test_bounds_before_clip_had_inputs():
    nodes, values = q_dq(dtype=TensorProto.UINT8, zero_point=131)
    source = linear_model(nodes, values, shape=[40], opset=10)
    hub, target = _round_trip(source, samples(40) * 30)
    assert operators(hub) == ["Quant", "Max", "Min"]
    assert (operators(target), target.opset_imports[""]) == (["QuantizeLinear", "DequantizeLinear"], 10)


def test_integers_that_a_branch_reads():
    ends, values = q_dq()
    branch = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["t"])],
        "then", [], [helper.make_tensor_value_info("t", 1, [4])],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["e"]), helper.make_node("Neg", ["e"], ["n"])],
        "else", [], [helper.make_tensor_value_info("n", 1, [4])],
    )  # fmt: skip
    nodes = [ends[0], helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other)]
    for truth in (True, False):
        source = linear_model(nodes, values | {"c": np.array(truth)}, shape=[4])
        hub = loaded(source)
        assert not qdq.read(hub).refusals
        assert sorted(operators(hub)) == ["Identity", "If", "Neg", "Quant"]
        assert_same(hub, source, samples(4) * 9)


def test_relu_folded_into_an_unsigned_range_and_into_a_signed_one():
    for dtype, zero_point in ((TensorProto.UINT8, 0), (TensorProto.INT8, -128)):
        nodes, values = q_dq(dtype=dtype, zero_point=zero_point)
        hub, _ = _round_trip(linear_model(nodes, values, shape=[5]), np.array([-9, 0.1, 0.125, 63.9, 99], np.float32))
        assert operators(hub) == ["Quant"]
        assert hub.graph.node(0).attributes["signed"].as_int() == 0


def _between(*nodes, scale=QUARTER, shape=(1, 2, 4, 4), **attributes):
    """x -> QuantizeLinear -> nodes, from q to m -> DequantizeLinear -> y."""
    ends, values = q_dq(scale=scale, **{k: v for k, v in attributes.items() if k == "axis"})
    ends[-1].input[0] = "m"
    if "axis" in attributes:
        ends[-1].attribute[0].i = attributes["axis_behind"]
    return linear_model([ends[0], *nodes, ends[-1]], values | attributes.get("values", {}), shape=shape)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("MaxPool", ["q"], ["m"], kernel_shape=[2, 2], pads=[1, 1, 0, 0])],
        [helper.make_node("Transpose", ["q"], ["m"], perm=[0, 2, 3, 1])],
        [helper.make_node("Flatten", ["q"], ["f"]), helper.make_node("Identity", ["f"], ["m"])],
        [helper.make_node("Reshape", ["q", "to"], ["m"])],
        [helper.make_node("Relu", ["q"], ["m"])],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_integers_that_are_moved_are_moved_as_real_numbers(nodes):
    opset = 14 if nodes[0].op_type == "Relu" else 13
    source = _between(*nodes, values={"to": np.array([2, -1])})
    source.opset_import[0].version = opset
    hub = loaded(source)
    assert not qdq.read(hub).refusals
    assert operators(hub)[0] == "Quant"
    assert_same(hub, source, samples(1, 2, 4, 4) * 9, runtime=nodes[0].op_type != "Relu")


def test_a_transposed_axis_follows_the_transposition():
    scale = np.array([0.25, 0.5], np.float32)
    node = helper.make_node("Transpose", ["q"], ["m"], perm=[0, 2, 3, 1])
    source = _between(node, scale=scale, axis=1, axis_behind=3)
    hub, _ = _round_trip(source, samples(1, 2, 4, 4) * 9)
    assert operators(hub) == ["Quant", "Transpose"]


def test_moving_elements_between_channels_is_refused():
    scale = np.array([0.25, 0.5], np.float32)
    node = helper.make_node("Reshape", ["q", "to"], ["m"])
    source = _between(node, scale=scale, axis=1, axis_behind=0, values={"to": np.array([2, -1])})
    hub = loaded(source)
    assert "between channels" in assert_refused(qdq.read(hub), hub).problem
    assert operators(hub) == ["QuantizeLinear", "Reshape", "DequantizeLinear"]


def test_one_quantize_linear_with_several_readers():
    nodes, values = q_dq()
    values |= {"lo": np.int8(-3), "hi": np.int8(4)}
    nodes += [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["b"]),
        helper.make_node("Clip", ["q", "lo", "hi"], ["n"]),
        helper.make_node("DequantizeLinear", ["n", "s", "z"], ["c"]),
        helper.make_node("Reshape", ["q", "to"], ["m"]),
        helper.make_node("DequantizeLinear", ["m", "s", "z"], ["d"]),
        helper.make_node("Concat", ["y", "b", "c", "d"], ["all"], axis=0),
    ]
    source = linear_model(nodes, values | {"to": np.array([-1])}, shape=[8])
    source.graph.output.append(helper.make_tensor_value_info("all", 1, None))
    source.graph.output.append(helper.make_tensor_value_info("b", 1, None))
    hub = loaded(source)
    assert not qdq.read(hub).refusals
    assert operators(hub).count("Quant") == 2
    assert [o.name for o in hub.graph.outputs] == ["y", "all", "b"]
    assert_same(hub, source, samples(8) * 9)


def test_quantize_linear_of_weights_and_of_an_int32_bias():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=1),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wr"], axis=1),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["br"], axis=0),
        helper.make_node("Gemm", ["x", "wr", "br"], ["y"]),
    ]
    values = {
        "w": w,
        "ws": np.array([0.1, 0.2, 0.3], np.float32),
        "wz": np.array([3, 0, -7], np.int8),
        "b": np.array([1000, -70000, 8000001], np.int32),
        "bs": np.array([0.01, 0.02, 1e-6], np.float32),
    }
    source = linear_model(nodes, values, shape=[2, 4])
    hub, _ = _round_trip(source, samples(2, 4))
    assert operators(hub) == ["Quant", "Quant", "Gemm"]
    quantizer = hub.graph.node(0)
    np.testing.assert_array_equal(quantizer.inputs[2].const_value.numpy().ravel(), [3, 0, -7])
    assert hub.graph.node(1).inputs[3].const_value.numpy() == 32


def test_constants_that_no_quantiser_gives_back_stay():
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "bs"], ["br"], name="dequantize"),
        helper.make_node("Add", ["x", "br"], ["y"]),
    ]
    infinite = np.array([1, np.inf], ml_dtypes.float8_e5m2)
    source = linear_model(nodes, {"b": infinite, "bs": np.float32(0.3)}, shape=[2], opset=19)
    hub = loaded(source)
    assert "not recovered" in assert_refused(qdq.read(hub), hub).problem
    assert operators(hub) == ["DequantizeLinear", "Add"]


def test_integer_inputs_and_outputs_of_the_model_stay_as_they_are():
    nodes = [helper.make_node("DequantizeLinear", ["x", "s"], ["a"]), helper.make_node("Relu", ["a"], ["r"]),
             helper.make_node("QuantizeLinear", ["r", "s", "z"], ["y"])]  # fmt: skip
    values = {"s": np.float32(0.5), "z": np.int8(0)}
    source = linear_model(nodes, values, shape=[3], input_type=TensorProto.INT8, output_type=TensorProto.INT8)
    hub = loaded(source)
    assert qdq.read(hub).refusals == ()
    assert operators(hub) == ["DequantizeLinear", "Relu", "QuantizeLinear"]


@pytest.mark.parametrize("what", ["scale", "parameters", "reader", "source", "dtype"])
def test_what_is_not_understood_stays_and_is_refused_by_name(what):
    nodes, values = q_dq()
    match what:
        case "scale":
            nodes.insert(0, helper.make_node("ReduceMax", ["x"], ["s"], keepdims=0))
            del values["s"]
        case "parameters":
            nodes[1].input[1] = "t"
            values["t"] = np.float32(0.5)
        case "reader":
            nodes[1] = helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT, name="cast")
        case "source":
            nodes[0] = helper.make_node("Cast", ["x"], ["q"], to=TensorProto.INT8, name="cast")
        case "dtype":
            nodes = [helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), *nodes,
                     helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT)]  # fmt: skip
            nodes[1].input[0], nodes[2].output[0] = "h", "y16"
            values["s"] = np.float16(0.5)
    source = linear_model(nodes, values, shape=[3], opset=19)
    before = operators(loaded(source))
    hub = loaded(source)
    refusal = assert_refused(qdq.read(hub), hub)
    assert refusal.node in ("DequantizeLinear 'dequantize'", "QuantizeLinear 'quantize'")
    assert operators(hub) == before


_FLOATS = {
    TensorProto.FLOAT8E4M3FN: (4, 3, 7, 448.0, ml_dtypes.float8_e4m3fn),
    TensorProto.FLOAT8E4M3FNUZ: (4, 3, 8, 240.0, ml_dtypes.float8_e4m3fnuz),
    TensorProto.FLOAT8E5M2: (5, 2, 15, 57344.0, ml_dtypes.float8_e5m2),
    TensorProto.FLOAT8E5M2FNUZ: (5, 2, 16, 57344.0, ml_dtypes.float8_e5m2fnuz),
    TensorProto.FLOAT4E2M1: (2, 1, 1, 6.0, ml_dtypes.float4_e2m1fn),
    TensorProto.FLOAT6E2M3: (2, 3, 1, 7.5, ml_dtypes.float6_e2m3fn),
    TensorProto.FLOAT6E3M2: (3, 2, 3, 28.0, ml_dtypes.float6_e3m2fn),
}
_OF_OPSET = {TensorProto.FLOAT4E2M1: 23, TensorProto.FLOAT6E2M3: 28, TensorProto.FLOAT6E3M2: 28}
_BITS = {TensorProto.FLOAT4E2M1: 4, TensorProto.FLOAT6E2M3: 6, TensorProto.FLOAT6E3M2: 6}


def _float_points(dtype, scale):
    numbers = np.arange(1 << _BITS.get(dtype, 8), dtype=np.uint8).view(_FLOATS[dtype][4]).astype(np.float32)
    finite = np.unique(numbers[np.isfinite(numbers)]).astype(np.float64) * scale
    exact = np.concatenate([finite, (finite[1:] + finite[:-1]) / 2, finite * 1e3]).astype(np.float32)
    return np.concatenate([exact, np.nextafter(exact, np.float32(1e9)), np.nextafter(exact, np.float32(-1e9))])


@pytest.mark.parametrize("dtype", _FLOATS)
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_small_float_types_are_read_and_written_exactly(dtype, scale):
    nodes, values = q_dq(dtype=dtype, zero_point=0, scale=np.float32(scale))
    x = _float_points(dtype, scale)
    source = linear_model(nodes, values, shape=[x.size], opset=_OF_OPSET.get(dtype, 19))
    hub = loaded(source)
    assert not qdq.read(hub).refusals
    assert operators(hub) == ["FloatQuant"]
    numbers = [float(v.const_value.numpy()) for v in hub.graph.node(0).inputs[2:]]
    assert tuple(numbers) == _FLOATS[dtype][:4]
    assert_same(hub, source, x, runtime=dtype not in _OF_OPSET)
    assert not qdq.write(hub).refusals
    assert operators(hub) == ["QuantizeLinear", "DequantizeLinear"]
    assert_same(source, hub, x, runtime=False)


@pytest.mark.parametrize("dtype", list(_FLOATS)[:4])
def test_overflow_without_saturation_is_read_and_written_where_engines_agree(dtype):
    nodes, values = q_dq(dtype=dtype, zero_point=0)
    nodes[0].attribute.append(helper.make_attribute("saturate", 0))
    x = _float_points(dtype, 0.25)
    source = linear_model(nodes, values, shape=[x.size], opset=19)
    hub = loaded(source)
    assert not qdq.read(hub).refusals
    agree = dtype != TensorProto.FLOAT8E5M2
    assert_same(hub, source, x, runtime=agree)
    outcome = qdq.write(hub)
    assert bool(outcome.refusals) != agree
    assert_same(source, hub, x, runtime=False)


@pytest.mark.parametrize(
    "change",
    [{"rounding_mode": "FLOOR"}, {"max_val": 240.0}, {"exponent_bias": 6.0}, {"mantissa_bitwidth": 2.0}],
    ids=str,
)
def test_floats_that_no_type_has_are_refused(change):
    numbers = {"exponent_bitwidth": 4.0, "mantissa_bitwidth": 3.0, "exponent_bias": 7.0, "max_val": 448.0}
    mode = change.pop("rounding_mode", "ROUND")
    values = {k: np.float32(v) for k, v in (numbers | change).items()} | {"s": np.float32(1)}
    node = helper.make_node("FloatQuant", ["x", "s", *numbers], ["y"], domain="qonnx.custom_op.general", name="f",
                            rounding_mode=mode, has_nan=1)  # fmt: skip
    target = loaded(model([node], values, inputs={"x": [4]}, outputs=["y"]))
    assert assert_refused(qdq.write(target), target).node == "FloatQuant 'f'"


class _Reader(CalibrationDataReader):
    def __init__(self, x):
        self._feeds = iter([{"x": row[None]} for row in x])

    def get_next(self):
        return next(self._feeds, None)


def _float_net() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], transB=1),
    ]
    values = {"w1": rng.normal(size=(4, 2, 3, 3)), "b1": rng.normal(size=4), "w2": rng.normal(size=(3, 16)),
              "b2": rng.normal(size=3)}  # fmt: skip
    return linear_model(nodes, {k: v.astype(np.float32) for k, v in values.items()}, shape=[1, 2, 4, 4], opset=21)


@pytest.mark.parametrize(
    ("weights", "activations", "per_channel", "symmetric"),
    [
        (QuantType.QInt8, QuantType.QUInt8, False, False),
        (QuantType.QInt8, QuantType.QInt8, True, True),
        (QuantType.QInt8, QuantType.QInt8, True, False),
        (QuantType.QUInt8, QuantType.QUInt8, True, False),
        (QuantType.QInt4, QuantType.QUInt8, False, False),
        (QuantType.QInt8, QuantType.QUInt16, False, False),
        (QuantType.QInt8, QuantType.QInt16, True, True),
    ],
)
def test_models_of_the_quantiser_of_onnx_runtime(tmp_path, weights, activations, per_channel, symmetric):
    x = samples(8, 2, 4, 4) + 0.7
    onnx.save(onnx.shape_inference.infer_shapes(_float_net()), tmp_path / "float.onnx")
    quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "qdq.onnx",
        _Reader(x),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        weight_type=weights,
        activation_type=activations,
        extra_options={"ActivationSymmetric": symmetric},
    )
    source = onnx.load(tmp_path / "qdq.onnx")
    hub = loaded(source)
    assert qdq.read(hub).refusals == ()
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(hub))
    target = loaded(hub)
    assert qdq.write(target).refusals == ()
    for sample in x * 3:
        assert_same(hub, source, sample[None], runtime=False)
        assert_same(target, source, sample[None], runtime=False)
    proto = anybit.to_proto(target)
    theirs, ours = (onnxruntime_outputs(p, {"x": x[:1] * 3})["y"] for p in (source, proto))
    np.testing.assert_array_equal(theirs, ours)
