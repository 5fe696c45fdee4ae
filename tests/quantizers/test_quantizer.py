"""Quantizer: one meaning, whatever the spelling."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from anybit import Session, check
from anybit.errors import Refusal
from anybit.graph.builder import NodeBuilder
from anybit.grid import Grid
from anybit.ops.quant import reference
from anybit.quantizers.minifloat import Minifloat, float_quant_node
from anybit.quantizers.quantizer import Quantizer, enclosing_grid, grid_between, quant_nodes, read_quant
from anybit.rounding import Rounding
from tests.formats.qdq.linear_models import QuantCase, loaded, quant_cases
from tests.models import model, parameters, quant
from tests.strategies import examples

_GRIDS = [Grid(b, signed=s, narrow=n) for b in range(1, 13) for s in (True, False) for n in (True, False)]


@pytest.mark.parametrize("lo", range(-9, 2))
@pytest.mark.parametrize("hi", range(18))
def test_a_grid_is_found_exactly_where_there_is_one(lo, hi):
    if lo > hi:
        return
    expected = [g for g in _GRIDS if (g.lo, g.hi) == (lo, hi) and not g.bipolar]
    found = grid_between(lo, hi)
    assert (found in expected) == bool(expected)
    assert found is not None or not expected


@given(st.integers(-300, 300), st.integers(0, 600))
@example(-1, 0)
@example(-1, 2)
@example(-2, 3)
@example(0, 0)
@examples(200)
def test_the_enclosing_grid_is_the_smallest(lo, length):
    hi = lo + length
    grid = enclosing_grid(np.asarray(float(lo)), np.asarray(float(hi)))
    assert grid.lo <= lo
    assert grid.hi >= hi
    assert not grid.bipolar
    smaller = [g for g in _GRIDS if g.bits < grid.bits and not g.bipolar and g.lo <= lo and hi <= g.hi]
    assert not smaller


def _read(case: QuantCase) -> Quantizer:
    source = loaded(case.hub())
    found = read_quant(source.graph.node(0), source)
    assert isinstance(found, Quantizer)
    return found


@given(quant_cases())
@examples(150)
def test_a_quantiser_computes_what_its_node_does(case: QuantCase):
    quantizer = _read(case)
    flags = {"signed": case.signed, "narrow": case.narrow, "rounding_mode": case.mode}
    expected = reference(case.x, case.scale, case.zero_point, case.bits, **flags)
    np.testing.assert_array_equal(quantizer(case.x), expected)
    np.testing.assert_array_equal(quantizer.dequantized(quantizer.integers(case.x)), expected)


@given(quant_cases())
@examples(150)
def test_centring_keeps_what_quantize_linear_means(case: QuantCase):
    quantizer = _read(case)
    centred = quantizer.centred()
    assert not centred.zero_point.any()
    np.testing.assert_array_equal(centred.linear(case.x), quantizer.linear(case.x))
    if not quantizer.is_bipolar:
        half_even = Quantizer(centred.scale, centred.zero_point, centred.lo, centred.hi).between(centred.lo, centred.hi)
        np.testing.assert_array_equal(half_even(case.x), quantizer.linear(case.x))


def test_the_two_families_part_at_ties_of_odd_zero_points():
    quantizer = Quantizer(np.float32(1), np.asarray(1.0), np.asarray(0.0), np.asarray(15.0)).between(0, 15)
    x = np.array([0.5], np.float32)
    assert quantizer(x) == 1
    assert quantizer.linear(x) == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bits": np.array([2.0, 4.0], np.float32)}, "bit widths differ"),
        ({"bits": 2.5}, "bitwidth"),
        ({"scale": -1.0}, "scale"),
        ({"scale": np.ones((3, 2, 2), np.float32)}, "shape of scale"),
    ],
)
def test_what_is_no_quantiser_of_one_grid(change, problem):
    source = loaded(model([quant("x", "y")], parameters("y", **change), inputs={"x": [2, 2]}, outputs=["y"]))
    refusal = read_quant(source.graph.node(0), source)
    assert isinstance(refusal, Refusal)
    assert refusal.node == "Quant 'y_node'"
    assert problem in refusal.problem


def test_a_computed_scale_is_no_constant():
    node = quant("x", "y")
    node.input[1] = "x"
    source = loaded(model([node], parameters("y"), inputs={"x": [2]}, outputs=["y"]))
    refusal = read_quant(source.graph.node(0), source)
    assert isinstance(refusal, Refusal)
    assert "computed" in refusal.problem


def _written(quantizer: Quantizer, shape, opset: int = 21):
    """A model of what `quant_nodes` gives, and the names of its operators."""
    node = helper.make_node("Identity", ["x"], ["y"], name="old")
    source = loaded(model([node], {}, inputs={"x": list(shape)}, outputs=["y"], opset=opset))
    nodes = quant_nodes(NodeBuilder(source), source.graph.inputs[0], quantizer, "new")
    source.graph.insert_before(source.graph.node("old"), nodes)
    source.graph.node("old").replace_input_with(0, nodes[-1].outputs[0])
    assert check(source) == ()
    return source, [n.op_type for n in nodes]


_BY_CHANNEL = np.asarray([[-3.0], [-1.0]])


@pytest.mark.parametrize(
    ("lo", "hi", "opset", "operators"),
    [
        (-4.0, 3.0, 21, ["Quant"]),
        (-3.0, 2.0, 21, ["Quant", "Clip"]),
        (-3.0, 2.0, 11, ["Quant", "Clip"]),
        (-3.0, 2.0, 10, ["Quant", "Max", "Min"]),
        (_BY_CHANNEL, 2.0, 21, ["Quant", "Max", "Min"]),
        (_BY_CHANNEL * 0 - 3, 2.0, 21, ["Quant", "Clip"]),
        (0.0, 2.0, 21, ["Quant"]),  # narrow
    ],
)
@pytest.mark.parametrize("rounding", [Rounding.ROUND, Rounding.FLOOR])
@pytest.mark.parametrize("scale", [0.5, [[0.5], [0.25]], [[0.5], [0.5]]])
@pytest.mark.parametrize("zero_point", [0.0, 1.0])
def test_written_nodes_compute_what_the_quantiser_does(lo, hi, opset, operators, rounding, scale, zero_point):
    made = Quantizer(np.asarray(scale, np.float32), np.asarray(zero_point), np.zeros(()), np.zeros(()), rounding)
    quantizer = made.between(lo, hi)
    source, written = _written(quantizer, (2, 81), opset)
    if np.asarray(scale).size == 1 or len({*np.ravel(scale)}) == 1 or len(operators) != 2:
        assert written == operators
    x = np.broadcast_to(np.arange(-40, 41, dtype=np.float32) / 16, (2, 81))
    expected = quantizer.dequantized(np.clip(rounding(x / made.scale + np.float32(zero_point)), lo, hi))
    np.testing.assert_array_equal(Session(source, engine="reference").run(x)["y"], expected)


@pytest.mark.parametrize(
    ("dtype", "saturate"),
    [
        *itertools.product([ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E5M2], [True, False]),
        (ir.DataType.FLOAT4E2M1, True),
    ],
)
def test_written_minifloats_compute_what_they_do(dtype, saturate):
    value = Minifloat(np.float32(0.5), dtype, saturate)
    node = helper.make_node("Identity", ["x"], ["y"], name="old")
    source = loaded(model([node], {}, inputs={"x": [81]}, outputs=["y"]))
    node = float_quant_node(NodeBuilder(source), source.graph.inputs[0], value, "new")
    source.graph.insert_before(source.graph.node("old"), [node])
    source.graph.node("old").replace_input_with(0, node.outputs[0])
    assert check(source) == ()
    x = np.arange(-40, 41, dtype=np.float32) / 16
    np.testing.assert_array_equal(Session(source, engine="reference").run(x)["y"], value(x))


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_float_types_are_refused(elem_type):
    proto = model([quant("x", "y")], {}, inputs={"x": [2]}, outputs=["y"], input_type=elem_type)
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    arrays = {name: np.asarray(array, dtype) for name, array in parameters("y").items()}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    proto.graph.output[0].type.tensor_type.elem_type = elem_type
    refusal = read_quant(loaded(proto).graph.node(0), loaded(proto))
    assert isinstance(refusal, Refusal)
    assert refusal.got in ("FLOAT16", "DOUBLE")
    assert refusal.expected == "FLOAT"


def test_centred_grids_stay_what_they_are():
    bipolar = Quantizer(np.float32(0.5), np.zeros(()), np.asarray(-1.0), np.asarray(1.0), grid=Grid(1))
    assert bipolar.is_bipolar
    assert bipolar.centred() is bipolar


@pytest.mark.parametrize("signed", [False, True])
def test_zeros_keep_the_sign_that_the_node_gives_them(signed):
    grid = Grid(3, signed=signed)
    quantizer = Quantizer(
        np.float32(0.5), np.zeros(()), np.asarray(float(grid.lo)), np.asarray(float(grid.hi)), grid=grid
    )
    x = np.float32([-0.1, -0.0, 0.0, 0.1])
    expected = reference(x, np.float32(0.5), np.float32(0), 3, signed=int(signed), narrow=0, rounding_mode="ROUND")
    np.testing.assert_array_equal(np.signbit(quantizer(x)), np.signbit(expected))


def test_a_bipolar_quantiser_is_read():
    node = helper.make_node("BipolarQuant", ["x", "s"], ["y"], name="sign", domain=quant("x", "y").domain)
    source = loaded(model([node], {"s": np.float32(0.5)}, inputs={"x": [4]}, outputs=["y"]))
    found = read_quant(source.graph.node(0), source)
    assert isinstance(found, Quantizer)
    assert found.is_bipolar
    assert (found.lo, found.hi, found.zero_point) == (-1, 1, 0)
    x = np.float32([-3, -0.1, 0, 2])
    np.testing.assert_array_equal(found(x), [-0.5, -0.5, 0.5, 0.5])
    np.testing.assert_array_equal(found.integers(x), [-1, -1, 1, 1])


def test_other_operators_are_no_uniform_quantiser():
    source = loaded(model([helper.make_node("Relu", ["x"], ["y"])], {}, inputs={"x": [4]}, outputs=["y"]))
    refusal = read_quant(source.graph.node(0), source)
    assert isinstance(refusal, Refusal)
    assert (refusal.problem, refusal.got) == ("no uniform quantiser", "Relu")


_BIPOLAR = Quantizer(np.float32(0.5), np.zeros(()), np.asarray(-1.0), np.asarray(1.0), grid=Grid(1))


def _between(lo: float, hi: float, zero_point=0.0, rounding: Rounding = Rounding.ROUND) -> Quantizer:
    made = Quantizer(np.float32(0.5), np.asarray(zero_point), np.zeros(()), np.zeros(()), rounding)
    return made.between(lo, hi)


@pytest.mark.parametrize(
    ("quantizer", "whole", "half_even"),
    [
        (_between(-8, 7), True, True),
        (_between(-8, 7, 3.0), True, False),
        (_between(-8, 7, 0.5), False, False),
        (_between(-8, 7, [[0.0], [2.0]]), True, False),
        (_between(-8, 7, [[0.0], [2.5]]), False, False),
        (_between(-8, 7, rounding=Rounding.FLOOR), True, False),
        (_BIPOLAR, True, False),
    ],
)
def test_what_is_rounded_is_known(quantizer: Quantizer, whole: bool, half_even: bool):
    assert quantizer.has_integer_zero_point is whole
    assert quantizer.is_half_even is half_even


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("zero_point", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("lo", [-4.0, 0.0])
def test_negative_zeros_are_those_that_the_node_makes(rounding: Rounding, zero_point: float, lo: float):
    quantizer = _between(lo, lo + 7, zero_point, rounding)
    around = np.arange(-64, 65, dtype=np.float32) / 64
    y = quantizer(np.concatenate([around, np.nextafter(np.float32(0), np.float32([-1, 1]))]))
    assert quantizer.makes_negative_zeros == bool(((y == 0) & np.signbit(y)).any())


def test_a_bipolar_quantiser_makes_no_zeros():
    assert not _BIPOLAR.makes_negative_zeros


@pytest.mark.parametrize(
    ("lo", "zero_point", "made"),
    [
        ([[-4.0], [0.0]], 0.0, True),
        ([[0.0], [-4.0]], 0.0, True),
        (-4.0, [[0.0], [2.0]], True),
        (-4.0, [[1.0], [2.0]], False),
        ([[0.0], [0.0]], [[0.0], [1.0]], False),
    ],
)
def test_one_channel_makes_negative_zeros(lo, zero_point, made: bool):
    quantizer = _between(np.asarray(lo), 3.0, zero_point)
    y = quantizer(np.full((2, 1), -0.1, np.float32))
    assert bool(((y == 0) & np.signbit(y)).any()) is made
    assert quantizer.makes_negative_zeros is made
