"""QCDQ: exact both ways or refused; and each error of the existing converter."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import anybit
from anybit.formats.qdq import qcdq, qdq
from anybit.grid import Grid
from anybit.ops.calls import call_of, operator_of
from tests.formats.qdq.linear_models import (
    QuantCase,
    assert_refused,
    assert_same,
    linear_model,
    loaded,
    operators,
    q_dq,
    quant_cases,
)
from tests.models import model, parameters, quant
from tests.strategies import examples

_GRID = np.arange(-40, 41, dtype=np.float32)
# On the grid of scale 1/4, ties, beside the ties, far out.
POINTS = np.concatenate(
    [_GRID / 8, np.nextafter(_GRID / 8, np.float32(9)), np.nextafter(_GRID / 8, np.float32(-9)), [1e9, -1e9, 77, -77]]
).astype(np.float32)


def _facts(node, source):
    call = call_of(node, operator_of(node, source.opset_imports))
    bits = call.constants["bitwidth"]
    zero_point = call.constants["zeropt"]
    return int(bits), call.attributes["signed"], call.attributes["narrow"], float(np.max(zero_point))


def _written(source, **options):
    target = loaded(source)
    return target, qcdq.write(target, **options)


@given(quant_cases())
@examples(200)
def test_activations_are_exact_or_refused(case: QuantCase):
    hub = case.hub()
    target, outcome = _written(hub)
    exact = case.mode == "ROUND" and not case.zero_point.any() and not case.is_bipolar
    axes = sum(size > 1 for size in case.scale.shape)
    if not exact:
        assert_refused(outcome, target)
        assert "Quant" in operators(target)
        return
    if outcome.refusals:
        wide = case.bits > 8 and (case.bits < 16 or case.narrow)
        problem = assert_refused(outcome, target).problem
        assert "no element type" in problem if wide else axes > 1 and "several axes" in problem
        return
    assert not outcome.refusals
    assert not outcome.approximations
    assert case.bits <= 8 or (case.bits == 16 and not case.narrow)
    step = float(case.scale.min())
    assert_same(hub, target, case.x, step=step)
    back = loaded(target)
    assert not qcdq.read(back).refusals
    assert set(operators(back)) == {"Quant", "Identity"}
    (node,) = (n for n in back.graph if n.op_type == "Quant")
    assert _facts(node, back) == (case.bits, case.signed, case.narrow, 0.0)
    assert_same(back, target, case.x, step=step)


@given(quant_cases())
@examples(200)
def test_weights_are_exact_in_every_rounding_and_for_every_zero_point(case: QuantCase):
    case = QuantCase(np.nan_to_num(case.x, posinf=3e38, neginf=-3e38), *list(vars(case).values())[1:])
    hub = case.hub(constant=True)
    target, outcome = _written(hub)
    ones = np.ones(case.x.shape, np.float32)
    if outcome.refusals:
        refusal = assert_refused(outcome, target)
        several = sum(max(a, b) > 1 for a, b in _aligned(case.scale.shape, case.zero_point.shape)) > 1
        assert case.is_bipolar or several or not _fits_8_bits(case), refusal
        assert operators(target) == ["Quant", "Mul"]
        return
    assert "Quant" not in operators(target)
    assert "QuantizeLinear" not in operators(target)
    assert_same(hub, target, ones)
    back = loaded(target)
    assert not qcdq.read(back).refusals
    assert_same(back, target, ones)
    again, second = _written(back)
    assert not second.refusals
    assert operators(again) == operators(target)
    assert_same(back, again, ones)


def _fits_8_bits(case):
    grid = Grid(case.bits, signed=bool(case.signed), narrow=bool(case.narrow))
    lowest, highest = min(grid.lo, case.zero_point.min()), max(grid.hi, case.zero_point.max())
    return any(lo <= lowest and highest <= hi for lo, hi in ((-128, 127), (0, 255)))


def _aligned(a, b):
    rank = max(len(a), len(b))
    return zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True)


@given(quant_cases(modes=["FLOOR", "HALF_UP", "UP", "ROUND"], widths=[2, 4, 8]))
@examples(60)
def test_approximations_move_results_by_at_most_one_step(case: QuantCase):
    hub = case.hub()
    target, outcome = _written(hub, approximate=True)
    if outcome.refusals:
        return
    finite = np.clip(case.x, -1e6, 1e6)
    first, second = (anybit.Session(anybit.load(m), engine="reference").run(finite)["y"] for m in (hub, target))
    assert (np.abs(first - second) <= np.broadcast_to(case.scale, first.shape) * 1.0001).all()
    if (first != second).any():
        (approximation,) = outcome.approximations
        assert approximation.node == "Quant 'q_node'"
        assert "one step" in approximation.got


@pytest.mark.parametrize("mode", ["CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"])
def test_rounding_modes_are_not_ignored(mode):
    source = model([quant("x", "y", rounding_mode=mode)], parameters("y"), inputs={"x": [4]}, outputs=["y"])
    target, outcome = _written(source)
    assert assert_refused(outcome, target).got == mode
    assert operators(target) == ["Quant"]


def test_a_rounding_mode_is_carried_where_enumeration_shows_that_it_rounds_nothing():
    nodes = [
        quant("x", "a", prefix="p"),
        helper.make_node("Relu", ["a"], ["r"]),
        quant("r", "y", rounding_mode="FLOOR"),
    ]
    values = parameters("p", scale=0.5) | parameters("y", scale=0.25, bits=6.0)
    source = model(nodes, values, inputs={"x": [POINTS.size]}, outputs=["y"])
    target, outcome = _written(source)
    assert not outcome.refusals
    assert_same(source, target, POINTS)


@pytest.mark.parametrize("mode", ["FLOOR", "CEIL"])
def test_a_rounding_mode_is_refused_where_enumeration_shows_a_difference(mode):
    nodes = [quant("x", "a", prefix="p"), quant("a", "y", rounding_mode=mode)]
    values = parameters("p", scale=0.5) | parameters("y", scale=1.0)
    target, outcome = _written(model(nodes, values, inputs={"x": [4]}, outputs=["y"]))
    assert assert_refused(outcome, target).got == mode


def test_clip_that_ends_at_no_grid_is_not_widened():
    nodes, values = q_dq(clip=(-3, 5))
    source = linear_model(nodes, values, shape=[POINTS.size])
    hub = loaded(source)
    assert not qcdq.read(hub).refusals
    assert operators(hub) == ["Quant", "Clip"]
    assert_same(hub, source, POINTS)
    target, outcome = _written(hub)
    assert not outcome.refusals
    assert operators(target) == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    assert_same(source, target, POINTS)
    bounds = [int(v.const_value.numpy()) for v in target.graph.node(1).inputs[1:]]
    assert bounds == [-3, 5]


def test_the_clip_of_an_8_bit_unsigned_narrow_quantiser_stays():
    source = model([quant("x", "y", signed=0, narrow=1)], parameters("y", scale=0.25, bits=8.0),
                   inputs={"x": [POINTS.size]}, outputs=["y"])  # fmt: skip
    target, outcome = _written(source)
    assert not outcome.refusals
    assert operators(target) == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    assert_same(source, target, POINTS * 10)
    assert float(anybit.Session(target).run(np.full(POINTS.size, 1e4, np.float32))["y"].max()) == 254 * 0.25


@pytest.mark.parametrize(
    ("scale_shape", "axis"), [((4,), 1), ((3, 1), 0), ((1, 4), 1), ((1, 1), None), ((1,), None), ((), None)]
)
def test_a_scale_aligns_with_the_last_axis(scale_shape, axis):
    scale = np.linspace(0.1, 0.7, int(np.prod(scale_shape)), dtype=np.float32).reshape(scale_shape)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    source = model([quant("x", "y")], parameters("y", scale=scale), inputs={"x": [3, 4]}, outputs=["y"])
    target, outcome = _written(source)
    assert not outcome.refusals
    quantize = target.graph.node(0)
    assert quantize.attributes.get_int("axis", -9) == (-9 if axis is None else axis)
    assert_same(source, target, x)


def test_a_scale_per_element_is_refused():
    scale = np.linspace(0.1, 0.7, 12, dtype=np.float32).reshape(3, 4)
    target, outcome = _written(model([quant("x", "y")], parameters("y", scale=scale), inputs={"x": [3, 4]},
                                     outputs=["y"]))  # fmt: skip
    assert "several axes" in assert_refused(outcome, target).problem


@pytest.mark.parametrize("zero_point", [1, 100, 131, 200, 255])
def test_unsigned_zero_points_do_not_wrap(zero_point):
    nodes, values = q_dq(dtype=TensorProto.UINT8, zero_point=zero_point)
    source = linear_model(nodes, values, shape=[POINTS.size])
    hub = loaded(source)
    assert not qcdq.read(hub).refusals
    assert_same(hub, source, POINTS * 7)
    target, outcome = _written(hub)
    assert not outcome.refusals
    assert operators(target) == ["QuantizeLinear", "DequantizeLinear"]
    zero = target.graph.node(0).inputs[2].const_value
    assert (zero.dtype.name, int(zero.numpy())) == ("UINT8", zero_point)
    assert_same(source, target, POINTS * 7)


def test_an_unsigned_zero_point_of_128_is_a_signed_grid():
    nodes, values = q_dq(dtype=TensorProto.UINT8, zero_point=128)
    hub = loaded(linear_model(nodes, values, shape=[4]))
    qcdq.read(hub)
    assert operators(hub) == ["Quant"]
    assert _facts(hub.graph.node(0), hub) == (8, 1, 0, 0.0)


def test_the_opset_is_converted_and_not_rewritten():
    axes = helper.make_node("Squeeze", ["q"], ["y"], axes=[0], name="squeeze")
    scale = np.array([[0.5], [0.25]], np.float32)
    source = model([quant("x", "q"), axes], parameters("q", scale=scale), inputs={"x": [1, 2, 3]}, outputs=["y"],
                   opset=11)  # fmt: skip
    x = np.random.default_rng(0).normal(size=(1, 2, 3)).astype(np.float32)
    target, outcome = _written(source)
    assert not outcome.refusals
    assert target.opset_imports[""] == 13
    squeeze = next(n for n in target.graph if n.op_type == "Squeeze")
    assert len(squeeze.inputs) == 2
    assert not squeeze.attributes
    assert_same(source, target, x)


@pytest.mark.parametrize(("bits", "opset"), [(8, 11), (5, 12), (16, 21)])
def test_the_opset_is_raised_no_further_than_needed(bits, opset):
    source = model([quant("x", "y")], parameters("y", bits=float(bits)), inputs={"x": [3]}, outputs=["y"], opset=11)
    target, outcome = _written(source)
    assert not outcome.refusals
    assert target.opset_imports[""] == opset


@given(st.integers(1, 32), st.booleans(), st.booleans())
@examples(40)
def test_wide_constants_are_held_by_int32(bits, signed, narrow):
    narrow = narrow and bits > 1
    w = np.array([0.0, 1, -1, 2.0**bits, -(2.0**bits), 100, -77.5], np.float32)
    case = QuantCase(w, np.float32(0.5), np.float32(0), bits, int(signed), int(narrow), "ROUND")
    target, outcome = _written(case.hub(constant=True))
    if (signed and bits == 1) or (bits == 32 and not signed):
        assert_refused(outcome, target)
        return
    assert not outcome.refusals
    assert_same(case.hub(constant=True), target, np.ones(w.shape, np.float32))


@pytest.mark.parametrize("form", [qcdq, qdq])
def test_bipolar_weights_are_refused_or_become_two_bits(form):
    node = helper.make_node("BipolarQuant", ["w", "s"], ["q"], domain="qonnx.custom_op.general", name="sign")
    nodes = [node, helper.make_node("MatMul", ["x", "q"], ["y"])]
    values = {"w": np.array([[-1.0, 0.0], [-0.0, 3.0]], np.float32), "s": np.float32(0.25)}
    source = model(nodes, values, inputs={"x": [1, 2]}, outputs=["y"])
    target = loaded(source)
    assert assert_refused(form.write(target), target).node == "BipolarQuant 'sign'"
    outcome = form.write(target, approximate=True)
    assert not outcome.refusals
    assert outcome.approximations[0].got == "values are equal"
    x = np.array([[1.0, 5.0]], np.float32)
    assert_same(source, target, x)
    assert not qcdq.read(target).refusals
    assert_same(source, target, x, runtime=False)


@pytest.mark.parametrize("approximate", [False, True])
def test_what_has_no_form_is_refused_by_name(approximate):
    bipolar = helper.make_node("BipolarQuant", ["x", "s"], ["b"], domain="qonnx.custom_op.general", name="sign")
    half = quant("b", "h", prefix="half")
    wide = quant("h", "y", prefix="wide")
    values = {"s": np.float32(1)} | parameters("half", zeropt=0.5) | parameters("wide", bits=17.0)
    target, outcome = _written(model([bipolar, half, wide], values, inputs={"x": [2]}, outputs=["y"]),
                               approximate=approximate)  # fmt: skip
    assert [r.node for r in outcome.refusals] == ["BipolarQuant 'sign'", "Quant 'h_node'", "Quant 'y_node'"]
    assert operators(target) == ["BipolarQuant", "Quant", "Quant"]


def test_shared_weights_scales_and_quantisers_stay_apart():
    nodes = [quant("w", "a", prefix="p"), quant("w", "b", prefix="p", narrow=1), quant("x", "c", prefix="p"),
             helper.make_node("Add", ["a", "b"], ["ab"]), helper.make_node("Add", ["ab", "c"], ["d"]),
             helper.make_node("Add", ["d", "w"], ["y"])]  # fmt: skip
    values = parameters("p") | {"w": np.array([9.0, -9, 0.25, 0.75], np.float32)}
    source = model(nodes, values, inputs={"x": [4]}, outputs=["y"])
    target, outcome = _written(source)
    assert not outcome.refusals
    assert_same(source, target, np.array([0.1, 0.75, 100, -100], np.float32))


def test_quantisers_in_branches_read_and_write_their_captures():
    branch = helper.make_graph([quant("x", "t", prefix="p")], "then", [],
                               [helper.make_tensor_value_info("t", 1, [4])])  # fmt: skip
    other = helper.make_graph([quant("x", "e", prefix="p", narrow=1)], "else", [],
                              [helper.make_tensor_value_info("e", 1, [4])])  # fmt: skip
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other)
    values = parameters("p") | {"c": np.array(True)}
    source = model([node], values, inputs={"x": [4]}, outputs=["y"])
    target, outcome = _written(source)
    assert not outcome.refusals
    x = np.array([0.3, 100, -100, 0.75], np.float32)
    assert_same(source, target, x)
    back = loaded(target)
    assert not qcdq.read(back).refusals
    assert operators(back) == ["If", "Quant", "Quant"]
    assert_same(back, target, x)


def test_annotations_and_output_names_stay():
    source = model([quant("x", "y")], parameters("y"), inputs={"x": [4]}, outputs=["y"])
    annotation = onnx.TensorAnnotation(tensor_name="y")
    entry = annotation.quant_parameter_tensor_names.add()
    entry.key, entry.value = "finn_datatype", "INT4"
    source.graph.quantization_annotation.append(annotation)
    target, _ = _written(source)
    proto = anybit.to_proto(target)
    assert [o.name for o in proto.graph.output] == ["y"]
    assert [a.tensor_name for a in proto.graph.quantization_annotation] == ["y"]
    hub = loaded(target)
    qcdq.read(hub)
    assert [a.tensor_name for a in anybit.to_proto(hub).graph.quantization_annotation] == ["y"]


def test_names_are_deterministic():
    source = model([quant("x", "y")], parameters("y"), inputs={"x": [4]}, outputs=["y"])
    first, second = (anybit.to_proto(_written(source)[0]).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
