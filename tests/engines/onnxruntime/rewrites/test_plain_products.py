"""Integer products on every engine against exact integers: zero points of all shapes, types of all pairs, full range.

ONNX Runtime refuses some zero points when it runs, and saturates products of uint8 and int8 on some processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper, numpy_helper

from anybit.runtime.session import Session
from tests.strategies import Array

BYTES = (np.uint8, np.int8)
PAIRS = [(a, b) for a in BYTES for b in BYTES]
ENGINES = ("auto", "onnxruntime", "reference")


def _bytes(rng: np.random.Generator, shape: tuple[int, ...] | None, dtype: Any) -> Array | None:
    """The whole range, its ends more often than the rest: there products saturate."""
    if shape is None:
        return None
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max + 1, shape)
    ends = rng.choice([limits.min, limits.max], shape)
    return np.asarray(np.where(rng.random(shape) < 0.5, ends, values), dtype)


def _model(
    op_type: str, arrays: Sequence[Array | None], constants: Sequence[int], output: Any, opset: int, **attributes: Any
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    given = {f"i{k}": a for k, a in enumerate(arrays) if a is not None}
    fixed = {f"i{k}" for k in constants} & given.keys()
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(arrays)]
    kind = helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], **attributes)],
        "test",
        [helper.make_tensor_value_info(n, kind(a.dtype), a.shape) for n, a in given.items() if n not in fixed],
        [helper.make_tensor_value_info("y", kind(np.dtype(output)), None)],
        [numpy_helper.from_array(given[n], n) for n in sorted(fixed)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return proto, {n: a for n, a in given.items() if n not in fixed}


def _check(proto: onnx.ModelProto, feeds: dict[str, Array], expected: Array) -> None:
    for engine in ENGINES:
        y = Session(proto, engine=engine).run(feeds)["y"]
        assert y.dtype == expected.dtype, engine
        np.testing.assert_array_equal(y, expected, err_msg=engine)


def _centred(values: Array, zero_point: Array | None, *, rows: bool = False) -> Array:
    zero = np.zeros((), int) if zero_point is None else zero_point.astype(int)
    zero = zero.reshape(()) if zero.size == 1 else zero[:, None] if rows and zero.ndim == 1 else zero
    return values.astype(int) - zero


_SHAPES: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None, tuple[int, ...] | None]] = [
    ((2, 6), (6, 3), None, None),
    ((2, 6), (6, 3), (), ()),
    ((2, 6), (6, 3), (1,), (1,)),
    ((2, 6), (6, 3), (2,), None),
    ((2, 6), (6, 3), None, (3,)),
    ((2, 6), (6, 3), (2,), (3,)),
    ((2, 6), (6, 3), (2, 1), (1, 3)),
    ((5, 2, 6), (5, 6, 3), (5, 2, 1), (5, 1, 3)),
    ((5, 2, 6), (6, 3), (5, 2, 1), (3,)),
    ((2, 6), (5, 6, 3), (2,), (5, 1, 3)),
    ((6,), (6, 3), (), (3,)),
    ((2, 6), (6,), (2,), ()),
    ((6,), (6,), (), ()),
]


@pytest.mark.parametrize("shapes", _SHAPES, ids=str)
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_matmul_integer(shapes, first, second) -> None:
    rng = np.random.default_rng(3)
    left, right, left_zero, right_zero = shapes
    a, b = _bytes(rng, left, first), _bytes(rng, right, second)
    a_zero, b_zero = _bytes(rng, left_zero, first), _bytes(rng, right_zero, second)
    assert a is not None
    assert b is not None
    # A vector loses its axis in the product, and rows of the other factor are then the last axis of the result.
    expected = np.matmul(_centred(a, a_zero, rows=True), _centred(b, b_zero)).astype(np.int32)
    for constants, opset in (((), 10), ((1,), 13), ((1, 2, 3), 21), ((2, 3), 21)):
        _check(*_model("MatMulInteger", (a, b, a_zero, b_zero), constants, np.int32, opset), expected)


def _convolved(x: Array, w: Array, group: int, pad: int) -> Array:
    """Exact sums of a convolution, from the centred integers."""
    spatial = x.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0), *[(pad, pad)] * spatial])
    parts: list[Array] = []
    for g in range(group):
        inside = padded[:, g * w.shape[1] : (g + 1) * w.shape[1]]
        windows = sliding_window_view(inside, w.shape[2:], tuple(range(2, x.ndim)))
        weights = w[g * len(w) // group : (g + 1) * len(w) // group]
        axes = (1, *range(x.ndim, 2 * x.ndim - 2))
        parts.append(np.moveaxis(np.tensordot(windows, weights, (axes, range(1, w.ndim))), -1, 1))
    return np.concatenate(parts, 1)


@pytest.mark.parametrize("spatial", [1, 2])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("zero_points", [None, (), (1,), (4,)])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_conv_integer(spatial, group, zero_points, first, second) -> None:
    rng = np.random.default_rng(4)
    x, w = _bytes(rng, (2, 6, *(5,) * spatial), first), _bytes(rng, (4, 6 // group, *(3,) * spatial), second)
    x_zero, w_zero = _bytes(rng, (), first), _bytes(rng, zero_points, second)
    assert x is not None
    assert w is not None
    across = None if w_zero is None or w_zero.size == 1 else w_zero.reshape(-1, *(1,) * (w.ndim - 1))
    centred = _centred(w, w_zero if across is None else across)
    expected = _convolved(_centred(x, x_zero), centred, group, 1).astype(np.int32)
    for constants, opset in (((), 10), ((1,), 13), ((1, 2, 3), 21)):
        attributes = {"group": group, "pads": [1] * 2 * spatial}
        _check(*_model("ConvInteger", (x, w, x_zero, w_zero), constants, np.int32, opset, **attributes), expected)


def _requantized(sums: Array, multiplier: Any, zero_point: Array) -> Array:
    """The formula of QLinearMatMul and QLinearConv in float32."""
    limits = np.iinfo(zero_point.dtype)
    levels = np.rint(sums.astype(np.float32) * multiplier) + zero_point.astype(np.float32)
    return np.clip(levels, limits.min, limits.max).astype(zero_point.dtype)


@pytest.mark.parametrize(
    "shapes", [s for s in _SHAPES if s[2] is not None and s[3] is not None and len(s[0]) > 1 and len(s[1]) > 1], ids=str
)
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_qlinear_matmul(shapes, first, second) -> None:
    rng = np.random.default_rng(5)
    left, right, left_zero, right_zero = shapes
    a, b = _bytes(rng, left, first), _bytes(rng, right, second)
    a_zero, b_zero, y_zero = _bytes(rng, left_zero, first), _bytes(rng, right_zero, second), _bytes(rng, (), first)
    assert a is not None
    assert b is not None
    assert y_zero is not None
    a_scale, b_scale = (np.asarray(rng.uniform(0.01, 0.03, s), np.float32) for s in (left_zero, right_zero))
    y_scale = np.asarray(0.7, np.float32)
    rows = a_scale[:, None] if a_scale.ndim == 1 and a_scale.size > 1 else a_scale
    sums = np.matmul(_centred(a, a_zero, rows=True), _centred(b, b_zero))
    expected = _requantized(sums, rows * b_scale / y_scale, y_zero).reshape(sums.shape)
    arrays = (a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)
    for constants, opset in (((), 13), ((1, 2, 4, 5, 6, 7), 21), ((1, 2, 3, 4, 5, 6, 7), 11)):
        _check(*_model("QLinearMatMul", arrays, constants, first, opset), expected)


@pytest.mark.parametrize("zero_points", [(), (1,), (4,)])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_qlinear_conv(zero_points, first, second) -> None:
    rng = np.random.default_rng(6)
    x, w = _bytes(rng, (2, 6, 5, 5), first), _bytes(rng, (4, 3, 3, 3), second)
    x_zero, y_zero, w_zero = _bytes(rng, (), first), _bytes(rng, (), first), _bytes(rng, zero_points, second)
    assert x is not None
    assert w is not None
    assert y_zero is not None
    assert w_zero is not None
    x_scale, y_scale = np.asarray(0.02, np.float32), np.asarray(1.7, np.float32)
    w_scale = np.asarray(rng.uniform(0.01, 0.03, zero_points), np.float32)
    across = w_zero.reshape(-1, 1, 1, 1) if w_zero.size > 1 else w_zero
    sums = _convolved(_centred(x, x_zero), _centred(w, across), 2, 1)
    multiplier = x_scale * w_scale / y_scale
    expected = _requantized(sums, multiplier.reshape(-1, 1, 1) if multiplier.size > 1 else multiplier, y_zero)
    arrays = (x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero)
    for constants in ((1, 2, 4, 5, 6, 7), (1, 2, 3, 4, 5, 6, 7), ()):
        _check(*_model("QLinearConv", arrays, constants, first, 13, group=2, pads=[1] * 4), expected)


def test_sums_of_32_bits_wrap_around() -> None:
    a, b = np.full((1, 70000), 255, np.uint8), np.full((70000, 1), 255, np.uint8)
    zero = np.full((1, 1), 0, np.uint8)
    expected = np.array([[70000 * 255 * 255]]).astype(np.int32)
    _check(*_model("MatMulInteger", (a, b, zero), (), np.int32, 13), expected)


def test_zero_points_of_the_rows_keep_samples_in_their_place() -> None:
    """Rows are samples: a batch of another size must not be run against the zero points of the first."""
    rng = np.random.default_rng(7)
    a, b = _bytes(rng, (4, 6), np.uint8), _bytes(rng, (6, 3), np.int8)
    zero = _bytes(rng, (2,), np.uint8)
    assert a is not None
    assert b is not None
    assert zero is not None
    proto, _ = _model("MatMulInteger", (a[:2], b, zero), (1, 2), np.int32, 13)
    expected = np.concatenate([_centred(part, zero, rows=True) @ b.astype(int) for part in (a[:2], a[2:])])
    for engine in ENGINES:
        np.testing.assert_array_equal(Session(proto, engine=engine).run({"i0": a})["y"], expected)


def test_products_in_subgraphs_are_exact_too() -> None:
    a, b = np.full((2, 8), 255, np.uint8), np.full((8, 2), 127, np.int8)
    zero = np.array([3, 200], np.uint8)
    product = helper.make_node("MatMulInteger", ["a", "b", "z"], ["t"])
    other = helper.make_node("Identity", ["c32"], ["e"])
    info = helper.make_tensor_value_info
    int32 = onnx.TensorProto.INT32
    then_branch = helper.make_graph([product], "then", [], [info("t", int32, None)])
    else_branch = helper.make_graph([other], "else", [], [info("e", int32, None)])
    node = helper.make_node("If", ["c"], ["y"], then_branch=then_branch, else_branch=else_branch)
    initializers = {"b": b, "z": zero, "c32": np.zeros((2, 2), np.int32)}
    graph = helper.make_graph(
        [node],
        "test",
        [info("a", onnx.TensorProto.UINT8, [2, 8]), info("c", onnx.TensorProto.BOOL, [])],
        [info("y", int32, None)],
        [numpy_helper.from_array(v, k) for k, v in initializers.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    expected = ((a.astype(int) - zero[:, None]) @ b.astype(int)).astype(np.int32)
    _check(proto, {"a": a, "c": np.array(True)}, expected)
