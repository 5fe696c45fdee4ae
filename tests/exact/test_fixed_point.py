"""Fixed-point counting: right for every sum, or not found."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.exact.fixed_point import FixedPoint, Ties, fixed_point, reached


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


def _count(total: int, shift: int, ties: Ties, count: int) -> int:
    """The definition, by fractions: the largest number of levels that lie below, or a whole number that counts."""
    real = Fraction(total, 1 << shift)
    found = math.floor(real)
    if real == found and ties is not Ties.UP and found % 2 != (0 if ties is Ties.EVEN else 1):
        found -= 1
    return min(max(found, 0), count)


@pytest.mark.parametrize("ties", Ties)
def test_counts_are_those_of_the_definition(ties):
    for multiplier, bias, shift, count in itertools.product((0, 1, 5), (-7, 0, 3), (0, 1, 3), (0, 2, 9)):
        found = FixedPoint(np.array([multiplier]), np.array([bias]), shift, ties)
        sums = np.arange(-12, 13)[:, None]
        expected = [[_count(multiplier * int(s) + bias, shift, ties, count)] for s in sums[:, 0]]
        np.testing.assert_array_equal(found.counts(sums, count), expected)


@given(st.lists(st.integers(-30, 30), min_size=1, max_size=5), st.integers(-25, 0), st.integers(0, 25))
def test_no_smaller_bias_is_right_with_the_same_multiplier(places, lo, hi):
    thresholds = np.sort(np.array([places], np.int64), axis=1)
    found = fixed_point(thresholds, np.array([lo]), np.array([hi]))
    if found is None:
        return
    sums = np.arange(lo, hi + 1)[:, None]
    wanted = (sums[:, :, None] >= thresholds).sum(axis=2)
    least = abs(int(found.bias[0]))
    for bias in range(1 - least, least) if least < 1000 else ():
        other = FixedPoint(found.multiplier, np.array([bias]), found.shift, found.ties)
        assert (other.counts(sums, len(places)) != wanted).any()


@pytest.mark.parametrize("shift", [0, 1, 4])
def test_the_shift_is_the_smallest(shift):
    thresholds = 3 + (np.arange(1, 9) << shift)[None]
    found = fixed_point(thresholds, np.array([-200]), np.array([200]))
    assert found is not None
    assert (found.shift, found.multiplier.tolist()) == (shift, [1])


def test_thresholds_that_no_line_has_and_slopes_that_are_too_steep_are_not_found():
    ends = np.array([-100]), np.array([100])
    assert fixed_point(np.array([[0, 1, 50, 51]]), *ends) is None
    found = fixed_point(np.array([[5] * 9]), *ends)  # all at once: nine levels between two sums
    assert found is not None
    assert found.counts(np.array([[4], [5]]), 9).tolist() == [[0], [9]]
    never = fixed_point(np.array([[101, 200], [-150, -100]]), np.full(2, -100), np.full(2, 100))
    assert never is not None
    assert never.counts(np.array([[-100, -100], [100, 100]]), 2).tolist() == [[0, 2], [0, 2]]
    both = fixed_point(np.array([[0, 1, 50, 51], [1, 2, 3, 4]]), np.full(2, -100), np.full(2, 100))
    assert both is None, "all channels share a shift"
