"""Selections, casts, comparisons and bits: no result of either engine leaves its bounds or its grid."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import analyse
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.models import model, parameters, quant
from tests.strategies import Array, examples

BOTH = ("reference", "onnxruntime")
RANGES = [None, (-1, 1), (0, 3), (-3, 0), (0.5, 2), (-100, 300), (-2, -2)]


def single(
    op_type: str,
    constants: Mapping[str, Array],
    *,
    inputs: Sequence[str] = (),
    shape=(3, 4),
    opset: int = 21,
    elem_type: int = TensorProto.FLOAT,
    out_type: int | None = None,
    outputs=("y",),
    dynamic=("x",),
    **attributes,
) -> onnx.ModelProto:
    names = list(inputs) or [*dynamic, *constants]
    node = helper.make_node(op_type, names, list(outputs), name="node", **attributes)
    free = dict.fromkeys(dynamic, shape)
    proto = model([node], constants, inputs=free, outputs=outputs, opset=opset, input_type=elem_type)
    for value, kind in zip(proto.graph.output, (out_type or elem_type, TensorProto.INT64), strict=False):
        value.type.tensor_type.elem_type = kind
    return proto


def quantized(nodes, constants, **options) -> onnx.ModelProto:
    """x -> Quant to 4 bits, in steps of a half -> q -> nodes."""
    initializers = parameters("q", **options) | constants
    return model([quant("x", "q"), *nodes], initializers, inputs={"x": ["n", 3]}, outputs=["y"])


def clip_node(*limits: str):
    return helper.make_node("Clip", ["q", *limits], ["y"], name="node")


@pytest.mark.parametrize("limits", RANGES)
def test_clip(limits):
    low, high = np.float32(-0.7), np.float32(1.3)
    chosen = limits and {"x": limits}
    for elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
        dtype = helper.tensor_dtype_to_np_dtype(elem_type)
        proto = single("Clip", {"a": low.astype(dtype), "b": high.astype(dtype)}, elem_type=elem_type)
        values = bounds_of(check_sound(proto, chosen, engines=BOTH), "y")
        assert values.lo >= dtype.type(low)
        assert values.hi <= dtype.type(high)
    for opset in (7, 10):
        check_sound(single("Clip", {}, min=-0.7, max=1.3, opset=opset), chosen, engines=BOTH)
        check_sound(single("Clip", {}, max=1.3, opset=opset), chosen, engines=BOTH)
    check_sound(single("Clip", {"b": high}, inputs=["x", "", "b"]), chosen, engines=BOTH)
    check_sound(single("Clip", {"a": high, "b": low}), chosen)


def test_clip_with_computed_limits():
    nodes = [helper.make_node("ReduceMin", ["x"], ["a"], keepdims=0), helper.make_node("Clip", ["x", "a", "b"], ["y"])]
    proto = model(nodes, {"b": np.float32(1)}, inputs={"x": [3, 4]}, outputs=["y"])
    check_sound(proto, {"x": (-3, 4)}, engines=BOTH)


def test_clip_of_integers():
    proto = single("Clip", {"a": np.int32(-3), "b": np.int32(9)}, elem_type=TensorProto.INT32)
    grid = bounds_of(check_sound(proto, engines=BOTH), "y").grid
    assert grid is not None
    assert (grid.lo, grid.hi) == (-3, 9)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-1.0, 2.0, (-2, 4)), (-9.0, 2.0, (-8, 4)), (-1.1, 2.0, None), (-1.0, 9.3, (-2, 7)), (1.0, 1.0, (2, 2))],
)
def test_clip_on_a_grid(low, high, expected):
    proto = quantized([clip_node("a", "b")], {"a": np.float32(low), "b": np.float32(high)})
    grid = bounds_of(check_sound(proto, engines=BOTH), "y").grid
    assert (None if grid is None else (grid.lo - grid.zero_point, grid.hi - grid.zero_point)) == expected


def test_a_clip_that_saves_bits_is_a_zero_point():
    proto = quantized([clip_node("a", "b")], {"a": np.float32(-1), "b": np.float32(2.5)})
    grid = bounds_of(check_sound(proto, engines=BOTH), "y").grid
    assert grid is not None
    assert (str(grid.datatype), grid.lo, grid.hi, grid.zero_point) == ("UINT3", 0, 7, 2)


def test_clip_at_a_decimal_step():
    proto = quantized([clip_node("a", "b")], {"a": np.float32(-0.3), "b": np.float32(0.6)}, scale=0.1)
    grid = bounds_of(check_sound(proto), "y").grid
    assert grid is not None
    assert (grid.lo, grid.hi) == (-3, 6)


@given(st.floats(-9, 9, width=16), st.floats(-9, 9, width=16), st.sampled_from([0.5, 0.1, 1.0]), st.integers(0, 99))
@examples(40)
def test_any_clip_on_a_grid(low, high, scale, seed):
    proto = quantized([clip_node("a", "b")], {"a": np.float32(low), "b": np.float32(high)}, scale=scale, zeropt=1.0)
    check_sound(proto, {"x": (-5, 4)}, 6, seed)


@pytest.mark.parametrize("condition", [[True] * 4, [False] * 4, [True, False, False, True]])
def test_where(condition):
    constants = {"c": np.array(condition), "z": np.float32([5, -6, 7, -8])}
    values = bounds_of(
        check_sound(single("Where", constants, inputs=["c", "x", "z"]), {"x": (-1, 1)}, engines=BOTH), "y"
    )
    expected = np.where(condition, 1.0, constants["z"])
    assert np.broadcast_to(values.hi, 4) == pytest.approx(expected)


def test_where_with_a_number_of_the_grid():
    nodes = [helper.make_node("Greater", ["x", "t"], ["c"]), helper.make_node("Where", ["c", "q", "z"], ["y"])]
    for number, kept in ((0.0, True), (0.3, False), (20.0, True)):
        values = bounds_of(check_sound(quantized(nodes, {"t": np.float32(0.2), "z": np.float32(number)})), "y")
        assert (values.grid is not None) == kept


def test_where_with_negative_infinity():
    proto = single("Where", {"c": np.eye(4) > 0, "z": np.float32(-np.inf)}, inputs=["c", "x", "z"], shape=(4, 4))
    check_sound(proto, {"x": (-1, 1)}, engines=BOTH)


def test_top_k_and_positions():
    nodes = [quant("x", "q", prefix="q"), helper.make_node("TopK", ["q", "k"], ["y", "i"], name="node", axis=1)]
    scales = np.float32([[0.5, 0.25, 1.0]])
    proto = model(nodes, parameters("q") | {"k": np.int64([2])}, inputs={"x": ["n", 3]}, outputs=["y"])
    values = check_sound(proto, engines=BOTH)
    assert bounds_of(values, "y").grid is not None
    assert bounds_of(values, "i").hi == 2
    proto = model(nodes, parameters("q", scale=scales) | {"k": np.int64([2])}, inputs={"x": ["n", 3]}, outputs=["y"])
    values = check_sound(proto, engines=BOTH)
    assert bounds_of(values, "y").grid is None
    assert bounds_of(values, "y").hi == 7
    check_sound(single("TopK", {}, opset=9, k=2, outputs=("y", "i"), axis=0), {"x": (-1, 2)})


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_arg_extreme(op_type):
    proto = single(op_type, {}, axis=-1, out_type=TensorProto.INT64)
    assert bounds_of(check_sound(proto, {"x": (-1, 1)}, engines=BOTH), "y").hi == 3


def test_non_zero():
    values = bounds_of(check_sound(single("NonZero", {}, out_type=TensorProto.INT64), {"x": (0, 3)}, engines=BOTH), "y")
    assert values.hi.ravel().tolist() == [2, 3]


@pytest.mark.parametrize(
    ("shape", "last"), [((1, 3), [[0], [2]]), (("n", 3), [[2.0**63 - 1], [2]]), ((7,), 6), ((1,), 0), ((), 0)]
)
def test_positions_of_each_axis_end_at_its_last_element(shape, last):
    values = bounds_of(analyse(single("NonZero", {}, shape=shape, out_type=TensorProto.INT64)), "y")
    assert not values.lo.any()
    assert values.hi.tolist() == last


@pytest.mark.parametrize(("size", "last"), [(1, 0), (2, 1), (9, 8), ("n", 2.0**63)])
def test_positions_along_an_axis_end_at_its_last_element(size, last):
    for op_type in ("ArgMax", "ArgMin"):
        proto = single(op_type, {}, shape=(3, size, 2), axis=1, out_type=TensorProto.INT64)
        values = bounds_of(analyse(proto), "y")
        assert (values.lo, values.hi) == (0, last)
        assert (values.grid is not None) == (size != "n")  # of numbers that float64 holds
    proto = single("TopK", {"k": np.int64([1])}, shape=(3, 2, size), outputs=("y", "i"))
    assert bounds_of(analyse(proto), "i").hi == last
    assert bounds_of(analyse(single("ArgMax", {}, shape=(size, 5), out_type=TensorProto.INT64)), "y").hi == last


@pytest.mark.parametrize(
    ("pair", "grid"), [((0, 1), (0, 1)), ((7, -2), (-2, 7)), ((0.5, 1), None), ((np.nan, 1), None), ((3, 3), (3, 3))]
)
def test_one_of_two_whole_numbers_is_one_of_those_between(pair, grid):
    proto = single("OneHot", {"d": np.int64(5), "v": np.float32(pair)}, elem_type=TensorProto.INT64)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    found = bounds_of(analyse(proto), "y")
    assert (None if found.grid is None else (found.grid.lo, found.grid.hi)) == grid
    if not np.isnan(pair).any():
        assert (found.lo, found.hi) == (min(pair), max(pair))


@pytest.mark.parametrize("op_type", ["ScatterElements", "ScatterND"])
@pytest.mark.parametrize(("update", "grid"), [(3.0, (-8, 7)), (20.0, (-8, 40)), (0.3, None)])
def test_an_update_that_is_a_number_of_the_grid_keeps_it(op_type, update, grid):
    indices = np.int64([[0, 1]]) if op_type == "ScatterElements" else np.int64([[0, 0], [1, 2]])
    updates = np.full(indices.shape if op_type == "ScatterElements" else 2, update, np.float32)
    node = helper.make_node(op_type, ["q", "i", "u"], ["y"], name="node")
    values = bounds_of(check_sound(quantized([node], {"i": indices, "u": updates}), count=5), "y")
    assert (None if values.grid is None else (values.grid.lo, values.grid.hi)) == grid
    assert (values.lo, values.hi) == (-4, max(3.5, float(np.float32(update))))


def test_one_hot_trilu_hardmax_compress():
    one_hot = single("OneHot", {"d": np.int64(5), "v": np.float32([0, 1])}, elem_type=TensorProto.INT64)
    one_hot.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    assert bounds_of(check_sound(one_hot, {"x": (0, 4)}, engines=BOTH), "y").grid is not None
    for upper in (0, 1):
        check_sound(single("Trilu", {}, upper=upper), {"x": (2, 3)}, engines=BOTH)
    trilu = helper.make_node("Trilu", ["q"], ["y"], name="node")
    assert bounds_of(check_sound(quantized([trilu], {}), engines=BOTH), "y").grid is not None
    assert bounds_of(check_sound(single("Hardmax", {}), {"x": (2, 3)}), "y").hi == 1
    condition = {"c": np.array([True, False, True])}
    check_sound(single("Compress", condition, axis=0), {"x": (2, 3)}, engines=BOTH)
    check_sound(single("Compress", condition), {"x": (2, 3)}, engines=BOTH)


def test_scatter():
    elements = {"i": np.int64([[0, 2]]), "u": np.float32([[7, -9]])}
    values = bounds_of(check_sound(single("ScatterElements", elements), {"x": (-1, 1)}, engines=BOTH), "y")
    assert (values.lo.min(), values.hi.max()) == (-9, 7)
    slices = {"i": np.int64([[2]]), "u": np.float32([[1, 2, 3, 40]])}
    check_sound(single("ScatterND", slices), {"x": (-1, 1)}, engines=BOTH)
    assert check_sound(single("ScatterND", slices, reduction="add"), {"x": (-1, 1)}).unfollowed


@pytest.mark.parametrize("op_type", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.INT32])
def test_comparisons(op_type, elem_type):
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    proto = single(op_type, {"t": dtype.type(2)}, elem_type=elem_type, out_type=TensorProto.BOOL)
    for limits in ((-1, 1), (2, 2), (2, 5), (3, 4), (0, 2)):
        check_sound(proto, {"x": limits}, engines=BOTH)
    never = {"Equal": (3, 4), "Greater": (0, 2), "GreaterOrEqual": (0, 1), "Less": (2, 5), "LessOrEqual": (3, 4)}
    assert bounds_of(check_sound(proto, {"x": never[op_type]}), "y").hi == 0


def test_a_comparison_of_nan_is_false():
    nodes = [helper.make_node("Sqrt", ["x"], ["r"]), helper.make_node("GreaterOrEqual", ["r", "t"], ["y"])]
    proto = model(nodes, {"t": np.float32(-1)}, inputs={"x": [4]}, outputs=["y"])
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    check_sound(proto, {"x": (-3, 1)}, engines=BOTH)


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor", "Not", "IsNaN", "IsInf"])
def test_logic(op_type):
    kind = TensorProto.FLOAT if op_type.startswith("Is") else TensorProto.BOOL
    dynamic = ("x", "z") if op_type in ("And", "Or", "Xor") else ("x",)
    check_sound(single(op_type, {}, dynamic=dynamic, elem_type=kind, out_type=TensorProto.BOOL), engines=BOTH)


@pytest.mark.parametrize(
    ("op_type", "known", "expected"),
    [("And", False, (0, 0)), ("And", True, (0, 1)), ("Or", True, (1, 1)), ("Or", False, (0, 1)), ("Xor", True, (0, 1))],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_known_operand_may_decide(op_type, known, expected, first):
    names = ["c", "x"] if first else ["x", "c"]
    proto = single(op_type, {"c": np.array(known)}, inputs=names, elem_type=TensorProto.BOOL)
    values = bounds_of(analyse(proto), "y")
    assert (values.lo, values.hi) == expected


def test_the_opposite_of_what_is_known_is_known():
    nodes = [helper.make_node("Greater", ["x", "t"], ["g"]), helper.make_node("Not", ["g"], ["y"])]
    proto = model(nodes, {"t": np.float32(2)}, inputs={"x": [4]}, outputs=["y"])
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    for limits, expected in (((0, 1), (1, 1)), ((0, 4), (0, 1)), ((3, 4), (0, 1))):  # NaN is not greater
        values = bounds_of(analyse(proto, input_ranges={"x": limits}), "y")
        assert (values.lo, values.hi) == expected


TYPES = {
    np.float16: TensorProto.FLOAT16, np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE,
    np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8, np.int32: TensorProto.INT32, np.int64: TensorProto.INT64,
    np.uint64: TensorProto.UINT64, np.bool_: TensorProto.BOOL,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("source", TYPES)
def test_cast(source):
    """To all types side by side: a session takes longer to make than all of its runs."""
    names = [np.dtype(target).name for target in TYPES]
    casts = [helper.make_node("Cast", ["x"], [n], to=t) for n, t in zip(names, TYPES.values(), strict=True)]
    likes = [helper.make_node("CastLike", ["x", f"{n}_like"], [n]) for n in names]
    constants = {f"{n}_like": np.zeros(1, t) for n, t in zip(names, TYPES, strict=True)}
    cast, like = (
        model(nodes, arrays, inputs={"x": (3, 4)}, outputs=names, opset=21, input_type=TYPES[source])
        for nodes, arrays in ((casts, {}), (likes, constants))
    )
    for proto, (output, kind) in itertools.product((cast, like), enumerate(TYPES.values())):
        proto.graph.output[output].type.tensor_type.elem_type = kind
    for limits in (None, (0, 1), (-3.5, 3.5), (100, 300), (-70000, 70000)):
        widest = (-np.inf, np.inf) if np.dtype(source).kind == "f" else None
        if limits is not None and (np.dtype(source).kind == "b" or (widest is None and limits != (0, 1))):
            continue
        ranges = limits and {"x": limits}
        check_sound(cast, ranges, 7, engines=BOTH)
        check_sound(like, ranges, 7)


def test_casts_that_keep_the_integers():
    def grid_of(*types: int, **options):
        names = ["q", *(f"c{i}" for i in range(len(types) - 1)), "y"]
        nodes = [helper.make_node("Cast", [a], [b], to=t) for a, b, t in zip(names, names[1:], types, strict=False)]
        proto = quantized(nodes, {}, **options)
        proto.graph.output[0].type.tensor_type.elem_type = types[-1]
        return bounds_of(check_sound(proto), "y").grid

    whole = grid_of(TensorProto.INT8, TensorProto.FLOAT, scale=1.0)
    assert str(whole.datatype) == "INT4"
    assert (whole.lo, whole.hi) == (-8, 7)
    assert grid_of(TensorProto.FLOAT16) is not None
    assert grid_of(TensorProto.FLOAT16, scale=0.1) is None
    assert grid_of(TensorProto.DOUBLE, scale=0.1) is not None
    truncated = grid_of(TensorProto.INT32, scale=0.5)
    assert (truncated.lo, truncated.hi) == (-4, 3)


def test_cast_of_integers_that_float_rounds():
    to_float = single("Cast", {}, elem_type=TensorProto.INT32, out_type=TensorProto.FLOAT, to=TensorProto.FLOAT)
    assert bounds_of(check_sound(to_float, engines=BOTH), "y").grid is None
    assert bounds_of(check_sound(to_float, {"x": (-9, 2**24)}, engines=BOTH), "y").grid is not None


@given(st.integers(-60, 60), st.integers(0, 60), st.sampled_from([-7, -1, 1, 3, 50]), st.sampled_from([0, 1]))
@examples(40)
def test_mod_of_integers(lo, width, divisor, fmod):
    proto = single("Mod", {"d": np.int32(divisor)}, elem_type=TensorProto.INT32, fmod=fmod)
    check_sound(proto, {"x": (lo, lo + width)}, 6, engines=("reference",))


@pytest.mark.parametrize(
    ("limits", "followed"), [((-1, 3), False), ((0, 3), False), ((-3, 0), False), ((1, 3), True), ((-3, -1), True)]
)
def test_a_divisor_that_can_be_zero_is_not_followed(limits, followed):
    proto = single("Mod", {}, dynamic=("x", "z"), elem_type=TensorProto.INT32)
    values = analyse(proto, input_ranges={"x": (-20, 20), "z": limits})
    assert bool(values.unfollowed) != followed
    if followed:
        expected = (0, 2) if limits[0] > 0 else (-2, 0)
        assert (bounds_of(values, "y").lo, bounds_of(values, "y").hi) == expected


@pytest.mark.parametrize("divisor", [-7.5, 0.1, 3.0])
def test_mod_of_floats(divisor):
    for limits in RANGES:
        proto = single("Mod", {"d": np.float32(divisor)}, fmod=1)
        check_sound(proto, limits and {"x": limits}, engines=BOTH)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("limits", [(0, 255), (3, 17), (9, 9)])
def test_bit_shift(direction, limits):
    proto = single("BitShift", {"n": np.uint8(3)}, elem_type=TensorProto.UINT8, direction=direction)
    check_sound(proto, {"x": limits}, engines=BOTH)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize(
    ("limits", "bits"), [((1, 7), (0, 3)), ((3, 17), (1, 2)), ((200, 255), (2, 5)), ((9, 9), (7, 7))]
)
def test_bit_shift_by_computed_numbers(direction, limits, bits):
    proto = single("BitShift", {}, dynamic=("x", "z"), elem_type=TensorProto.UINT8, direction=direction)
    y = bounds_of(check_sound(proto, {"x": limits, "z": bits}, engines=BOTH), "y")
    if direction == "RIGHT":
        assert (y.lo, y.hi) == (limits[0] >> bits[1], limits[1] >> bits[0])
    elif limits[1] << bits[1] < 256:
        assert (y.lo, y.hi) == (limits[0] << bits[0], limits[1] << bits[1])
    else:
        assert (y.lo, y.hi) == (0, 255)


@pytest.mark.parametrize("op_type", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
@pytest.mark.parametrize("elem_type", [TensorProto.INT16, TensorProto.UINT16])
def test_operators_on_bits(op_type, elem_type):
    for limits in (None, (0, 9), (3, 100), (-5, 9), (-200, -100)):
        if elem_type == TensorProto.INT16 or limits is None or limits[0] >= 0:
            proto = single(op_type, {}, dynamic=("x", "z"), elem_type=elem_type)
            check_sound(proto, limits and {"x": limits, "z": limits}, engines=BOTH)


@pytest.mark.parametrize("elem_type", [TensorProto.INT8, TensorProto.UINT8])
def test_bitwise_not(elem_type):
    values = bounds_of(check_sound(single("BitwiseNot", {}, elem_type=elem_type), {"x": (0, 9)}, engines=BOTH), "y")
    assert values.hi - values.lo == 9
