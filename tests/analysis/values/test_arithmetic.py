"""Sums, differences, products and quotients: bounds and grids are those of all pairs of numbers, counted out."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import analyse
from anybit.analysis.values.tensor_values import IntegerGrid
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.models import model, parameters, quant

BOTH = ("reference", "onnxruntime")
FIRST = [(-3.0, 2.0), (1.0, 4.0), (-4.0, -1.0), (0.0, 3.0), (-2.0, 0.0), (0.0, 0.0), (2.5, 2.5)]
SECOND = [(-1.5, 5.0), (0.5, 2.0), (-3.0, -0.25), (0.0, 1.0)]
FUNCTIONS: dict[str, Any] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
}


def all_operators(elem_type: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Each operator on x and z, side by side: a session takes longer to make than all of its runs."""
    nodes = [helper.make_node(op, ["x", "z"], [op], name=op) for op in FUNCTIONS]
    inputs = {"x": (6, 5), "z": (5,)}
    proto = model(nodes, {}, inputs=inputs, outputs=list(FUNCTIONS), opset=21, input_type=elem_type)
    for output in proto.graph.output:
        output.type.tensor_type.elem_type = elem_type
    return proto


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", FIRST)
def test_bounds_are_those_of_the_corners(first: tuple[float, float], second: tuple[float, float]):
    values = check_sound(all_operators(), {"x": first, "z": second}, 6, engines=BOTH)
    for op_type, function in FUNCTIONS.items():
        y = bounds_of(values, op_type)
        if op_type == "Div" and second[0] <= 0 <= second[1]:
            assert (y.lo, y.hi) == (-np.inf, np.inf)
            continue
        corners = [function(a, b) for a, b in product(first, second)]
        np.testing.assert_allclose([y.lo, y.hi], [min(corners), max(corners)], rtol=1e-6)


