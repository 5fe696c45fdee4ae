"""Lines through corners: where they have most room."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anybit.exact.corners import Corners, inside, lines_through, widest_slope
from tests.strategies import examples, seeds


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


def _most_room(corners: Corners) -> Fraction:
    """The most room that a rising line has: it is at the slope of a line through two corners, one from each side."""
    pairs = [
        (Fraction(float(h)), Fraction(float(p)), side)
        for places, side in ((corners.reach[0], 1), (corners.stay[0], -1))
        for h, p in zip(corners.height[0], places, strict=True)
        if np.isfinite(p)
    ]
    slopes = {Fraction(1, 2**30)}
    for (h, p, _), (g, q, _) in product(pairs, repeat=2):
        if p != q and (h - g) / (p - q) > 0:
            slopes.add((h - g) / (p - q))
    return max(
        min(h - k * p for h, p, side in pairs if side < 0) - max(h - k * p for h, p, side in pairs if side > 0)
        for k in slopes
    )


def _random_corners(rng: np.random.Generator, channels: int, levels: int) -> Corners:
    """Corners at small integers, some levels at one place, some always or never reached."""
    reach = np.sort(rng.integers(0, 12, (channels, levels)), axis=1).astype(np.float64)
    stay = reach - rng.integers(0, 4, (channels, levels))
    reach[:, -1] = np.where(rng.random(channels) < 0.2, np.inf, reach[:, -1])
    stay[:, 0] = np.where(rng.random(channels) < 0.2, -np.inf, stay[:, 0])
    return Corners(reach, stay, np.arange(levels)[None] + np.zeros((channels, 1)) + 0.5)


@given(seeds)
@examples(40)
def test_a_channel_has_lines_whatever_the_others_have(seed):
    """Some have room, some none, some a single line; what is found for all at once is what is found for each."""
    rng = np.random.default_rng(seed)
    levels = int(rng.integers(2, 7))
    corners = _random_corners(rng, 12, levels)
    together, widest = _lines(corners), widest_slope(corners)
    for channel in range(12):
        own = corners.of(np.array([channel]))
        if not (np.isfinite(own.reach).any() and np.isfinite(own.stay).any()):
            continue
        alone, most = _lines(own), _most_room(own)
        slopes = together.slopes[:, channel]
        np.testing.assert_allclose(slopes, alone.slopes[:, 0], rtol=1e-9)
        np.testing.assert_allclose(together.flattest[channel], alone.flattest[0], rtol=1e-9)
        np.testing.assert_allclose(together.steepest[channel], alone.steepest[0], rtol=1e-9)
        assert np.isnan(slopes).all() == (most < -(2.0**-12)), (own, most)
        if most > 1e-6:
            room = [own.width(np.array([k]))[0].item() for k in slopes if not np.isnan(k)]
            assert max(room) > 0
            assert min(room) > -1e-6
        np.testing.assert_allclose(widest[channel], widest_slope(own)[0], rtol=1e-9)


def test_all_levels_at_one_sum_are_met_by_a_line_that_is_steep_enough():
    for levels in (1, 2, 30):
        reach = np.full((2, levels), 5.0)
        corners = Corners(reach, reach - 1, np.arange(levels)[None] + np.zeros((2, 1)) + 0.5)
        lines = _lines(corners)
        assert not np.isnan(lines.slopes).any()
        assert (corners.width(lines.slopes[0])[0] >= 0).all()
        assert (lines.slopes > levels - 1 - 1e-6).all()


def test_a_level_that_is_always_or_never_reached_bounds_nothing():
    inf = np.inf
    low, high = Corners(np.float64([[3, inf]]), np.float64([[2, 9]]), np.float64([[0.5, 1.5]])).room(np.ones(1))
    assert (low.item(), high.item()) == (0.5 - 3, min(0.5 - 2, 1.5 - 9))
    empty = Corners(*(np.zeros((1, 0)) for _ in range(3))).room(np.ones(1))
    assert (empty[0].item(), empty[1].item()) == (-inf, inf)
    none = Corners(*(np.zeros((0, 3)) for _ in range(3))).width(np.zeros(0))
    assert [a.shape for a in none] == [(0,), (0,)]
