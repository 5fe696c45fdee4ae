"""Sums and means along axes, against the sums of their bounds in exact arithmetic and the classical bound of errors."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from anybit.analysis.values.bounds.sums import averaged, mean_grid, rounded, summed, total
from anybit.analysis.values.tensor_values import IntegerGrid, TensorValues

FLOAT = np.dtype(np.float32)
UNIT, TINY, LARGEST = 2.0**-24, 2.0**-149, float(np.finfo(np.float32).max)


def _cases(seed: int, count: int):
    """Bounds that are multiples of 1/8 and told apart along some axes, the shape, and axes to add up along."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 4)))
        apart = [tuple(n if rng.random() < 0.6 else 1 for n in shape) for _ in range(2)]
        lo, hi = (np.round(rng.uniform(-9, 9, a) * 8) / 8 for a in apart)
        axes = [a for a in range(len(shape)) if rng.random() < 0.6]
        yield shape, TensorValues(np.minimum(lo, hi), np.maximum(lo, hi)), axes


def _exactly(bound, shape, axes):
    return np.broadcast_to(bound, shape).sum(axis=tuple(axes), keepdims=True)


@pytest.mark.parametrize("reduction", [summed, averaged])
def test_float_results_are_within_the_bound_of_errors_of_any_order(reduction):
    for shape, values, axes in _cases(1, 200):
        n = int(np.prod([shape[a] for a in axes]))
        share = 1 if reduction is summed else n
        found = reduction(values, axes, shape, FLOAT)
        for got, bound, side in ((found.lo, values.lo, -1), (found.hi, values.hi, 1)):
            exact = _exactly(bound, shape, axes) / share
            size = _exactly(np.abs(bound), shape, axes) / share
            beyond = side * (got - exact)
            assert (beyond >= (n - 1) * UNIT * size).all(), (shape, axes)
            most = 0 if n == 1 else (n + 2.01) * UNIT * size + np.where(size > 0, 2 * TINY, 0)
            assert (beyond <= most).all(), (shape, axes)
        assert found.grid is None


@pytest.mark.parametrize("reduction", [summed, averaged])
def test_the_integers_behind_a_sum_are_added_up(reduction):
    rng = np.random.default_rng(2)
    for shape, values, axes in _cases(3, 200):
        low, high = np.floor(values.lo), np.ceil(values.hi)
        along = tuple(1 if a in axes else n for a, n in enumerate(shape))
        scale = np.exp2(rng.integers(-3, 3, along))
        zero_point = rng.integers(-2, 3, rng.choice([(1,) * len(shape), along])).astype(np.float64)
        found = reduction(
            TensorValues(values.lo, values.hi, IntegerGrid(scale, zero_point, low, high)), axes, shape, FLOAT
        )
        assert found.grid is not None
        n = int(np.prod([shape[a] for a in axes]))
        for got, integer in zip(found.grid.ends, (low, high), strict=True):
            real = _exactly(scale * (integer - zero_point), shape, axes)
            np.testing.assert_allclose(got, real / (1 if reduction is summed else n), rtol=1e-12)
        assert found.grid.datatype is None


def test_scales_that_differ_along_the_axis_have_no_common_integers():
    values = TensorValues(np.zeros((1, 1)), np.ones((1, 1)))
    grid = IntegerGrid(np.float64([[1, 2]]), np.zeros((1, 1)), np.zeros((1, 1)), np.ones((1, 1)))
    apart = TensorValues(values.lo, values.hi, grid)
    assert summed(apart, [1], (3, 2), FLOAT).grid is None
    assert averaged(apart, [1], (3, 2), FLOAT).grid is None
    kept = summed(apart, [0], (3, 2), FLOAT).grid
    assert kept is not None
    assert (kept.scale.tolist(), kept.hi.tolist()) == ([[1, 2]], [[3]])


def test_a_fraction_as_zero_point_is_added_up_with_the_integers():
    one = np.ones((1, 1))
    values = TensorValues(-one, one, IntegerGrid(2 * one, 0.25 * one, -3 * one, 5 * one))
    grid = summed(values, [1], (1, 3), FLOAT).grid
    assert grid is not None
    assert [float(a.item()) for a in (grid.scale, grid.zero_point, grid.lo, grid.hi)] == [2, 0.75, -9, 15]


def test_an_axis_of_any_length_leaves_sums_of_zeros_alone_bounded():
    for lo, hi, expected in ((0, 0, (0, 0)), (0, 1, (0, np.inf)), (-1, 0, (-np.inf, 0)), (1, 2, (0, np.inf))):
        values = TensorValues(np.full((1, 1), float(lo)), np.full((1, 1), float(hi)))
        found = summed(values, [0, 1], (None, 3), FLOAT)
        assert (found.lo.item(), found.hi.item()) == expected
        assert found.grid is None


def test_a_mean_along_an_axis_of_any_length_is_between_the_bounds_but_for_many_roundings():
    values = TensorValues(np.full((1, 1), 2.0), np.full((1, 1), 3.0), None)
    found = averaged(values, [0, 1], (None, 3), FLOAT)
    error = 2.0**16 * UNIT
    assert 2 * (1 - 1.01 * error) < found.lo.item() <= 2 * (1 - error)
    assert 3 * (1 + error) <= found.hi.item() < 3 * (1 + 1.01 * error)
    grid = IntegerGrid(*(np.full((1, 1), float(n)) for n in (1, 0, 2, 3)))
    assert averaged(TensorValues(values.lo, values.hi, grid), [0], (None, 3), FLOAT).grid is None
    assert averaged(TensorValues(values.lo, values.hi, grid), [1], (None, 3), FLOAT).grid is not None
    large = TensorValues(np.zeros((1, 1)), np.full((1, 1), LARGEST / 2**17))
    assert averaged(large, [0], (None,), FLOAT).is_bounded
    assert averaged(TensorValues(large.lo, 4 * large.hi), [0], (None,), FLOAT).hi.item() == np.inf


