"""Fixed-point counting: right for every sum, or not found."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.exact.fixed_point import Ties, fixed_point, reached


def agrees(thresholds: np.ndarray, lo: int, hi: int) -> bool:
    """Whether something was found; it is tried on every sum."""
    ends = (np.full(len(thresholds), n, np.int64) for n in (lo, hi))
    found = fixed_point(thresholds, *ends)
    if found is None:
        return False
    sums = np.arange(lo, hi + 1)[:, None]
    counts = (sums[:, :, None] >= thresholds).sum(axis=2)
    np.testing.assert_array_equal(found.counts(sums, thresholds.shape[1]), counts)
    return True


@given(st.data())
def test_whatever_is_found_is_right_for_every_sum(data):
    count = data.draw(st.integers(1, 20))
    rows = data.draw(st.lists(st.lists(st.integers(-300, 300), min_size=count, max_size=count), min_size=1, max_size=3))
    agrees(np.sort(np.array(rows, np.int64), axis=1), -200, 200)


@given(st.floats(1e-3, 0.9), st.floats(-20, 20), st.integers(1, 255))
def test_thresholds_of_a_line_are_found(slope, offset, count):
    # Exactly: quotients in float64 that are whole, or not by a hair, belong to no line.
    places = [math.ceil((k - Fraction(offset)) / Fraction(slope)) for k in range(1, count + 1)]
    assert agrees(np.array([places], np.int64), -2000, 2000)


def test_thresholds_of_a_slope_that_is_no_binary_number_are_found():
    for slope, offset in itertools.product((0.1, 0.3, 0.7, 0.9, 1 / 3), (0.0, 0.1, -0.1, 5.0, -20.0)):
        places = [math.ceil((k - Fraction(offset)) / Fraction(slope)) for k in range(1, 256)]
        assert agrees(np.array([places], np.int64), -2000, 2000), (slope, offset)


@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("shift", [1, 2, 5])
def test_ties_to_even_are_found(zero, shift):
    sums = np.arange(-1000, 1001)
    levels = np.clip(np.rint(sums / 2.0**shift) + zero, -7, 8).astype(int) + 7
    thresholds = np.searchsorted(levels, np.arange(1, 16)) - 1000
    assert agrees(thresholds[None].astype(np.int64), -1000, 1000)
    found = fixed_point(thresholds[None].astype(np.int64), np.array([-1000]), np.array([1000]))
    assert found is not None
    assert found.ties is not Ties.UP or shift == 1


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=4), st.integers(-9, 9), st.integers(1, 40))
def test_what_rises_or_falls_is_known_by_its_thresholds(offsets, factor, divisor):
    shifts = np.array(offsets)

    def level(sums):
        return np.clip((factor * sums + shifts) // divisor, -3, 6)

    lo, hi = np.full(len(shifts), -60), np.full(len(shifts), 45)
    base, step, thresholds = reached(level, lo, hi)
    sums = np.arange(-60, 46)[:, None]
    counts = (sums[:, :, None] >= thresholds).sum(axis=2)
    np.testing.assert_array_equal(base + step * counts, level(sums))
