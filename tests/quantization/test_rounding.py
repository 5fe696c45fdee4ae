"""Rounding and ranges against brute force and plain linear algebra."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybit.grid import Grid
from anybit.quantization import (
    ActivationHistogram,
    Feedback,
    Scales,
    budget_of,
    descended,
    find_range,
    least_squares,
    refitted,
    rounded_weights,
    to_nearest,
    with_feedback,
)
from anybit.quantization.ranges import Range

TERNARY = Grid(2, signed=True, narrow=True)
ONE = np.zeros((1, 1), np.intp)


def problem(seed, inputs=4):
    """Moments of correlated inputs, and weights of one column."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, inputs)) @ rng.normal(size=(inputs, inputs))
    return (x.T @ x / 40)[None], rng.normal(size=(1, inputs, 1))


def error(h, w, q):
    """(q - w)' H (q - w)."""
    off = (q - w)[0, :, 0]
    return float(off @ h[0] @ off)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_descent_lies_between_the_optimum_and_its_start(seed):
    h, w = problem(seed)
    scales = np.array([np.abs(w).max() * 0.7])
    start = to_nearest(w, scales, ONE, TERNARY)
    found = descended(h, w, start, ONE, TERNARY, sweeps=20)
    best = min(error(h, w, np.reshape(q, (1, 4, 1)) * scales[0]) for q in product((-1.0, 0.0, 1.0), repeat=4))
    assert best - 1e-9 <= error(h, w, found.weights) <= error(h, w, start.weights) + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_a_refitted_scale_is_the_best_one(seed):
    h, w = problem(seed)
    rounded = to_nearest(w, np.array([np.abs(w).max() * 0.7]), ONE, TERNARY)
    (scale,) = refitted(h, w, rounded, ONE, per_tensor=False)
    for other in rounded.scales[0] * np.linspace(0.55, 1.95, 30):
        assert error(h, w, rounded.integers * scale) <= error(h, w, rounded.integers * other) + 1e-9


def test_least_squares_is_that_of_numpy():
    rng = np.random.default_rng(0)
    xf = rng.normal(size=(200, 5))
    xq = np.round(xf * 2) / 2
    w = rng.normal(size=(5, 3))
    expected = np.linalg.lstsq(xq, xf @ w, rcond=None)[0]
    found = least_squares((xq.T @ xq)[None], (xq.T @ xf)[None], w[None], damping=0.0)
    np.testing.assert_allclose(found[0], expected, atol=1e-9)


def test_feedback_beats_rounding_to_nearest_on_average():
    ratios = []
    for seed in range(30):
        h, w = problem(seed, inputs=8)
        scales = np.array([np.abs(w).max() / 3])
        grid = Grid(3, signed=True, narrow=True)
        a, b = with_feedback(Feedback.of(h), w, scales, ONE, grid), to_nearest(w, scales, ONE, grid)
        ratios.append(error(h, w, a.weights) / error(h, w, b.weights))
    assert np.exp(np.mean(np.log(ratios))) < 0.7


@pytest.mark.parametrize("scales", list(Scales))
@pytest.mark.parametrize("signed", [False, True])
def test_no_integer_leaves_the_budget(scales, signed):
    rng = np.random.default_rng(1)
    h = np.eye(30)[None] + 0.3
    w = rng.normal(size=(1, 30, 6))
    source = Range(Grid(6, signed=signed), 1.0)
    budget = budget_of(11, source, 30)
    rounded = rounded_weights(h, w, np.arange(6)[None], Grid(6, signed=True, narrow=True), scales=scales, budget=budget)
    q = rounded.integers[0]
    assert q.any()
    positive, negative = np.maximum(q, 0).sum(0), np.maximum(-q, 0).sum(0)
    lo, hi = source.grid.lo, source.grid.hi
    assert (positive * hi - negative * lo).max() <= 2**10 - 1
    assert (positive * lo - negative * hi).min() >= -(2**10)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shift", [0.0, 0.5, -3.0])
def test_the_range_is_near_the_best_of_all_scales(bits, shift):
    x = (np.random.default_rng(2).normal(size=5000) + shift).astype(np.float32)
    histogram = ActivationHistogram()
    for part in np.array_split(x, 7):
        histogram.add(part, "x")
    found = find_range(histogram, bits, zero_points=False)
    grid = Grid(bits, signed=bool((x < 0).any()))
    tried = [Range(grid, s) for s in np.abs(x).max() / grid.hi * np.linspace(0.05, 1.2, 300)]
    best = min(float(np.square(r.quantized(x) - x).mean()) for r in tried)
    assert float(np.square(found.quantized(x) - x).mean()) <= best * 1.03


def test_a_histogram_does_not_depend_on_the_order_of_its_blocks():
    x = np.random.default_rng(3).normal(size=4000).astype(np.float32) * np.linspace(0.1, 30, 4000, dtype=np.float32)
    parts = np.array_split(x, 5)
    ranges = []
    for order in (parts, parts[::-1]):
        histogram = ActivationHistogram()
        for part in order:
            histogram.add(part, "x")
        ranges.append(find_range(histogram, 4))
    assert ranges[0].scale == pytest.approx(ranges[1].scale, rel=0.02)