@pytest.mark.parametrize("elem_type", [TensorProto.INT32, TensorProto.UINT8, TensorProto.INT64])
@pytest.mark.parametrize("first", [(0, 9), (5, 7), (3, 250)])
def test_integers_divide_towards_zero_and_wrap_around(elem_type: int, first: tuple[int, int]):
    values = check_sound(all_operators(elem_type), {"x": first, "z": (2, 4)}, 6, engines=BOTH)
    quotient, total, difference = (bounds_of(values, op_type) for op_type in ("Div", "Add", "Sub"))
    assert (quotient.lo, quotient.hi) == (first[0] // 4, first[1] // 2)
    narrow = elem_type == TensorProto.UINT8
    wraps = narrow and first[1] + 4 > 255
    assert (total.lo, total.hi) == ((0, 255) if wraps else (first[0] + 2, first[1] + 4))
    below = narrow and first[0] - 4 < 0
    assert (difference.lo, difference.hi) == ((0, 255) if below else (first[0] - 4, first[1] - 2))


def test_a_negative_quotient_of_integers_is_rounded_towards_zero():
    values = check_sound(all_operators(TensorProto.INT32), {"x": (-7, 7), "z": (2, 3)}, 6, engines=BOTH)
    quotient = bounds_of(values, "Div")
    assert (quotient.lo, quotient.hi) == (-3, 3)


@pytest.mark.parametrize("second", [(0, 3), (-2, 0), (-1, 1)])
def test_a_quotient_of_integers_by_zero_is_not_followed(second: tuple[int, int]):
    values = analyse(all_operators(TensorProto.INT32), input_ranges={"x": (1, 9), "z": second})
    assert list(values.unfollowed.values()) == ["the divisor can be 0"]


@pytest.mark.parametrize("limits", [(-3.0, 2.0), (1.0, 4.0), (-4.0, -1.0), (0.0, 3.0), (-2.0, 0.0)])
def test_a_tensor_and_itself(limits: tuple[float, float]):
    nodes = [helper.make_node(op, ["x", "x"], [op], name=op) for op in ("Sub", "Mul", "Div")]
    proto = model(nodes, {}, inputs={"x": (6, 5)}, outputs=["Sub", "Mul", "Div"])
    values = check_sound(proto, {"x": limits}, 6, engines=BOTH)
    difference, square, quotient = (bounds_of(values, op) for op in ("Sub", "Mul", "Div"))
    assert (difference.lo, difference.hi) == (0, 0)
    spans = limits[0] <= 0 <= limits[1]
    least = 0.0 if spans else min(a * a for a in limits)
    np.testing.assert_allclose([square.lo, square.hi], [least, max(a * a for a in limits)], rtol=1e-6)
    assert (quotient.lo, quotient.hi) == ((-np.inf, np.inf) if spans else (1, 1))


def test_the_square_of_integers_is_one():
    nodes = [quant("x", "q"), helper.make_node("Mul", ["q", "q"], ["y"])]
    proto = model(nodes, parameters("q", scale=0.5), inputs={"x": (6, 5)}, outputs=["y"])
    y = bounds_of(check_sound(proto, None, 6, engines=BOTH), "y")
    assert y.grid is not None
    assert (y.grid.scale, y.grid.lo, y.grid.hi) == (0.25, 0, 64)
    assert (y.lo, y.hi) == (0, 16)


@pytest.mark.parametrize("op_type", ["Neg", "Abs"])
@pytest.mark.parametrize("limits", [(-3.0, 2.0), (1.0, 4.0), (-4.0, -1.0), (0.0, 0.0)])
def test_signs(op_type: str, limits: tuple[float, float]):
    proto = model([helper.make_node(op_type, ["x"], ["y"])], {}, inputs={"x": (6, 5)}, outputs=["y"])
    y = bounds_of(check_sound(proto, {"x": limits}, 6, engines=BOTH), "y")
    if op_type == "Neg":
        assert (y.lo, y.hi) == (-limits[1], -limits[0])
    else:
        spans = limits[0] <= 0 <= limits[1]
        assert (y.lo, y.hi) == (0 if spans else min(map(abs, limits)), max(map(abs, limits)))


_TOP, _HALF = 2**63 - 1, 2**62
WIDE = {
    "Neg": (("x",), (-(2**63), 0)),
    "Abs": (("x",), (-(2**63), 0)),
    "Add": (("x", "x"), (_HALF, _HALF)),
    "Sub": (("zero", "x"), (-(2**63), 0)),
    "Mul": (("x", "two"), (0, _HALF)),
    "Sum of an axis": (("x",), (_HALF, _HALF)),
    "CumSum": (("x", "axis"), (_HALF, _HALF)),
    "Pow": (("x", "two"), (0, 3037000500)),
}


@pytest.mark.parametrize("name", sorted(WIDE))
def test_integers_of_64_bits_wrap_around_next_to_what_float64_holds(name: str):
    """2^63 is one more than int64 holds, and the float64 next to its largest number."""
    names, limits = WIDE[name]
    op_type = "ReduceSum" if name == "Sum of an axis" else name
    node = helper.make_node(op_type, names, ["y"])
    constants = {"zero": np.int64(0), "two": np.int64(2), "axis": np.int64(0)}
    known = {n: a for n, a in constants.items() if n in names}
    proto = model([node], known, inputs={"x": (2,)}, outputs=["y"], input_type=TensorProto.INT64)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    y = bounds_of(check_sound(proto, {"x": limits}, 4), "y")
    assert y.lo == -(2.0**63)


@pytest.mark.parametrize("op_type", ["Relu", "Clip", "Max", "Identity"])
def test_integers_of_64_bits_that_are_chosen_keep_their_bounds(op_type: str):
    names = ["x"] if op_type in ("Relu", "Identity") else ["x", "zero"]
    known = {"zero": np.int64(0)} if len(names) > 1 else {}
    node = helper.make_node(op_type, names, ["y"])
    proto = model([node], known, inputs={"x": (2,)}, outputs=["y"], input_type=TensorProto.INT64)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    y = bounds_of(analyse(proto, input_ranges={"x": (0, _TOP)} if op_type == "Identity" else None), "y")
    assert (y.lo, y.hi) == (0, 2.0**63)


def test_a_sum_of_two_is_that_of_its_corners():
    proto = model([helper.make_node("Sum", ["x", "z"], ["y"])], {}, inputs={"x": (6, 5), "z": (5,)}, outputs=["y"])
    y = bounds_of(check_sound(proto, {"x": (-1.0, 2.0), "z": (3.0, 4.0)}, engines=BOTH), "y")
    assert (y.lo, y.hi) == (2, 6)


def test_a_sum_of_many_quantised_tensors_is_one_of_integers():
    names = ["a", "b", "c"]
    nodes = [*(quant("x", name, prefix="q") for name in names), helper.make_node("Sum", names, ["y"])]
    proto = model(nodes, parameters("q", scale=0.5, bits=3.0), inputs={"x": (6, 5)}, outputs=["y"])
    y = bounds_of(check_sound(proto, None, 6, engines=BOTH), "y")
    assert y.grid is not None
    assert (y.grid.scale, y.grid.lo, y.grid.hi) == (0.5, -12, 9)
    np.testing.assert_allclose([y.lo, y.hi], [-6.0, 4.5], rtol=1e-6)


@pytest.mark.parametrize("limits", [(-128, 127), (-127, 127), (-128, -1)])
@pytest.mark.parametrize("op_type", ["Neg", "Abs"])
def test_the_least_integer_has_no_opposite(op_type: str, limits: tuple[int, int]):
    node = helper.make_node(op_type, ["x"], ["y"])
    proto = model([node], {}, inputs={"x": (6, 5)}, outputs=["y"], input_type=TensorProto.INT8)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT8
    y = bounds_of(check_sound(proto, {"x": limits}, 6, engines=BOTH), "y")
    if limits[0] == -128:
        assert (y.lo, y.hi) == (-128, 127)
    else:
        assert (y.lo, y.hi) == ((-127, 127) if op_type == "Neg" else (0, 127))


def test_a_sum_of_many_has_the_rounding_of_any_order():
    names = ["x", "z", "x", "w"]
    proto = model(
        [helper.make_node("Sum", names, ["y"])], {}, inputs={"x": (6, 5), "z": (5,), "w": (1,)}, outputs=["y"]
    )
    ranges = {"x": (-1.0, 2.0), "z": (3.0, 4.0), "w": (-0.5, 0.25)}
    y = bounds_of(check_sound(proto, ranges, engines=BOTH), "y")
    assert y.lo < 2 * -1 + 3 - 0.5
    assert y.hi > 2 * 2 + 4 + 0.25
    np.testing.assert_allclose([y.lo, y.hi], [0.5, 8.25], rtol=0, atol=5e-6)


# Quantised operands: 3 bits, with sign or without; b's scale is a multiple of a's, the same, or none.
SCALES = [(0.5, 0.5), (0.25, 0.5), (0.5, 0.3)]
ZEROS = [(0.0, 0.0), (1.0, -2.0), (3.0, 0.0)]


def _numbers(scale: float, zero_point: float, *, signed: bool) -> list[Fraction]:
    levels = range(-4, 4) if signed else range(8)
    return [Fraction(scale).limit_denominator(100) * (q - Fraction(zero_point)) for q in levels]


def _assert_is_grid_of(grid: IntegerGrid, numbers: set[Fraction]) -> None:
    """The grid holds all of these numbers, and ends with the smallest and the largest of them."""
    scale = Fraction(float(grid.scale)).limit_denominator(10_000)
    integers = [n / scale + Fraction(float(grid.zero_point)).limit_denominator(10_000) for n in numbers]
    assert all(i.denominator == 1 for i in integers)
    assert (min(integers), max(integers)) == (grid.lo, grid.hi)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("zeros", ZEROS)
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Max", "Min", "Neg", "Abs"])
def test_a_grid_ends_with_the_least_and_the_largest_number(
    op_type: str, scales: tuple[float, float], zeros: tuple[float, float], signed: bool
):
    single = op_type in ("Neg", "Abs")
    nodes = [
        quant("x", "a", signed=int(signed)),
        quant("z", "b", signed=1),
        helper.make_node(op_type, ["a"] if single else ["a", "b"], ["y"]),
    ]
    constants = parameters("a", scale=scales[0], zeropt=zeros[0], bits=3.0)
    constants |= parameters("b", scale=scales[1], zeropt=zeros[1], bits=3.0)
    proto = model(nodes, constants, inputs={"x": (6, 5), "z": (5,)}, outputs=["y", "b"])
    grid = bounds_of(check_sound(proto, None, 6, engines=BOTH), "y").grid
    first = _numbers(scales[0], zeros[0], signed=signed)
    second = _numbers(scales[1], zeros[1], signed=True)
    functions: dict[str, Any] = {
        "Add": lambda a, b: a + b,
        "Sub": lambda a, b: a - b,
        "Mul": lambda a, b: a * b,
        "Max": max,
        "Min": min,
        "Neg": lambda a, _: -a,
        "Abs": lambda a, _: abs(a),
    }
    common = scales != (0.5, 0.3)
    if not single and op_type != "Mul" and not common:
        assert grid is None
        return
    assert grid is not None
    _assert_is_grid_of(grid, {functions[op_type](a, b) for a in first for b in second})


# The quotient of a constant by integers is on no grid, nor is one by 0.
KNOWN = [
    (op_type, constant, first)
    for op_type in ("Add", "Sub", "Mul", "Div")
    for constant in (2.0, -1.5, 0.0)
    for first in (True, False)
    if op_type != "Div" or (constant and not first)
]


@pytest.mark.parametrize(("op_type", "constant", "first"), KNOWN)
def test_a_known_operand_moves_or_scales_the_grid(op_type: str, constant: float, first: bool):
    names = ["c", "a"] if first else ["a", "c"]
    nodes = [quant("x", "a"), helper.make_node(op_type, names, ["y"])]
    constants = parameters("a", scale=0.5, zeropt=1.0, bits=3.0) | {"c": np.float32(constant)}
    proto = model(nodes, constants, inputs={"x": (6, 5)}, outputs=["y"])
    grid = bounds_of(check_sound(proto, None, 6, engines=BOTH), "y").grid
    functions: dict[str, Any] = {
        "Add": lambda a, b: a + b,
        "Sub": lambda a, b: a - b,
        "Mul": lambda a, b: a * b,
        "Div": lambda a, b: a / b,
    }
    known = Fraction(constant)
    numbers = _numbers(0.5, 1.0, signed=True)
    assert grid is not None
    _assert_is_grid_of(grid, {functions[op_type](*((known, a) if first else (a, known))) for a in numbers})
