"""requantise: what is found reproduces every level in float32; what was made by a bias and a multiplier is found."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.exact.corners import corners_of
from anybit.exact.requantization import LARGEST_BIAS, Requantization, reproduces, requantize
from anybit.exact.thresholds import Steps
from tests.strategies import examples, seeds


def _steps(levels, lo):
    """The steps of (channels, sums) rising levels, the first sum being lo."""
    first = levels[:, 0]
    count = int((levels[:, -1] - first).max())
    thresholds = np.full((len(levels), count), np.inf)
    for row, (own, start) in enumerate(zip(levels, first, strict=True)):
        for index in range(int(own[-1] - start)):
            thresholds[row, index] = lo + np.argmax(own >= start + 1 + index)
    size = np.ones(len(levels))
    return Steps(size, first, thresholds, lo * size, (lo + levels.shape[1] - 1.0) * size)


def _found(steps, zero_point, *, lowest, highest, room, whole=False):
    return requantize(corners_of(steps, zero_point, lowest=lowest, highest=highest), steps.sign, room=room, whole=whole)


def _requantized(found, sums, zero_point, lowest, highest):
    total = (found.factor[:, None] * sums + found.bias[:, None]).astype(np.float32)
    real = total * found.multiplier[:, None].astype(np.float32)
    return np.clip(np.rint(real) + zero_point[:, None], lowest, highest)


@given(seeds, st.sampled_from([(0, 15), (-2, 1), (-128, 127), (-1, 1), (0, 1)]), st.sampled_from((1, 7, 63)))
@examples(150)
def test_what_is_found_gives_every_level(seed, limits, room):
    rng = np.random.default_rng(seed)
    lo, width = int(rng.integers(-300, 50)), int(rng.integers(1, 400))
    sums = np.arange(lo, lo + width)
    slope = rng.uniform(0.2, 2.5, 12) * (limits[1] - limits[0]) / max(width, 4)
    centre = lo + rng.uniform(-0.2, 1.2, 12) * width
    zero_point = rng.integers(-2, 3, 12).astype(float)
    levels = np.clip(np.rint(slope[:, None] * (sums - centre[:, None])) + zero_point[:, None], *limits)
    found = _found(_steps(levels, lo), zero_point, lowest=limits[0], highest=limits[1], room=np.full(12, room))
    assert (np.abs(found.factor) <= room).all()
    assert (found.multiplier > 0).all()
    again = _requantized(found, sums, zero_point, *limits)
    np.testing.assert_array_equal(again[found.found], levels[found.found])
    if room == 63 and limits[1] - limits[0] < 20:
        assert found.found.mean() > 0.7


@given(seeds, st.sampled_from([(0, 15), (-8, 7), (-128, 127), (0, 255)]))
@examples(150)
def test_what_a_bias_and_a_multiplier_made_is_found_again(seed, limits):
    rng = np.random.default_rng(seed)
    lo, width = int(rng.integers(-300, 50)), int(rng.integers(2, 400))
    sums = np.arange(lo, lo + width)
    multiplier = np.exp2(rng.uniform(-8, -1, 12)).astype(np.float32)
    bias = rng.integers(-200, 200, 12)
    real = (sums + bias[:, None]).astype(np.float32) * multiplier[:, None]
    levels = np.clip(np.rint(real), *limits).astype(float)
    zero = np.zeros(12)
    found = _found(_steps(levels, lo), zero, lowest=limits[0], highest=limits[1], room=np.ones(12))
    np.testing.assert_array_equal(_requantized(found, sums, zero, *limits)[found.found], levels[found.found])
    assert found.found.all()


def test_two_levels_at_one_sum_need_a_factor():
    levels = np.array([[-1.0, -1, 1, 1]])
    for room, expected in ((1, False), (2, True)):
        found = _found(_steps(levels, -2), np.zeros(1), lowest=-1, highest=1, room=np.full(1, room))
        assert found.found.tolist() == [expected]


def test_a_channel_of_one_integer_has_any_line_and_no_warning():
    levels = np.array([[3.0], [-2.0], [0.0]])
    for lowest, highest in ((-2, 3), (0, 0), (-8, 7)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = _found(_steps(levels, 5), np.zeros(3), lowest=lowest, highest=highest, room=np.ones(3))
        made = _requantized(found, np.full((3, 1), 5.0), np.zeros(3), lowest, highest)
        np.testing.assert_array_equal(made[found.found], np.clip(levels, lowest, highest)[found.found])


def test_a_search_for_whole_layers_finds_the_same_and_stops_where_a_channel_has_none():
    ones, none = np.ones(2), np.zeros(2)
    line = Steps(ones, none, np.array([[3.0, 6.0, 9.0], [2.0, 4.0, 6.0]]), none, np.full(2, 12.0))
    bent = Steps(ones, none, np.array([[3.0, 6.0, 9.0], [2.0, 3.0, 90.0]]), none, np.full(2, 99.0))
    options = {"lowest": 0.0, "highest": 3.0, "room": np.full(2, 127.0)}
    wanted, given = (_found(line, np.zeros(2), **options, whole=w) for w in (False, True))
    assert wanted.found.all()
    assert all(np.array_equal(getattr(wanted, k), getattr(given, k)) for k in ("factor", "bias", "multiplier", "found"))
    assert _found(bent, np.zeros(2), **options).found.tolist() == [True, False]
    assert not _found(bent, np.zeros(2), **options, whole=True).found.all()


@given(seeds, st.sampled_from([(0, 15), (-2, 1), (-1, 1), (0, 1)]), st.sampled_from([1, 2, 5]))
@examples(60)
def test_a_line_reproduces_the_steps_exactly_where_all_of_its_levels_are_right(seed, limits, factor):
    rng = np.random.default_rng(seed)
    lo, width = int(rng.integers(-30, 5)), int(rng.integers(1, 40))
    sums = np.arange(lo, lo + width)
    bias, multiplier = rng.integers(-9, 10, 40).astype(float), np.float32(rng.choice([0.25, 0.3, 0.5, 0.7, 1.5], 40))
    zero_point = rng.integers(-1, 2, 40).astype(float)
    levels = np.rint((sums * factor + bias[:, None]).astype(np.float32) * multiplier[:, None]) + zero_point[:, None]
    levels = np.clip(levels, *limits)
    corners = corners_of(_steps(levels, lo), zero_point, lowest=limits[0], highest=limits[1])
    for other in (bias, bias + 1, bias - 1, rng.permutation(bias)):
        for chosen in (multiplier, np.nextafter(multiplier, np.float32(9)), rng.permutation(multiplier)):
            tried = Requantization(np.full(40, float(factor)), other, chosen, np.ones(40, np.bool_))
            right = (_requantized(tried, sums, zero_point, *limits) == levels).all(axis=1)
            np.testing.assert_array_equal(reproduces(corners, factor, other, chosen.astype(np.float64)), right)


@pytest.mark.parametrize("multiplier", [0.0, -0.5, np.inf, np.nan])
def test_a_multiplier_that_is_no_positive_number_reproduces_nothing(multiplier):
    corners = corners_of(_steps(np.array([[0.0, 0, 1, 1]]), 0), np.zeros(1), lowest=0, highest=1)
    assert reproduces(corners, 1, np.zeros(1), np.full(1, 0.3)).tolist() == [True]
    assert reproduces(corners, 1, np.zeros(1), np.full(1, multiplier)).tolist() == [False]


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_and_biases_that_float32_may_not_hold_are_refused(sign: int):
    """A step at a sum far away, which the bias brings near 0: neither the bias nor the sum beside it may be 2^24."""
    for away, right in ((int(LARGEST_BIAS) - 2, True), (int(LARGEST_BIAS), False)):
        step = Steps(np.ones(1), np.zeros(1), np.array([[1.0 - sign * away]]), np.full(1, -9e9), np.full(1, 9e9))
        corners = corners_of(step, np.zeros(1), lowest=0, highest=1)
        assert reproduces(corners, 1, np.full(1, float(sign * away)), np.full(1, 0.6)).tolist() == [right]


def test_what_is_found_of_some_channels_takes_their_places():
    old = Requantization(*np.ones((3, 3)), np.zeros(3, np.bool_))
    made = old.with_others(np.array([2, 0]), Requantization(*np.float64([[3, 4]] * 3), np.array([True, False])))
    for array in (made.factor, made.bias, made.multiplier):
        assert array.tolist() == [4, 1, 3]
    assert made.found.tolist() == [False, False, True]
    assert old.factor.tolist() == [1, 1, 1]
