"""Fixed-point functions against the thresholds that they stand for, sum by sum."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anybit.exact.corners import Corners, widest_slope
from anybit.exact.fixed_point import fixed_point, reached
from tests.strategies import examples


@given(
    slopes=st.lists(st.floats(0.001, 3), min_size=1, max_size=3),
    offset=st.floats(-5, 5),
    count=st.integers(1, 15),
    half_even=st.booleans(),
    width=st.integers(1, 300),
)
@examples(150)
def test_every_sum_reaches_as_many_thresholds(slopes, offset, count, half_even, width):
    lo, hi = np.full(len(slopes), -width), np.full(len(slopes), width)
    sums = np.arange(-width, width + 1)[:, None]
    exact = sums * np.array(slopes) + offset
    levels = np.clip(np.rint(exact) if half_even else np.floor(exact), 0, count)
    thresholds = np.array([[np.append(sums[levels[:, c] >= k], width + 1)[0] for k in range(1, count + 1)]
                           for c in range(len(slopes))])  # fmt: skip
    found = fixed_point(thresholds, lo, hi)
    assert found is not None, "lines come from a line"
    np.testing.assert_array_equal(found.counts(sums, count), levels)


@given(st.lists(st.lists(st.integers(-40, 41), min_size=1, max_size=6), min_size=1, max_size=3).filter(
    lambda rows: len({len(r) for r in rows}) == 1))  # fmt: skip
@examples(200)
def test_what_is_found_for_any_thresholds_is_right(rows):
    thresholds = np.sort(np.array(rows), axis=1)
    lo, hi = np.full(len(rows), -40), np.full(len(rows), 40)
    found = fixed_point(thresholds, lo, hi)
    sums = np.arange(-40, 41)[:, None]
    if found is not None:
        wanted = (sums[:, :, None] >= thresholds).sum(axis=2)
        np.testing.assert_array_equal(found.counts(sums, thresholds.shape[1]), wanted)


@given(st.floats(-2, 2), st.integers(-3, 3), st.integers(1, 60))
@examples(100)
def test_thresholds_of_a_function_give_it_back(slope, offset, width):
    def level(sums):
        return np.floor(sums * slope).astype(np.int64) + offset

    lo, hi = np.array([-width]), np.array([width])
    base, step, thresholds = reached(level, lo, hi)
    sums = np.arange(-width, width + 1)[:, None]
    got = base + step * (sums[:, :, None] >= thresholds).sum(axis=2)
    np.testing.assert_array_equal(got, level(sums))


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=6, unique=True))
@examples(100)
def test_no_slope_has_more_room_than_the_widest(places):
    reach = np.sort(np.array([places], np.float64))
    corners = Corners(reach, reach - 1, np.arange(1.0, reach.shape[1] + 1)[None])
    widest, _ = corners.width(widest_slope(corners))
    others = [corners.width(np.array([k]))[0][0] for k in np.exp2(np.linspace(-8, 3, 400))]
    assert widest[0] >= max(others) - 1e-9 or max(others) < 0, "of slopes that leave room"
