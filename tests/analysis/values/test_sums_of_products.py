"""Bounds of sums of products, against the products of all corners, one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from anybit.analysis.values.bounds import sums_of_products as module
from anybit.analysis.values.bounds.sums_of_products import Factor, rows_of, sums_of_products
from tests.strategies import Array


def _factor(rng: np.random.Generator, shape: tuple[int, ...]) -> Factor:
    """Small integers, told apart along some axes; one number for each element, or two bounds."""
    apart = tuple(n if rng.random() < 0.7 else 1 for n in shape)
    lo = rng.integers(-4, 5, apart).astype(np.float64)
    return Factor(lo, lo) if rng.random() < 0.5 else Factor(lo, lo + rng.integers(0, 5, apart))


def _masks(rng: np.random.Generator, taps: int) -> Array:
    return np.unique(rng.random((3, taps)) < 0.6, axis=0)


def _expected(x: Factor, w: Factor, shape: tuple[int, ...], windows: list[Array]) -> list[list[float]]:
    """For each output the smallest and the largest sum, and the same of the products of one sign alone."""
    ends = [np.broadcast_to(a, shape) for a in (x.lo, x.hi)], [np.broadcast_to(a, shape) for a in (w.lo, w.hi)]
    found: list[list[float]] = []
    for output in range(shape[0]):
        sums = []
        for chosen in product(*windows) if windows else [tuple(np.ones(n, np.bool_) for n in shape[2:])]:
            lo = hi = below = above = 0.0
            for place in product(range(shape[1]), *map(range, shape[2:])):
                if not all(mask[tap] for mask, tap in zip(chosen, place[1:], strict=True)):
                    continue
                corners = [a[output, *place] * b[output, *place] for a, b in product(*ends)]
                lo, hi = lo + min(corners), hi + max(corners)
                below, above = below + min(*corners, 0), above + max(*corners, 0)
            sums.append((lo, hi, below, above))
        los, his, belows, aboves = zip(*sums, strict=True)
        found.append([min(los), max(his), min(belows), max(aboves)])
    return found


@pytest.mark.parametrize("block", [1 << 17, 5])
@pytest.mark.parametrize("taps", [0, 1, 2])
@pytest.mark.parametrize("windowed", [False, True])
def test_bounds_are_those_of_all_corners(taps, windowed, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.default_rng(taps)
    for _ in range(40):
        shape = (*(int(n) for n in rng.integers(1, 4, 2)), *(int(n) for n in rng.integers(1, 4, taps)))
        x, w = _factor(rng, shape), _factor(rng, shape)
        windows = [_masks(rng, n) for n in shape[2:]] if windowed else []
        found = sums_of_products(x, w, shape, windows)
        got = np.stack([found.lo, found.hi, found.partial_lo, found.partial_hi], axis=1)
        np.testing.assert_array_equal(np.broadcast_to(got, (shape[0], 4)), _expected(x, w, shape, windows))
        np.testing.assert_array_equal(found.magnitude, found.partial_hi - found.partial_lo)


def test_without_outputs_channels_or_taps_sums_are_zero():
    one = Factor(np.ones((1, 1, 1)), np.ones((1, 1, 1)))
    for shape in ((3, 0, 2), (3, 2, 0), (0, 2, 2)):
        found = sums_of_products(one, one, shape, [])
        for bound in (found.lo, found.hi, found.partial_lo, found.partial_hi):
            np.testing.assert_array_equal(bound, np.zeros(shape[0]))


def test_an_infinite_bound_counts_where_its_tap_is_summed():
    """In some windows alone; times a weight of zero it is nothing."""
    lo, hi = np.float64([[[-np.inf, 1, 2]]]), np.float64([[[5, 1, np.inf]]])
    masks = np.array([[True, True, False], [False, True, False], [False, True, True]])
    ones = np.ones((1, 1, 3))
    found = sums_of_products(Factor(lo, hi), Factor(ones, ones), (1, 1, 3), [masks])
    assert [float(b.item()) for b in (found.lo, found.hi)] == [-np.inf, np.inf]
    first = sums_of_products(Factor(lo, hi), Factor(ones, ones), (1, 1, 3), [masks[:2]])
    assert [float(b.item()) for b in (first.lo, first.hi)] == [-np.inf, 6]
    second = sums_of_products(Factor(lo, hi), Factor(ones, ones), (1, 1, 3), [masks[1:2]])
    assert [float(b.item()) for b in (second.lo, second.hi)] == [1, 1]
    weights = np.float64([[[0, 2, -1]]])
    last = sums_of_products(Factor(lo, hi), Factor(weights, weights), (1, 1, 3), [])
    assert [float(b.item()) for b in (last.lo, last.hi)] == [-np.inf, 0]


def test_blocks_of_rows_cover_each_row_once(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 12)
    for shape, each in (((7, 3, 2), 2), ((7, 30), 1), ((7,), 12), ((0, 3), 4), ((8, 4), 3), ((5, 0), 12)):
        blocks = [*rows_of(shape)]
        assert [row for b in blocks for row in range(shape[0])[b]] == list(range(shape[0]))
        assert all(b.stop - b.start == each for b in blocks[:-1])
        assert all(b.stop <= shape[0] for b in blocks)
