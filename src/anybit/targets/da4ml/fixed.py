"""Bounds: what each element of a tensor of fixed-point numbers can be: multiples of a power of two in an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array, lowest_bit

LARGEST = 2.0**24
"""Multiples that float32 holds, each of them: up to here no sum is rounded."""


@dataclass(frozen=True)
class Bounds:
    """lo <= x <= hi, x a multiple of `step`, element by element; steps are powers of two.

    Attributes:
        lo: Smallest number.
        hi: Largest one.
        step: What every number is a multiple of.
    """

    lo: Float64s
    hi: Float64s
    step: Float64s

    @property
    def multiples(self) -> float:
        """The largest number of steps."""
        return float((np.maximum(np.abs(self.lo), np.abs(self.hi)) / self.step).max(initial=0))


def bounds_of(number: Array) -> Bounds:
    """Those of constants: the step of each is its lowest bit."""
    exact = np.asarray(number, np.float64)
    return Bounds(exact, exact, step_of(exact))


def step_of(number: Float64s) -> Float64s:
    """The largest power of two of which each number is a multiple; 2^64 for 0."""
    return np.minimum(lowest_bit(number), 2.0**64)


def total(a: Bounds, b: Bounds) -> Bounds:
    """Of a sum."""
    return Bounds(a.lo + b.lo, a.hi + b.hi, np.minimum(a.step, b.step))


def negative(a: Bounds) -> Bounds:
    """Of the same with the other sign."""
    return Bounds(-a.hi, -a.lo, a.step)


def scaled(a: Bounds, by: Float64s) -> Bounds:
    """Of a product with constants."""
    ends = np.stack([a.lo * by, a.hi * by])
    return Bounds(ends.min(axis=0), ends.max(axis=0), a.step * step_of(by))


def product(a: Bounds, weights: Float64s) -> tuple[Bounds, float]:
    """Of a matrix product with constants, and the largest number of steps of any part of its sums."""
    above, below = np.maximum(weights, 0), np.minimum(weights, 0)
    lo, hi = a.lo @ above + a.hi @ below, a.hi @ above + a.lo @ below
    used = np.abs(weights) > 0
    each = a.step[..., :, None] * step_of(weights)
    step = np.where(used, each, np.inf).min(axis=-2)
    step = np.where(np.isinf(step), 1.0, step)
    parts = np.maximum(np.abs(a.lo), np.abs(a.hi)) @ np.abs(weights) / step
    return Bounds(lo, hi, step), float(parts.max(initial=0))
