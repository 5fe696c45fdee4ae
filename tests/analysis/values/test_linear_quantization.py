"""QuantizeLinear and its kin: integers of every type, axis and block, against the reference engine."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import anybit
from anybit.analysis.values.interpreter import analyse
from anybit.number_formats import IntFormat
from tests import models
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.strategies import Array, examples, positive_scales, seeds

INTEGERS = {
    TensorProto.INT8: (10, 8, True),
    TensorProto.UINT8: (10, 8, False),
    TensorProto.INT16: (21, 16, True),
    TensorProto.UINT16: (21, 16, False),
    TensorProto.INT4: (21, 4, True),
    TensorProto.UINT4: (21, 4, False),
    TensorProto.INT2: (25, 2, True),
    TensorProto.UINT2: (25, 2, False),
}


def qdq(
    scale: Array,
    zero_point: Array | None,
    *,
    shape: tuple[int, ...],
    opset: int,
    input_type: int = TensorProto.FLOAT,
    quantize: dict[str, Any] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """x -> QuantizeLinear -> q -> DequantizeLinear -> y."""
    names = ["s"] if zero_point is None else ["s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *names], ["q"], **attributes, **(quantize or {})),
        helper.make_node("DequantizeLinear", ["q", *names], ["y"], **attributes),
    ]
    initializers = {"s": scale} if zero_point is None else {"s": scale, "z": zero_point}
    model = models.model(
        nodes, initializers, inputs={"x": shape}, outputs=["y"], opset=opset, input_type=input_type, ir_version=11
    )
    model.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(scale.dtype)
    return model


def integer_array(rng: np.random.Generator, shape: tuple[int, ...], element: int) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(element)
    info = ml_dtypes.iinfo(dtype)
    return np.asarray(rng.integers(int(info.min), int(info.max) + 1, shape)).astype(dtype)


@given(st.sampled_from(list(INTEGERS)), st.sampled_from(["tensor", "axis", "block"]), st.booleans(), seeds)
@examples(60)
def test_quantize_and_dequantize_hold_and_are_tight(element: int, kind: str, has_zero: bool, seed: list[int]) -> None:
    rng = np.random.default_rng(seed)
    opset, bits, signed = INTEGERS[element]
    shape: tuple[int, ...] = (2, 6, 3)
    parameter_shape = {"tensor": (), "axis": (6,), "block": (2, 3, 3)}[kind]
    attributes: dict[str, Any] = {"block_size": 2, "axis": 1} if kind == "block" else {}
    if kind == "axis":
        opset, attributes = max(opset, 13), {"axis": int(rng.choice([1, -2]))}
    if kind == "block":
        opset = max(opset, 21)
    scale = positive_scales(rng, parameter_shape, np.float32)
    zero = integer_array(rng, parameter_shape, element) if has_zero or element != TensorProto.UINT8 else None
    lo, hi = np.sort(rng.normal(size=2) * rng.choice([1, 40])).astype(np.float32).tolist()
    model = qdq(scale, zero, shape=shape, opset=opset, **attributes)
    values = check_sound(model, {"x": (lo, hi)})
    assert not values.unfollowed
    q, y = bounds_of(values, "q"), bounds_of(values, "y")
    expected: Any = IntFormat(bits, signed=signed)
    full = np.broadcast_to(
        np.repeat(scale, 2, 1) if kind == "block" else scale.reshape(-1, 1) if kind == "axis" else scale, shape
    )
    z = np.zeros(()) if zero is None else zero.astype(np.float64)
    z = np.repeat(z, 2, 1) if kind == "block" and zero is not None else z.reshape(-1, 1) if z.ndim == 1 else z
    for bound, end in ((q.lo, lo), (q.hi, hi)):
        exact = np.clip(np.rint(np.float32(end) / full) + z, int(expected.min), int(expected.max))
        np.testing.assert_array_equal(np.broadcast_to(bound, shape), exact)
    assert q.grid is not None
    assert y.grid is not None
    assert q.grid.datatype == y.grid.datatype == expected
    np.testing.assert_array_equal(np.broadcast_to(y.grid.scale, shape), full)
    np.testing.assert_array_equal(np.broadcast_to(y.grid.zero_point, shape), np.broadcast_to(z, shape))
    np.testing.assert_array_equal(np.broadcast_to(y.grid.hi, shape), np.broadcast_to(q.hi, shape))


def test_a_block_that_is_cut_short() -> None:
    scale = np.float32([[0.5, 0.25]])
    model = qdq(scale, np.zeros((1, 2), np.int8), shape=(1, 3), opset=21, axis=1, block_size=2)
    grid = bounds_of(check_sound(model, {"x": (-1.0, 1.0)}), "y").grid
    assert grid is not None
    assert grid.scale.tolist() == [[0.5, 0.5, 0.25]]
    assert grid.hi.tolist() == [[2, 2, 4]]


@pytest.mark.parametrize("element", [TensorProto.FLOAT16, TensorProto.INT32])
def test_other_types_of_x(element: int) -> None:
    scale = np.asarray(0.3, np.float16 if element == TensorProto.FLOAT16 else np.float32)
    opset = 13 if element == TensorProto.INT32 else 21  # later, scale and x have one type
    model = qdq(scale, np.int8(3), shape=(50,), opset=opset, input_type=element)
    if element == TensorProto.INT32:
        del model.graph.node[1]
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("q", TensorProto.INT8, None))
    values = check_sound(model, {"x": (-20, 7)})
    q = bounds_of(values, "q")
    assert (q.lo.item(), q.hi.item()) == (-64, 26)


def test_every_float16_near_a_tie() -> None:
    scale = np.asarray(0.1, np.float16)
    model = qdq(scale, np.uint8(7), shape=(4,), opset=21, input_type=TensorProto.FLOAT16)
    for tie in (0.15, 0.25, 3.35, -0.45):
        end = float(np.float16(tie))
        check_sound(model, {"x": (end, end)}, 2, engines=("reference", "onnxruntime"))


def test_x_without_bounds_gives_all_integers() -> None:
    model = qdq(np.float32(0.1), np.uint8(7), shape=(4,), opset=10)
    values = check_sound(model)
    assert (bounds_of(values, "q").lo.item(), bounds_of(values, "q").hi.item()) == (0, 255)
    y = bounds_of(values, "y")
    assert (y.lo.item(), y.hi.item()) == (np.float32(-7) * np.float32(0.1), np.float32(248) * np.float32(0.1))


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("element", ["FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1"])
def test_small_floats_hold(element: str, saturate: int) -> None:
    number = getattr(TensorProto, element)
    opset = 23 if element == "FLOAT4E2M1" else 19
    zero = np.zeros((), helper.tensor_dtype_to_np_dtype(number))
    model = qdq(np.float32(0.3), zero, shape=(40,), opset=opset, quantize={"saturate": saturate})
    inside = bounds_of(check_sound(model, {"x": (-1.0, 0.7)}), "q")
    assert -4 <= inside.lo.item() <= -3
    assert 2 <= inside.hi.item() < 2.6
    check_sound(model, {"x": (-1.0, 1e6)})
    check_sound(model)


@given(st.sampled_from([*INTEGERS, TensorProto.INT32]), st.booleans(), seeds)
@examples(40)
def test_known_integers_keep_their_grid(element: int, per_axis: bool, seed: list[int]) -> None:
    rng = np.random.default_rng(seed)
    w = integer_array(rng, (5, 4), element)
    shape = (5,) if per_axis else ()
    scale = positive_scales(rng, shape, np.float32)
    zero = integer_array(rng, shape, element) if element != TensorProto.INT32 else np.zeros(shape, np.int32)
    node = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["y"], axis=0)
    model = models.model([node], {"w": w, "s": scale, "z": zero}, inputs={}, outputs=["y"], opset=25, ir_version=11)
    grid = bounds_of(check_sound(model, count=1), "y").grid
    _, bits, signed = INTEGERS.get(element, (10, 32, True))
    assert grid is not None
    assert grid.datatype == IntFormat(bits, signed=signed)
    np.testing.assert_array_equal(np.broadcast_to(grid.lo, w.shape), w.astype(np.float64))
    expected = zero.astype(np.float64).reshape(-1, 1) if per_axis else zero.astype(np.float64)
    np.testing.assert_array_equal(np.broadcast_to(grid.zero_point, w.shape), np.broadcast_to(expected, w.shape))


def test_many_known_integers_are_bounded_by_channel() -> None:
    rng = np.random.default_rng(0)
    w = np.clip(rng.normal(size=(96, 64)) * np.linspace(3, 40, 96)[:, None], -127, 127).astype(np.int8)
    scale = np.linspace(0.1, 0.2, 96).astype(np.float32)
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["y"], axis=0)
    model = models.model([node], {"w": w, "s": scale}, inputs={}, outputs=["y"])
    grid = bounds_of(check_sound(model, count=1), "y").grid
    assert grid is not None
    np.testing.assert_array_equal(grid.hi.ravel(), w.max(1))
    assert grid.scale.shape == (96, 1)


def test_large_int32_and_float16_scales_hold() -> None:
    node = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"])
    for scale in (np.float32(0.3), np.float16(1e-4)):
        initializers = {"s": np.asarray(scale), "z": np.asarray(0, np.int32)}
        model = models.model(
            [node], initializers, inputs={"x": [9]}, outputs=["y"], opset=19, input_type=TensorProto.INT32
        )
        model.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(scale.dtype)
        with np.errstate(invalid="ignore"):  # float16 overflows
            check_sound(model, engines=("reference", "onnxruntime"))
            check_sound(model, {"x": (-(2**25) - 1, 2**24 + 3)})


@pytest.mark.parametrize("limits", [(-3.0, 5.0), (0.0, 2.0), (1.0, 2.0), (-2.0, -1.0), (0.0, 0.0)])
def test_dynamic_quantisation(limits: tuple[float, float]) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    model = models.model(nodes, {}, inputs={"x": [2, 5]}, outputs=["y"])
    values = check_sound(model, {"x": limits}, engines=("reference", "onnxruntime"))
    q, scale, zero = (bounds_of(values, n) for n in "qsz")
    assert q.grid is not None
    assert q.grid.datatype == IntFormat(8, signed=False)
    widest = max(limits[1], 0) - min(limits[0], 0)
    assert scale.hi.item() == pytest.approx(1 if limits[0] <= 0 <= limits[1] else widest / 255, rel=1e-5)
    assert zero.hi.item() == (0 if limits[0] >= 0 else 255)
    assert bounds_of(values, "y").is_bounded


def test_a_computed_scale_of_quantize_leaves_the_type() -> None:
    nodes = [
        helper.make_node("Abs", ["s"], ["a"]),
        helper.make_node("QuantizeLinear", ["x", "a", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "a", "z"], ["y"]),
    ]
    model = models.model(nodes, {"z": np.int8(3)}, inputs={"x": [4], "s": []}, outputs=["y"])
    values = check_sound(model, {"x": (-1.0, 1.0), "s": (0.25, 2.0)})
    grid = bounds_of(values, "q").grid
    assert grid is not None
    assert (grid.lo.item(), grid.hi.item(), grid.datatype) == (-128, 127, IntFormat(8, signed=True))
    y = bounds_of(values, "y")
    assert -263 < y.lo.item() <= -262
    assert 248 <= y.hi.item() < 249


def test_a_scale_of_zero_is_bounded_but_no_grid() -> None:
    node = helper.make_node("DequantizeLinear", ["x", "s"], ["y"], axis=0)
    model = models.model(
        [node], {"s": np.float32([0.5, 0.0])}, inputs={"x": [2]}, outputs=["y"], input_type=TensorProto.INT8
    )
    y = bounds_of(check_sound(model), "y")
    assert y.grid is None
    assert y.hi.tolist() == [63.5, 0]


def test_integers_that_were_clipped_keep_their_narrow_format() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Clip", ["q", "lo", "hi"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    initializers = {"s": np.float32(0.5), "z": np.int8(0), "lo": np.int8(-2), "hi": np.int8(1)}
    values = analyse(models.model(nodes, initializers, inputs={"x": [4]}, outputs=["y"]))
    clipped, y = bounds_of(values, "c").grid, bounds_of(values, "y").grid
    assert clipped is not None
    assert y is not None
    assert (y.lo.item(), y.hi.item()) == (clipped.lo.item(), clipped.hi.item())
    assert y.datatype == clipped.datatype


@pytest.mark.parametrize("op_type", ["QLinearConv", "QLinearMatMul"])
def test_sums_that_leave_int32_wrap_around(op_type: str) -> None:
    """None of the exact sums is negative, and the largest one becomes a negative number."""
    is_conv = op_type == "QLinearConv"
    shape = (1, 100_000, 1, 1) if is_conv else (1, 100_000)
    constants = {"xs": np.float32(1), "xz": np.uint8(0), "ws": np.float32(2**-24), "wz": np.int8(0),
                 "ys": np.float32(1), "yz": np.uint8(128)}  # fmt: skip
    constants["w"] = np.full(shape if is_conv else shape[::-1], 127, np.int8)
    node = helper.make_node(op_type, "x xs xz w ws wz ys yz".split(), ["y"])
    proto = models.model([node], constants, inputs={"x": shape}, outputs=["y"], input_type=TensorProto.UINT8)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = np.full(shape, 255, np.uint8)
    wrapped = (255 * 127 * 100_000 + 2**31) % 2**32 - 2**31
    y = float(anybit.run(proto, x, engine="reference")["y"].item())
    assert y == 128 + np.rint(wrapped * 2.0**-24) < 128
    values = analyse(proto)["y"]
    assert values.lo.min() <= y <= values.hi.max()


@pytest.mark.parametrize("x_zero", [0, 100])
@pytest.mark.parametrize("op_type", ["QLinearConv", "QLinearMatMul"])
def test_results_of_products_of_bytes_are_those_of_the_ends(op_type: str, x_zero: int) -> None:
    """Each result ends where exact arithmetic of the smallest and of the largest sum does, in scales by channel."""
    is_conv = op_type == "QLinearConv"
    weights = np.array([[3, -2], [5, 1], [-4, 7]])
    scales, zero, x_scale, y_scale = np.float32([0.25, 0.5]), np.int8([0, 0]), 0.03125, 4.0
    constants = {"xs": np.float32(x_scale), "xz": np.uint8(x_zero), "ws": scales, "wz": zero,
                 "ys": np.float32(y_scale), "yz": np.uint8(128)}  # fmt: skip
    constants["w"] = weights.astype(np.int8).T.reshape(2, 3, 1, 1) if is_conv else weights.astype(np.int8)
    shape = (1, 3, 2, 2) if is_conv else (5, 3)
    node = helper.make_node(op_type, "x xs xz w ws wz ys yz".split(), ["y"])
    proto = models.model([node], constants, inputs={"x": shape}, outputs=["y"], input_type=TensorProto.UINT8)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    values = check_sound(proto, {"x": (0, 255)}, engines=("reference", "onnxruntime"))
    assert not values.unfollowed
    parts = (np.array([[0], [255]]) - x_zero)[:, :, None] * weights
    sums = np.stack([parts.min(axis=0).sum(axis=0), parts.max(axis=0).sum(axis=0)])
    wanted = np.clip(np.rint(sums * scales.astype(float) * x_scale / y_scale) + 128, 0, 255)
    y = bounds_of(values, "y")
    for got, end in ((y.lo, wanted[0]), (y.hi, wanted[1])):
        np.testing.assert_array_equal(np.broadcast_to(np.reshape(got, -1), 2), end)


def test_a_product_of_scales_that_vanishes_is_that_of_float32() -> None:
    """fl(2^-80 * 2^-80) is 0, and so is what divides it by 2^-149: the exact multiplier would be 2^-11."""
    constants = {"xs": np.float32(2**-80), "xz": np.uint8(0), "ws": np.float32(2**-80), "wz": np.int8(0),
                 "ys": np.float32(2**-149), "yz": np.uint8(0), "w": np.full((64, 1), 127, np.int8)}  # fmt: skip
    node = helper.make_node("QLinearMatMul", "x xs xz w ws wz ys yz".split(), ["y"])
    proto = models.model([node], constants, inputs={"x": (1, 64)}, outputs=["y"], input_type=TensorProto.UINT8)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    check_sound(proto, {"x": (255, 255)}, engines=("reference", "onnxruntime"))


@pytest.mark.parametrize("output", [None, TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("real", [1 / 3, 0.7])
def test_a_stated_type_of_the_result_is_that_of_the_product(real: float, output: int | None) -> None:
    """127 times a scale, in the type that the node states, else in that of the scale; float16 rounds -89.6 down."""
    attributes = {} if output is None else {"output_dtype": output}
    node = helper.make_node("DequantizeLinear", ["x", "s"], ["y"], **attributes)
    scale = np.float32(real)
    proto = models.model([node], {"s": scale}, inputs={"x": [4]}, outputs=["y"], opset=23, input_type=TensorProto.INT8)
    proto.graph.output[0].type.tensor_type.elem_type = output or TensorProto.FLOAT
    values = analyse(proto)
    assert not values.unfollowed
    y = bounds_of(values, "y")
    assert (y.lo, y.hi) == pytest.approx((-128 * real, 127 * real), rel=2e-3)
    dtype = helper.tensor_dtype_to_np_dtype(output or TensorProto.FLOAT)
    made = (np.array([-128, 127]) * np.float64(scale)).astype(dtype)
    assert y.lo <= made[0]
    assert made[1] <= y.hi
