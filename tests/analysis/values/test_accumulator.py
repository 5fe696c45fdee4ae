"""Registers: the narrowest that holds all sums, and all sums of some of the products."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from anybit.analysis.values.accumulator import Interval, interval
from anybit.analysis.values.bounds.sums_of_products import Factor, sums_of_products
from anybit.number_formats import IntFormat


def _factor(lo: int, hi: int) -> Factor:
    return Factor(np.full((1, 1), float(lo)), np.full((1, 1), float(hi)))


@pytest.mark.parametrize(
    ("ends", "final", "partial"),
    [
        ((0, 3, 0, 3), IntFormat(2, signed=False), IntFormat(2, signed=False)),
        ((2, 3, -1, 8), IntFormat(2, signed=False), IntFormat(5, signed=True)),
        ((-9, 3, -4, 20), IntFormat(5, signed=True), IntFormat(6, signed=True)),
        ((-9, 20, -4, 3), IntFormat(6, signed=True), IntFormat(6, signed=True)),
        ((-3, -2, -3, 0), IntFormat(3, signed=True), IntFormat(3, signed=True)),
    ],
)
def test_a_register_holds_final_and_partial_sums(ends: tuple[int, int, int, int], final: IntFormat, partial: IntFormat):
    found = Interval(*ends)
    assert (found.format, found.partial_format) == (final, partial)


@pytest.mark.parametrize("weights", [[[1, -2, 3], [-1, -1, -1]], [[2, 2, 2], [1, 0, 1]], [[-1, 5, 0], [4, -4, 2]]])
@pytest.mark.parametrize(("lo", "hi"), [(-1, 2), (0, 3), (-3, 0), (1, 2), (-2, -1)])
def test_the_interval_of_all_channels_is_that_of_brute_force(weights: list[list[int]], lo: int, hi: int):
    w = np.float64(weights)
    found = interval(sums_of_products(_factor(lo, hi), Factor(w, w), (2, 3), []))
    vectors = [np.array(v) for v in itertools.product((lo, hi), repeat=3)]
    subsets = [np.array(s) for s in itertools.product((0, 1), repeat=3)]
    final = [int(row @ v) for row in w for v in vectors]
    some = [int((row * v) @ s) for row in w for v in vectors for s in subsets]
    assert (found.lo, found.hi) == (min(final), max(final))
    assert (found.partial_lo, found.partial_hi) == (min(some), max(some))


def test_no_sums_are_zero():
    nothing = np.zeros((0, 3))
    found = interval(sums_of_products(_factor(-1, 2), Factor(nothing, nothing), (0, 3), []))
    assert found == Interval(0, 0, 0, 0)
