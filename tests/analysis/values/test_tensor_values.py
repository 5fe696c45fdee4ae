"""Values of tensors: grids and hulls against all of their numbers, and bounds that are kept short."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from anybit.analysis.values.tensor_values import (
    LARGEST_INTEGER,
    IntegerGrid,
    TensorValues,
    bounded,
    channel_axis,
    checked_grid,
    common_grid,
    compressed,
    fits,
    hull,
    integers,
    limited,
    of_constant,
    of_dtype,
    of_integers,
    smallest_format,
    summarised,
    wrapped,
)
from anybit.number_formats import FixedFormat, FloatFormat, IntFormat, ScaledIntFormat
from tests.strategies import Array


def _grid(scale: Any = 1.0, zero_point: Any = 0.0, lo: Any = -2.0, hi: Any = 3.0, **options: Any) -> IntegerGrid:
    return IntegerGrid(*(np.asarray(a, np.float64) for a in (scale, zero_point, lo, hi)), **options)


def _numbers(grid: IntegerGrid) -> Array:
    return grid.scale * (np.arange(grid.lo, grid.hi + 1) - grid.zero_point)


@pytest.mark.parametrize("lo", range(-9, 10))
def test_the_smallest_format_is_the_first_that_holds_both(lo: int):
    for hi in range(lo, 18):
        wanted = next(
            (bits, signed)
            for bits, signed in itertools.product(range(1, 8), [lo < 0])
            if (-(1 << bits - 1) if signed else 0) <= lo and hi <= ((1 << bits - 1) - 1 if signed else (1 << bits) - 1)
        )
        found = smallest_format(lo, hi)
        assert (found.bits, found.signed) == wanted


def test_integers_of_a_grid_are_the_declared_ones_but_not_in_products_of_reals():
    plain = _grid(lo=[1.0, 2.0], hi=[2.0, 4.0])
    assert plain.integers == plain.multiplied == plain.smallest == IntFormat(3, signed=False)
    assert _grid(lo=-9.0, hi=-2.0).smallest == IntFormat(5, signed=True)
    wide = IntFormat(8, signed=True)
    assert _grid(datatype=wide).integers == _grid(datatype=wide).multiplied == wide
    for real in (FloatFormat(4, 3, 7), FixedFormat(4, 2), ScaledIntFormat(8)):
        assert _grid(datatype=real).integers == real
        assert _grid(datatype=real).multiplied == IntFormat(3, signed=True)


@pytest.mark.parametrize("zero_point", [0.0, 2.0, -1.0, 0.5, [0.0, 3.0], [0.0, 0.5]])
def test_a_centred_grid_has_the_same_numbers(zero_point: Any):
    grid = _grid(0.25, zero_point)
    centred = grid.centred()
    assert grid.is_centred == (centred is not None) == (0.5 not in np.ravel(zero_point))
    if centred is not None:
        assert not centred.zero_point.any()
        np.testing.assert_array_equal(centred.ends, grid.ends)


@pytest.mark.parametrize(
    ("parts", "legal"),
    [
        ({}, True),
        ({"lo": -LARGEST_INTEGER, "hi": LARGEST_INTEGER}, True),
        ({"lo": [-LARGEST_INTEGER - 2, 0]}, False),
        ({"hi": [0, LARGEST_INTEGER + 2]}, False),
        ({"lo": -np.inf}, False),
        ({"scale": [1, 0]}, False),
        ({"scale": [1, np.inf]}, False),
        ({"zero_point": [0, np.inf]}, False),
        ({"scale": 5e-324, "zero_point": 0.5}, True),
    ],
)
def test_a_grid_is_of_integers_that_float64_holds(parts: dict[str, Any], legal: bool):
    assert (checked_grid(_grid(**parts)) is not None) is legal


def test_bounds_that_are_no_number_are_none():
    values = bounded([np.nan, 1], [2, np.nan], _grid(hi=np.inf))
    assert (values.lo.tolist(), values.hi.tolist(), values.grid) == ([-np.inf, 1], [2, np.inf], None)
    assert not values.is_bounded
    assert not bounded(0, np.inf).is_bounded
    assert not bounded(-np.inf, 0).is_bounded
    assert bounded([0, 1], [0, 1]).is_point
    assert not bounded([0, 1], [0, 2]).is_point


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
def test_integers_that_leave_their_type_become_any_of_it(dtype: Any):
    info, kind = np.iinfo(dtype), np.dtype(dtype)
    whole = of_dtype(kind)
    assert (whole.lo, whole.hi) == (info.min, info.max)
    inside = integers(info.min, info.max)
    assert wrapped(inside, kind) is inside
    for outside in (integers(info.min - 1, info.max), integers(info.min, info.max + 1), integers(0, [0, info.max + 1])):
        assert not fits(outside, kind)
        assert wrapped(outside, kind) == whole
        assert fits(outside, np.dtype(np.float32))
    for grid in (_grid(lo=info.min, hi=info.max + 1), _grid(lo=info.min - 1, hi=info.max)):
        assert not fits(bounded(0, 0, grid), kind)


def test_types_that_are_no_integers_bound_nothing_but_truth_values():
    assert (of_dtype(np.dtype(np.bool_)).lo, of_dtype(np.dtype(np.bool_)).hi) == (0, 1)
    for dtype in (None, np.dtype(np.float32)):
        assert (of_dtype(dtype).lo, of_dtype(dtype).hi) == (-np.inf, np.inf)


def test_bounds_of_int64_go_outward_where_float64_leaves_out_integers():
    ends = [-LARGEST_INTEGER - 2, -LARGEST_INTEGER, LARGEST_INTEGER, LARGEST_INTEGER + 2]
    values = of_integers(bounded(ends, ends), np.dtype(np.int64))
    for number, lo, hi in zip(ends, values.lo, values.hi, strict=True):
        exact = abs(number) <= LARGEST_INTEGER
        assert (lo == number == hi) if exact else (int(lo) <= int(number) - 1 and int(number) + 1 <= int(hi))
    for dtype in (np.int32, np.float64):
        np.testing.assert_array_equal(of_integers(bounded(ends, ends), np.dtype(dtype)).lo, ends)


@pytest.mark.parametrize("shape", [(4096,), (5000,), (64, 64), (64, 65), (1, 5000), (4097, 1)])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_a_constant_is_bounded_by_itself_where_it_is_short(shape: tuple[int, ...], dtype: Any):
    array = np.random.default_rng(0).integers(-99, 99, shape).astype(dtype)
    values = of_constant(array)
    if array.size <= 4096 or max(shape) == array.size:
        np.testing.assert_array_equal(values.lo, array)
        np.testing.assert_array_equal(values.hi, array)
    else:
        assert (values.lo, values.hi) == (array.min(), array.max())
    assert values.constant is array
    assert (values.grid is not None) == (dtype is np.int32)
    if values.grid is not None:
        np.testing.assert_array_equal(values.grid.ends, (values.lo, values.hi))


def test_constants_without_elements_and_of_text():
    empty = of_constant(np.zeros((0, 3), np.float32))
    assert (empty.lo, empty.hi) == (0, 0)
    text = of_constant(np.array(["a"], object))
    assert (text.lo, text.hi) == (-np.inf, np.inf)


@pytest.mark.parametrize(("rank", "axis"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1)])
def test_channels_are_the_second_axis_of_three_else_the_last(rank: int, axis: int):
    assert channel_axis(rank) == axis


@pytest.mark.parametrize(
    ("shape", "bound", "kept"),
    [
        ((64, 64), (64, 64), (64, 64)),
        ((65, 64), (65, 64), (1, 64)),
        ((5, 30, 30), (5, 30, 30), (1, 30, 1)),
        ((5, 30, 30), (30, 30), (30, 30)),
        ((9, 70, 70), (70, 70), (70, 1)),
        ((9, 5000, 2), (5000, 1), (5000, 1)),
        ((30,), (5, 30), ()),
        (None, (30,), ()),
    ],
)
def test_bounds_that_tell_many_elements_apart_keep_the_channels(shape: Any, bound: Any, kept: tuple[int, ...]):
    lo = np.random.default_rng(0).integers(-99, 99, bound).astype(np.float64)
    found = limited(TensorValues(lo, lo + 1, _grid(lo=lo, hi=lo + 1)), shape)
    axes = tuple(range(lo.ndim)) if not kept else tuple(a for a in range(lo.ndim) if lo.shape[a] != kept[a])
    least, most = lo.min(axis=axes, keepdims=bool(kept)), (lo + 1).max(axis=axes, keepdims=bool(kept))
    for low, high in ((found.lo, found.hi), (found.grid.lo, found.grid.hi)):
        np.testing.assert_array_equal(low, least)
        np.testing.assert_array_equal(high, most)
        assert low.shape == high.shape == kept


def test_scales_are_kept_whole_or_not_at_all():
    scale = np.arange(1.0, 66 * 64 + 1).reshape(66, 64)
    for parts in ({"scale": scale}, {"zero_point": scale}):
        assert limited(bounded(0, 1, _grid(**parts)), (66, 64)).grid is None
        assert limited(bounded(0, 1, _grid(**{k: v[:64] for k, v in parts.items()})), (64, 64)).grid is not None
        assert limited(bounded(0, 1, _grid(**{k: v[:2] for k, v in parts.items()})), (64,)).grid is None
        assert limited(bounded(0, 1, _grid(**{k: v[:2] for k, v in parts.items()})), None).grid is None
        long = limited(bounded(0, 1, _grid(**{k: v.reshape(-1, 1) for k, v in parts.items()})), (66 * 64, 2))
        assert long.grid is not None
    assert limited(bounded(0, 1, _grid(scale=np.full((66, 64), 2.0))), None).grid.scale.shape == ()


def test_what_is_read_no_more_is_kept_by_channel():
    values = of_constant(np.arange(20.0 * 20).reshape(20, 20))
    found = summarised(values, (20, 20))
    assert found.constant is None
    assert (found.lo.tolist(), found.hi.tolist()) == ([[*range(20)]], [[*range(380, 400)]])
    np.testing.assert_array_equal(summarised(of_constant(np.arange(256.0).reshape(16, 16)), (16, 16)).lo.ravel(),
                                  np.arange(256))  # fmt: skip


def test_entries_that_are_equal_along_an_axis_are_one():
    array = np.arange(6.0).reshape(2, 1, 3)
    for shape, expected in (((2, 4, 3), (2, 1, 3)), ((5, 2, 1, 3), (1, 2, 1, 3))):
        found = compressed(np.broadcast_to(array, shape))
        assert found.shape == expected
        np.testing.assert_array_equal(np.broadcast_to(found, shape), np.broadcast_to(array, shape))
    assert compressed(np.ones((3, 4))).shape == (1, 1)
    assert compressed(array[:1, :, :1]).shape == (1, 1, 1)


_SCALES, _ZERO_POINTS = (1.0, 0.5, 3.0, 0.75), (0.0, 2.0, 0.5, -0.25)


def test_a_common_grid_has_all_numbers_of_each():
    """Wherever scales are multiples of the least, and the zero points are whole steps of it apart."""
    for (s, z), (t, w) in itertools.product(itertools.product(_SCALES, _ZERO_POINTS), repeat=2):
        one, other = _grid(s, z), _grid(t, w, -1.0, 6.0)
        found = common_grid([one, other])
        step = min(s, t)
        expected = max(s, t) % step == 0 and ((s * z - t * w) / step) % 1 == 0
        assert (found is not None) == expected, (s, z, t, w)
        if found is None:
            continue
        assert found[0].scale == found[1].scale == step
        assert found[0].zero_point == found[1].zero_point
        for grid, own in zip(found, (one, other), strict=True):
            np.testing.assert_array_equal(grid.ends, own.ends)
        joined = hull([bounded(*one.ends, one), bounded(*other.ends, other)])
        every = np.concatenate([_numbers(one), _numbers(other)])
        assert (joined.lo, joined.hi) == (every.min(), every.max())
        np.testing.assert_array_equal(joined.grid.ends, (every.min(), every.max()))
        assert {*every} <= {*_numbers(joined.grid)}


def test_scales_that_float32_rounds_are_one_and_others_are_not():
    one = _grid(1.0)
    assert common_grid([one, _grid(3 * (1 + 2.0**-23))]) is not None
    assert common_grid([one, _grid(3 * (1 + 2.0**-21))]) is None
    assert common_grid([]) is None
    assert common_grid([one, None]) is None
    assert common_grid([_grid([1.0, 2.0]), _grid([1.0, 2.0, 3.0])]) is None


def test_a_hull_keeps_a_format_that_all_parts_declare():
    byte, nibble = IntFormat(8, signed=True), IntFormat(4, signed=True)
    for formats, expected in (((byte, byte), byte), ((byte, nibble), None), ((byte, None), None)):
        joined = hull([bounded(-2, 3, _grid(datatype=f)) for f in formats])
        assert joined.grid.datatype == expected
    assert hull([bounded(-2, 3, _grid(datatype=byte)), bounded(0, 9)]).grid is None
    assert hull([bounded(0, 9)]).hi == 9
