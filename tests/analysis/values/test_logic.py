"""Comparisons, remainders, bits and sizes: bounds as narrow as brute force over all integers finds them."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import analyse
from tests.analysis.values.soundness import bounds_of
from tests.analysis.values.test_selection import single
from tests.models import model

_INTERVALS = [(-3, -1), (-3, 0), (-1, 2), (0, 0), (0, 3), (1, 3), (1, 2), (2, 2), (-2, -2), (4, 5), (-5, -4)]
_PAIRS = [*itertools.product(_INTERVALS, _INTERVALS)]


def _found(proto: onnx.ModelProto, x: tuple[int, int], z: tuple[int, int]) -> tuple[float, float]:
    values = bounds_of(analyse(proto, input_ranges={"x": x, "z": z}), "y")
    return float(values.lo), float(values.hi)


def _hull(function: np.ufunc, x: tuple[int, int], z: tuple[int, int]) -> tuple[int, int]:
    results = function(*np.meshgrid(np.arange(x[0], x[1] + 1), np.arange(z[0], z[1] + 1)))
    return int(results.min()), int(results.max())


@pytest.mark.parametrize(
    ("op_type", "function"),
    [
        ("Equal", np.equal),
        ("Greater", np.greater),
        ("GreaterOrEqual", np.greater_equal),
        ("Less", np.less),
        ("LessOrEqual", np.less_equal),
    ],
)
def test_a_comparison_of_integers_is_known_where_all_pairs_agree(op_type: str, function: np.ufunc):
    proto = single(op_type, {}, dynamic=("x", "z"), elem_type=TensorProto.INT32, out_type=TensorProto.BOOL)
    for x, z in _PAIRS:
        assert _found(proto, x, z) == _hull(function, x, z), (x, z)


@pytest.mark.parametrize(("fmod", "function"), [(0, np.mod), (1, np.fmod)])
def test_remainders_are_bounded_by_those_that_occur(fmod: int, function: np.ufunc):
    proto = single("Mod", {}, dynamic=("x", "z"), elem_type=TensorProto.INT32, fmod=fmod)
    for x, z in _PAIRS:
        if z[0] <= 0 <= z[1]:
            continue
        found, hull = _found(proto, x, z), _hull(function, x, z)
        assert found[0] <= hull[0] <= hull[1] <= found[1], (x, z)
        if max(-z[0], z[1]) <= 3 and x[0] < x[1]:  # all remainders occur
            assert found == hull, (x, z)
    assert _found(proto, (1, 2), (4, 5)) == (1 if fmod == 0 else 0, 2)
    assert _found(proto, (1, 4), (4, 5)) == (0, 4)


@pytest.mark.parametrize("z", [(0, 0), (0, 3), (0, 5), (-3, -1), (-1, 2)])
@pytest.mark.parametrize("x", [(0, 0), (0, 3), (0, 5)])
def test_common_bits_are_no_more_than_an_operand_that_is_not_negative(x: tuple[int, int], z: tuple[int, int]):
    proto = single("BitwiseAnd", {}, dynamic=("x", "z"), elem_type=TensorProto.INT32)
    assert _found(proto, x, z) == _found(proto, z, x) == _hull(np.bitwise_and, x, z)


@pytest.mark.parametrize("op_type", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
@pytest.mark.parametrize("x", [(-2, 1), (-4, 3), (-8, 7), (0, 1), (0, 3), (0, 15)])
def test_bits_of_all_numbers_of_a_width_are_those_of_the_width(op_type: str, x: tuple[int, int]):
    proto = single(op_type, {}, dynamic=("x", "z"), elem_type=TensorProto.INT32)
    function = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}[op_type]
    smaller = (x[0] // 2, x[1] // 2)
    assert _found(proto, x, x) == _hull(function, x, x)
    if op_type != "BitwiseAnd" or x[0] < 0:
        assert _found(proto, x, smaller) == _found(proto, smaller, x) == x


@pytest.mark.parametrize("elem_type", [TensorProto.INT8, TensorProto.UINT8, TensorProto.UINT16])
def test_the_complement_of_an_interval(elem_type: int):
    proto = single("BitwiseNot", {}, elem_type=elem_type)
    values = bounds_of(analyse(proto, input_ranges={"x": (3, 9)}), "y")
    every = np.invert(np.arange(3, 10, dtype=helper.tensor_dtype_to_np_dtype(elem_type)))
    assert (values.lo, values.hi) == (every.min(), every.max())


@pytest.mark.parametrize(
    ("attributes", "known"),
    [({}, None), ({"start": 1}, [3, 4]), ({"start": -1}, [4]), ({"start": 1, "end": 2}, [3]), ({"end": -1}, None)],
)
def test_a_part_of_a_shape_is_a_constant_where_all_of_its_sizes_are(attributes: dict[str, int], known: list[int]):
    node = helper.make_node("Shape", ["x"], ["y"], **attributes)
    proto = model([node], {}, inputs={"x": ["n", 3, 4]}, outputs=["y"], opset=15)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    values = bounds_of(analyse(proto), "y")
    assert values.is_point == (known is not None)
    sizes = np.array(known or [0, 3, 4][: attributes.get("end")])
    np.testing.assert_array_equal(np.broadcast_to(values.lo, sizes.shape), sizes)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [(["n", 0], (0, 0)), (["n", 3], (0, 2**63)), ([2, 0], (0, 0)), ([2, 3], (6, 6)), ([], (1, 1))],
)
def test_the_number_of_elements(shape: list[int | str], expected: tuple[int, int]):
    values = bounds_of(analyse(single("Size", {}, shape=shape, out_type=TensorProto.INT64)), "y")
    assert (values.lo, values.hi) == expected


@pytest.mark.parametrize(
    ("number", "grid"), [(np.int64([7]), (7, 7)), (np.uint8([3]), (3, 3)), (np.float32([2.5]), None), (None, None)]
)
def test_a_tensor_of_one_number_is_that_number(number: np.ndarray | None, grid: tuple[int, int] | None):
    given = {} if number is None else {"value": onnx.numpy_helper.from_array(number)}
    kind = TensorProto.FLOAT if number is None else helper.np_dtype_to_tensor_dtype(number.dtype)
    proto = single("ConstantOfShape", {}, elem_type=TensorProto.INT64, shape=(2,), out_type=kind, **given)
    values = bounds_of(analyse(proto), "y")
    assert values.lo == values.hi == (0 if number is None else number[0])
    assert (None if values.grid is None else (values.grid.lo, values.grid.hi)) == grid


@pytest.mark.parametrize("start", [(0, 2), (-3, -3)])
@pytest.mark.parametrize("limit", [(4, 6), (-7, -5), (-7, 5)])
@pytest.mark.parametrize("delta", [(1, 1), (1, 2), (-2, -1), (-1, 1)])
def test_a_range_of_integers_reaches_its_limit_by_all_but_one(start, limit, delta):
    """Against every range of these numbers; the bounds are those that steps of one reach."""
    ends = dict(zip("xzd", (start, limit, delta), strict=True))
    proto = single("Range", {}, dynamic=("x", "z", "d"), shape=(), elem_type=TensorProto.INT64)
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.output[0].type.tensor_type.shape.dim.add(dim_param="n")
    values = bounds_of(analyse(proto, input_ranges=ends), "y")
    numbers = [range(lo, hi + 1) for lo, hi in ends.values()]
    made = [k for first, end, step in itertools.product(*numbers) if step for k in range(first, end, step)]
    assert values.lo <= min(made, default=np.inf)
    assert values.hi >= max(made, default=-np.inf)
    up, down = delta[1] > 0, delta[0] < 0
    if up != down and made:
        assert (values.lo, values.hi) == (min(start[0], *made), max(start[1], *made))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize(("bits", "followed"), [((0, 7), True), ((7, 7), True), ((0, 8), False), ((8, 8), False)])
def test_a_shift_by_all_bits_is_not_followed(direction: str, bits: tuple[int, int], followed: bool):
    """What it makes is up to the processor."""
    proto = single("BitShift", {}, dynamic=("x", "z"), elem_type=TensorProto.UINT8, direction=direction)
    values = analyse(proto, input_ranges={"x": (3, 200), "z": bits})
    assert bool(values.unfollowed) != followed
    if not followed:
        assert (bounds_of(values, "y").lo, bounds_of(values, "y").hi) == (0, 255)
