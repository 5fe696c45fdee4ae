"""Containers: every way to hold the integers of a quantiser holds all of them, and the narrowest comes first."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.quantizers.containers import containers, span
from anybit.quantizers.quantizer import Quantizer
from tests.strategies import examples

_BOUNDS = {
    ir.DataType[f"{sign}INT{width}"]: (0, 2**width - 1) if sign else (-(2 ** (width - 1)), 2 ** (width - 1) - 1)
    for width in (2, 4, 8, 16, 32)
    for sign in ("", "U")
}
_WIDTHS = (2, 4, 8, 16, 32)


def _quantizer(lo, hi, zero_point=0) -> Quantizer:
    array = [np.asarray(a, np.float64) for a in (zero_point, lo, hi)]
    return Quantizer(np.ones((), np.float32), *array)


@given(st.integers(-40_000, 300), st.integers(0, 70_000), st.sampled_from([0, 0, 3, -5, 128, 1000]))
@examples(300)
def test_each_container_holds_the_integers_and_the_zero_point_and_no_more_than_a_clip_says(lo, length, zero_point):
    quantizer = _quantizer(lo, lo + length, zero_point)
    for held in containers(quantizer, _WIDTHS):
        bounds = _BOUNDS[held.dtype]
        stored = (lo - zero_point + int(held.offset), lo + length - zero_point + int(held.offset))
        assert bounds[0] <= stored[0] <= stored[1] <= bounds[1]
        assert bounds[0] <= held.offset <= bounds[1], "the zero point is of the type as well"
        assert held.dtype != ir.DataType.INT32 or held.offset == 0, "int32 has no zero point"
        assert held.clip == (None if stored == bounds else stored)


@given(st.integers(-40_000, 300), st.integers(0, 70_000), st.sampled_from([0, 0, 3, -5, 128, 1000]))
@examples(300)
def test_what_fits_a_type_with_a_zero_point_that_fits_is_found(lo, length, zero_point):
    """By trying in every type of the width the zero points that put the integers at its ends, 0 and their own."""
    quantizer = _quantizer(lo, lo + length, zero_point)
    low, high = lo - zero_point, lo + length - zero_point
    for width in _WIDTHS:
        fits = False
        for dtype in (d for d in _BOUNDS if d.bitwidth == width):
            least, most = _BOUNDS[dtype]
            for offset in {zero_point, 0, least - low, most - high}:
                inside = least <= low + offset <= high + offset <= most and least <= offset <= most
                fits |= inside and (dtype != ir.DataType.INT32 or offset == 0)
        assert fits == any(True for _ in containers(quantizer, (width,))), width


def test_the_narrowest_and_the_own_sign_and_zero_point_come_first():
    held = list(containers(_quantizer(0, 15), _WIDTHS))
    assert (held[0].dtype, int(held[0].offset), held[0].clip) == (ir.DataType.UINT4, 0, None)
    other = next(h for h in held if h.dtype == ir.DataType.INT4)
    assert (int(other.offset), other.clip) == (-8, None)
    assert [h.dtype.bitwidth for h in held] == sorted(h.dtype.bitwidth for h in held)
    first = next(containers(_quantizer(-8, 7, -8), (4,)))
    assert (first.dtype, int(first.offset)) == (ir.DataType.INT4, -8)
    assert next(containers(_quantizer(-3, 3), (4,))).clip == (-3, 3)
    for lo, sign in ((-1, ""), (0, "U")):
        assert next(containers(_quantizer(lo, 1), (4,))).dtype == ir.DataType[f"{sign}INT4"]


@pytest.mark.parametrize(("lo", "hi", "width"), [(0, 256, 8), (-1, 255, 8), (-129, 127, 8), (0, 16, 4)])
def test_what_no_type_holds_has_no_container(lo, hi, width):
    assert not list(containers(_quantizer(lo, hi), (width,)))


def test_bounds_by_channel_are_held_only_where_they_are_those_of_the_type():
    varying = _quantizer([0, 0], [15, 7])
    assert not list(containers(varying, (4, 8)))
    moved = _quantizer([0, -8], [15, 7])
    (unsigned, signed) = containers(moved, (4,))
    assert {unsigned.dtype, signed.dtype} == {ir.DataType.UINT4, ir.DataType.INT4}
    for held in (unsigned, signed):
        least, most = _BOUNDS[held.dtype]
        assert (moved.lo + held.offset == least).all()
        assert (moved.hi + held.offset == most).all()


def test_channels_that_begin_apart_are_moved_together():
    """As low as the type begins, but no lower than lets it hold each zero point: 0 or more, or -128 or more."""
    apart = _quantizer([2, 5], [17, 20])
    found = {h.dtype: (h.offset.tolist(), h.clip) for h in containers(apart, (8,)) if h.offset.ndim}
    assert found == {ir.DataType.UINT8: ([3, 0], (5, 20)), ir.DataType.INT8: ([-125, -128], (-123, -108))}
    below = _quantizer([-2, -5], [13, 10])
    found = {h.dtype: (h.offset.tolist(), h.clip) for h in containers(below, (8,)) if h.offset.ndim}
    assert found == {ir.DataType.UINT8: ([2, 5], (0, 15)), ir.DataType.INT8: ([-126, -123], (-128, -113))}


def test_a_span_is_read_as_integers():
    assert span(_quantizer([-8, -7], [3, 7])) == "-8 .. 7"