def test_sums_of_zeros_are_zero_and_those_of_the_smallest_numbers_are_held():
    zero = TensorValues(np.zeros((1,)), np.zeros((1,)))
    for reduction in (summed, averaged):
        found = reduction(zero, [0], (7,), FLOAT)
        assert (found.lo.item(), found.hi.item()) == (0, 0)
    least = np.float64([TINY, 0])
    found = averaged(TensorValues(least, least), [0], (2,), FLOAT)  # half of it is no float32
    assert found.lo.item() <= 0
    assert found.hi.item() >= TINY
    mirrored = averaged(TensorValues(-least, -least), [0], (2,), FLOAT)
    assert (mirrored.lo.item(), mirrored.hi.item()) == (-found.hi.item(), -found.lo.item())


def test_partial_sums_that_overflow_have_no_bound_on_their_side():
    lo, hi = np.float64([[-0.9, -0.9, 0.5]]) * LARGEST, np.float64([[-0.8, 0.2, 0.7]]) * LARGEST
    found = summed(TensorValues(lo, hi), [1], (1, 3), FLOAT)
    assert found.lo.item() == -np.inf
    assert np.isfinite(found.hi.item())
    mirrored = summed(TensorValues(-hi, -lo), [1], (1, 3), FLOAT)
    assert np.isfinite(mirrored.lo.item())
    assert mirrored.hi.item() == np.inf
    alone = summed(TensorValues(np.float64([[-LARGEST]]), np.float64([[LARGEST]])), [1], (1, 1), FLOAT)
    assert (alone.lo.item(), alone.hi.item()) == (-LARGEST, LARGEST)


def test_more_roundings_than_the_type_has_units_bound_nothing():
    one = np.ones((1,))
    half = TensorValues(one, one)
    found = rounded(half, [one, one], [0 * one, one], 2**23, FLOAT)
    assert (found.lo.item(), found.hi.item()) == (pytest.approx(0, abs=1e-6), pytest.approx(2))
    for roundings in (2**24, 2**25):
        found = rounded(half, [one, one], [0 * one, one], roundings, FLOAT)
        assert not found.is_bounded
    exact = rounded(half, [one, one], [one * 1e300, one * 1e300], 0, FLOAT)
    assert (exact.lo.item(), exact.hi.item()) == (1, 1)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_sums_of_integers_are_exact(dtype):
    lo, hi = np.float64([[1], [2]]), np.float64([[5], [7]])
    found = summed(TensorValues(lo, hi), [0, 1], (2, 3), np.dtype(dtype))
    assert (found.lo.item(), found.hi.item()) == (9, 36)
    mean = averaged(TensorValues(lo, hi), [0], (2, 3), np.dtype(dtype))
    assert (mean.lo.item(), mean.hi.item()) == (1, 6)
    assert mean.grid is not None
    assert (mean.grid.lo.item(), mean.grid.hi.item()) == (1, 6)
    wraps = averaged(TensorValues(lo, np.full((2, 1), float(np.iinfo(dtype).max))), [0], (2, 3), np.dtype(dtype))
    assert (wraps.lo.item(), wraps.hi.item()) == (-np.inf, np.inf)


def test_sums_beyond_the_integers_of_float64_are_widened_outward():
    huge = TensorValues(np.full((1,), -(2.0**53) - 2), np.full((1,), 2.0**53 + 2))
    found = summed(huge, [0], (1,), np.dtype(np.int64))
    assert found.lo.item() < huge.lo.item()
    assert found.hi.item() > huge.hi.item()


def test_totals_along_axes_that_are_told_apart_or_not():
    bound = np.float64([[1, 2, 3]])
    for sizes in ({0: 4, 1: 3}, {0: 4}, {1: 3}, {}):
        expected = _exactly(bound, (4, 3), sizes) if 0 in sizes else bound.sum(axis=tuple(sizes), keepdims=True)
        np.testing.assert_array_equal(total(bound, sizes), expected)
    assert total(np.zeros((1,)), {0: None}).item() == 0
    assert total(-np.ones((1,)), {0: None}).item() == -np.inf
    assert total(np.full((1,), np.inf), {0: 0}).item() == 0


def test_the_grid_of_a_mean_is_that_of_the_sum_less_the_count():
    grid = IntegerGrid(np.float64(0.5), np.float64(0), np.float64(-3), np.float64(6))
    found = mean_grid(grid, 4)
    assert found is not None
    assert (found.scale.item(), found.lo.item(), found.hi.item()) == (0.125, -3, 6)
    assert mean_grid(None, 4) is None


def test_every_order_of_a_float_sum_is_within_the_bounds():
    """Of four numbers that cancel, in all orders; and their mean."""
    numbers = np.float32([1e8, 1.0, -1e8, 0.3])
    point = numbers.astype(np.float64)
    sums, means = (
        summed(TensorValues(point, point), [0], (4,), FLOAT),
        averaged(TensorValues(point, point), [0], (4,), FLOAT),
    )
    exact = sum(map(Fraction, point.tolist()))
    assert sums.lo.item() <= exact <= sums.hi.item()
    for order in itertools.permutations(numbers):
        one = order[0]
        for other in order[1:]:
            one = one + other
        assert sums.lo.item() <= float(one) <= sums.hi.item()
        assert means.lo.item() <= float(one / np.float32(4)) <= means.hi.item()
