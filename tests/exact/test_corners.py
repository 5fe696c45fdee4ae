"""corners: the lines that are found meet all corners, none lies beyond their ends, and the others bound no room."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anybit.exact.corners import Corners, lines_through
from tests.strategies import examples, seeds


def _corners(rng, levels, *, jitter):
    """Corners of a line that is rounded to whole sums, each moved by up to `jitter` sums; some out of reach."""
    channels = 9
    slope, centre = np.exp2(rng.uniform(-9, 1, channels))[:, None], rng.uniform(-40, 40, channels)[:, None]
    height = np.arange(levels) - levels // 2 + 0.5
    place = np.ceil(height / slope + centre + rng.uniform(-jitter, jitter, (channels, levels)))
    place = np.maximum.accumulate(place, axis=1)
    lo, hi = (np.sort(rng.uniform(-1, 1, (2, channels)), axis=0) * 2 * np.abs(place).max(axis=1))[:, :, None]
    lo, hi = np.floor(lo), np.ceil(hi)
    reach = np.where(place > hi, np.inf, np.maximum(place, lo))
    stay = np.where(place <= lo, -np.inf, np.minimum(place - 1, hi))
    return Corners(reach, stay, np.broadcast_to(height, place.shape))


@given(seeds, st.sampled_from((1, 2, 15, 255)), st.sampled_from((0.0, 0.4, 3.0)))
@examples(150)
def test_few_corners_bound_the_room_as_all_do(seed, levels, jitter):
    corners = _corners(np.random.default_rng(seed), levels, jitter=jitter)
    lines = lines_through(corners)
    for slope in lines.slopes:
        known = ~np.isnan(slope)
        low, high = corners.of(known).room(slope[known])
        few = lines.binding.of(known).room(slope[known])
        np.testing.assert_allclose(few[0], low, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(few[1], high, rtol=1e-9, atol=1e-9)
        assert (high - low > -(2.0**-12) - 1e-9).all()


@given(seeds, st.sampled_from((2, 15, 255)), st.sampled_from((0.0, 0.4)))
@examples(150)
def test_no_line_beyond_the_ends_and_none_where_there_is_none(seed, levels, jitter):
    corners = _corners(np.random.default_rng(seed), levels, jitter=jitter)
    lines = lines_through(corners)
    has_lines = ~np.isnan(lines.slopes[0])
    for slope in np.exp2(np.linspace(-12, 4, 200)):
        low, high = corners.room(np.full(len(has_lines), slope))
        room = high - low > 1e-7
        assert not (room & ~has_lines & (slope > 2.0**-11)).any()
        beyond = (slope < lines.flattest * (1 - 1e-7)) | (slope > lines.steepest * (1 + 1e-7))
        assert not (room & beyond).any()
