"""Bounds of monotone functions, and margins for roundings, against numbers on either side."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from anybit.analysis.values.bounds.corners import of_corners, outward, widened
from anybit.analysis.values.bounds.curves import loosened
from anybit.analysis.values.tensor_values import IntegerGrid, TensorValues, bounded

FLOAT = np.dtype(np.float32)
LARGEST, TINY, LEAST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny), 2.0**-149


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_bound_that_the_type_does_not_hold_is_rounded_outward(dtype):
    rng = np.random.default_rng(0)
    numbers = np.concatenate([rng.normal(size=200) * 10.0 ** rng.integers(-6, 5, 200), [0.0, 1.0, -0.5, 1e300, -1e300]])
    for up in (False, True):
        found = outward(numbers, np.dtype(dtype), up=up)
        assert found.dtype == dtype
        wide = found.astype(np.float64)
        assert (wide >= numbers).all() if up else (wide <= numbers).all()
        with np.errstate(over="ignore"):
            inner = np.nextafter(found, np.asarray(-np.inf if up else np.inf, dtype)).astype(np.float64)
        assert (inner < numbers).all() if up else (inner > numbers).all()
    assert outward(np.asarray(np.inf), np.dtype(dtype), up=False) == np.inf
    assert outward(np.asarray(-np.inf), np.dtype(dtype), up=True) == -np.inf
    whole = np.float64([2**53 + 2])
    assert outward(whole, np.dtype(np.int64), up=True) is whole


@pytest.mark.parametrize("count", [1, 2, 3])
def test_corners_bound_a_function_that_is_monotone_in_each_argument(count):
    rng = np.random.default_rng(count)
    for _ in range(30):
        ends = [np.sort(rng.integers(-8, 9, (2, 3)) / 4, axis=0) for _ in range(count)]
        found = of_corners(lambda *a: np.prod(np.broadcast_arrays(*a), axis=0), [TensorValues(*e) for e in ends], FLOAT)
        for channel in range(3):
            results = [np.prod(c) for c in product(*([e[0, channel], e[1, channel]] for e in ends))]
            assert (found.lo[channel], found.hi[channel]) == (min(results), max(results))


def test_a_corner_without_a_value_bounds_nothing():
    box = [TensorValues(np.float64(-np.inf), np.float64(1)), TensorValues(np.float64(0), np.float64(np.inf))]
    found = of_corners(lambda a, b: a + b, box, FLOAT)
    assert (found.lo.item(), found.hi.item()) == (-np.inf, np.inf)
    rounded = of_corners(lambda a: a, [TensorValues(np.float64(0.1), np.float64(0.1))], FLOAT)
    assert rounded.lo < 0.1 < rounded.hi
    huge = of_corners(lambda a: a, [TensorValues(*np.float64([-(2**53) - 2, 2**53 + 2]))], np.dtype(np.int64))
    assert (huge.lo.item(), huge.hi.item()) == (-(2**53) - 4, 2**53 + 4)


def test_bounds_are_widened_by_so_many_roundings():
    grid = IntegerGrid(*np.float64([[1], [0], [-1], [2]]))
    values = bounded([-1.0], [2.0], grid)
    found = widened(values, 3, FLOAT)
    assert found.lo.item() == -1 - 3 * 2.0**-24 - 3 * LEAST
    assert found.hi.item() == 2 + 6 * 2.0**-24 + 3 * LEAST
    assert found.grid is not None
    inward = widened(bounded(1.0, -2.0), 3, FLOAT)
    assert (inward.lo.item(), inward.hi.item()) == (1 - 3 * 2.0**-24, -2 + 6 * 2.0**-24)
    zero = widened(bounded(0.0, 0.0), 2, FLOAT)
    assert (zero.lo.item(), zero.hi.item()) == (-2 * LEAST, 2 * LEAST)
    assert widened(values, 3, np.dtype(np.int32)) is values


@pytest.mark.parametrize(
    ("lo", "hi", "relative", "absolute", "expected"),
    [
        (1.0, 2.0, 4, 0, (1 - 4 * 2.0**-24, 2 + 8 * 2.0**-24)),
        (-2.0, -1.0, 4, 0, (-2 - 8 * 2.0**-24, -1 + 4 * 2.0**-24)),
        (-1.0, 1.0, 0, 8, (-1 - 8 * 2.0**-24, 1 + 8 * 2.0**-24)),
        (-1.0, 1.0, 2, 8, (-1 - 10 * 2.0**-24, 1 + 10 * 2.0**-24)),
        (0.0, 0.0, 4, 0, (0.0, 0.0)),
        (TINY / 2, 1.0, 4, 0, (0.0, 1 + 4 * 2.0**-24)),
        (-1.0, -TINY / 2, 4, 0, (-1 - 4 * 2.0**-24, 0.0)),
        (-TINY, TINY, 1, 0, (-2 * TINY, 2 * TINY)),
        (-LARGEST, LARGEST, 1, 0, (-np.inf, np.inf)),
        (np.inf, np.inf, 1, 0, (LARGEST * (1 - 2.0**-24), np.inf)),
        (-np.inf, -np.inf, 1, 0, (-np.inf, -LARGEST * (1 - 2.0**-24))),
    ],
)
def test_margins_keep_the_sign_and_reach_infinity_at_the_end_of_the_type(lo, hi, relative, absolute, expected):
    found = loosened(bounded(lo, hi), FLOAT, relative=relative, absolute=absolute)
    np.testing.assert_allclose([found.lo.item(), found.hi.item()], expected, rtol=1e-15, atol=2 * TINY)
    if 0 in expected or TINY in (lo, hi):
        np.testing.assert_allclose([found.lo.item(), found.hi.item()], expected, rtol=1e-6)


def test_margins_are_for_floats_alone():
    values = bounded(1.0, 2.0)
    assert loosened(values, np.dtype(np.int32), relative=4) is values
    assert loosened(values, FLOAT, relative=0) is values
