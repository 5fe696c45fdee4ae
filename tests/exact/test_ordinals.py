"""Ordinals of float32 numbers against numpy's neighbours."""

from __future__ import annotations

import numpy as np

from anybit.exact.ordinals import INFINITY, LARGEST, float_at, ordinal_of
from tests.strategies import special_values


def test_ordinals_and_numbers_are_inverse():
    numbers = special_values(np.float32)
    numbers = numbers[~np.isnan(numbers)]
    np.testing.assert_array_equal(float_at(ordinal_of(numbers)), numbers)


def test_neighbours_have_neighbouring_ordinals():
    numbers = np.unique(special_values(np.float32))
    finite = numbers[np.isfinite(numbers)]
    for direction, distance in ((np.inf, 1), (-np.inf, -1)):
        with np.errstate(over="ignore"):
            there = np.nextafter(finite, np.float32(direction))
        np.testing.assert_array_equal(ordinal_of(there), ordinal_of(finite) + distance)


def test_ends():
    ends = float_at(np.array([-INFINITY, -LARGEST, 0, LARGEST, INFINITY]))
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(ends, np.float32([-np.inf, -largest, 0, largest, np.inf]))
    assert not np.signbit(ends[2])
    assert ordinal_of(np.float32([-0.0])) == 0
