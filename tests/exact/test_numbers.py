"""Where chains begin: what whole numbers stand for, and between which floats a model may be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.exact.numbers import Floats, Integers
from tests.strategies import examples

_VALUE = ir.Value(name="sums")
_scales = st.floats(2.0**-20, 8.0, width=32)


@given(st.integers(-5000, 5000), _scales, st.integers(1, 49), st.none() | st.integers(-40, 40))
@examples(200)
def test_a_number_stands_for_its_share_of_the_scale_and_the_bias(k, scale, divisor, bias):
    zeros = None if bias is None else np.full(1, float(bias))
    numbers = Integers(_VALUE, 1, np.float64([scale]), np.zeros(1), np.zeros(1), bias=zeros, divisor=float(divisor))
    exact = Fraction(k) * Fraction(scale) / divisor + (bias or 0)
    (found,) = numbers.reals(np.float64([[k]])).ravel()
    assert found == np.float32(float(exact)) or abs(Fraction(float(found)) - exact) <= abs(exact) * Fraction(1, 1 << 23)
    assert found.dtype == np.float32
    assert [float(e) for (e,) in (end.ravel() for end in numbers.ends(np.float64([[k]])))] == [float(found)] * 2


@given(st.integers(-5000, 5000), _scales, st.sampled_from([0.0, 1e-6, 1e-3]), st.sampled_from([0.0, 0.5, 2.0]))
@examples(200)
def test_the_ends_leave_room_for_every_error(k, scale, relative, steps):
    numbers = Integers(
        _VALUE, None, np.asarray(scale), np.zeros(()), np.zeros(()), relative_error=relative, step_error=steps
    )
    low, high = (float(e.reshape(())) for e in numbers.ends(np.float64([[k]])))
    exact = k * scale
    for share in (-1, 1):
        departed = np.float32(exact + share * (abs(exact) * relative + scale * steps))
        assert low <= departed <= high


def test_channels_have_their_own_scale():
    numbers = Integers(_VALUE, 1, np.float64([0.5, 2.0]), np.zeros(2), np.zeros(2), bias=np.float64([1.0, -1.0]))
    np.testing.assert_array_equal(numbers.reals(np.float64([[2, 3], [4, 5]])), [[2.0, 5.0], [3.0, 9.0]])


@pytest.mark.parametrize(("relative", "steps", "exact"), [(0.0, 0.0, True), (1e-6, 0.0, False), (0.0, 0.5, False)])
def test_numbers_are_exact_where_neither_error_is_stated(relative, steps, exact):
    ends = np.zeros(1), np.ones(1)
    numbers = Integers(_VALUE, 1, np.float64([0.5]), *ends, divisor=4.0, relative_error=relative, step_error=steps)
    assert numbers.is_exact == exact
    assert numbers.unit == 0.125


def test_real_numbers_are_their_ordinals_between_the_largest_ones():
    floats = Floats(_VALUE)
    assert floats.axis is None
    assert floats.scale == [1.0]
    np.testing.assert_array_equal(floats.reals(np.float64([-1, 0, 1])), np.float32([-(2.0**-149), 0, 2.0**-149]))
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(floats.reals(np.stack([floats.lo, floats.hi])), [[-largest], [largest]])
    assert np.isinf(floats.reals(floats.hi + 1)).all()
