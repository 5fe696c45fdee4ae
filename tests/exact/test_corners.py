"""Lines through corners: where they have most room."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anybit.exact.corners import Corners, inside, lines_through, widest_slope
from tests.strategies import examples


def _lines(corners):
    return lines_through(corners, inside(corners))


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=6, unique=True))
@examples(100)
def test_no_slope_has_more_room_than_the_widest(places):
    reach = np.sort(np.array([places], np.float64))
    corners = Corners(reach, reach - 1, np.arange(1.0, reach.shape[1] + 1)[None])
    widest, _ = corners.width(widest_slope(corners))
    most = max(corners.width(np.array([k]))[0][0] for k in np.exp2(np.linspace(-8, 3, 400)))
    assert widest[0] >= most - 1e-9 or most < 0, "of slopes that leave room"


@given(st.lists(st.integers(1, 9), min_size=2, max_size=9), st.floats(-3, 1.5), st.integers(-40, 40), st.booleans())
@examples(200)
def test_lines_are_those_that_have_room(gaps, exponent, offset, on_a_line):
    """Of many slopes, tried one by one: none with room is left out, and the binding corners leave the same room."""
    if on_a_line:  # thresholds of a line that exists
        slope = 2.0**exponent
        reach = np.ceil((np.arange(1.0, len(gaps) + 1) - 0.5 - offset * slope) / slope)[None]
    else:
        reach = np.cumsum(np.array([gaps], np.float64), axis=1) + offset
    corners = Corners(reach, reach - 1, np.arange(reach.shape[1])[None] + 0.5)
    lines = _lines(corners)
    flattest, steepest = lines.flattest[0], lines.steepest[0]
    tried = np.exp2(np.linspace(-12, 4, 1500))
    width = np.array([corners.width(np.array([k]))[0][0] for k in tried])
    roomy = tried[width > 1e-6]
    assert (flattest * (1 - 1e-9) <= roomy).all()
    assert (roomy <= steepest * (1 + 1e-9)).all()
    slopes = lines.slopes[~np.isnan(lines.slopes)]
    assert slopes.size or not roomy.size
    if roomy.size:
        assert len({*slopes.tolist()}) > 1
        assert all(corners.width(np.array([k]))[0][0] >= -1e-6 for k in slopes if flattest and np.isfinite(steepest))
    for k in (*roomy, *slopes):
        low, high = corners.room(np.array([k]))
        bound_low, bound_high = lines.binding.room(np.array([k]))
        assert (bound_low >= low - 1e-9).all() or (bound_low > bound_high).all()
        assert (bound_high <= high + 1e-9).all() or (bound_low > bound_high).all()


def test_a_channel_without_a_line_has_no_slopes_and_does_not_disturb_the_others():
    reach = np.array([[1.0, 2, 9, 10, 11], [2, 4, 6, 8, 10]])  # steep, flat and steep again; a line
    both = _lines(Corners(reach, reach - 1, np.arange(5.0)[None] + np.zeros((2, 1))))
    assert np.isnan(both.slopes[:, 0]).all()
    line = Corners(reach[1:], reach[1:] - 1, np.arange(5.0)[None])
    alone = _lines(line)
    np.testing.assert_array_equal(both.slopes[:, 1], alone.slopes[:, 0])
    assert alone.flattest < 0.5 < alone.steepest
    assert all(line.width(slope)[0] >= 0 for slope in alone.slopes)


def test_where_one_slope_alone_leaves_room_it_is_tried_once():
    """Values of 0.5 at 0 and 1.5 at 10, at which a level is reached and not reached: a line that meets ties."""
    places, height = np.array([[0.0, 10.0], [0.0, 8.0]]), np.array([[0.5, 1.5]] * 2)
    lines = _lines(Corners(places, places, height))
    np.testing.assert_allclose(lines.slopes[0], [0.1, 0.125], rtol=1e-9)
    assert np.isnan(lines.slopes[1:]).all()
    assert (lines.flattest == 0).all()
    assert np.isinf(lines.steepest).all()


def test_slopes_are_tried_from_the_middle_outwards():
    reach = np.array([[2.0, 4, 6, 8, 10]])
    lines = _lines(Corners(reach, reach - 1, np.arange(5.0)[None]))
    tried = np.log2(lines.slopes[:, 0])
    ends = np.array([tried.min(), tried.max()])
    away = np.abs(tried - ends.mean())
    assert (np.diff(away) >= -1e-9).all()
    assert away[0] < 1e-9
    assert ends[0] < -1 < ends[1]
    np.testing.assert_allclose(np.sort(tried), np.linspace(*ends, len(tried)))
