"""Reciprocal and Pow."""

from __future__ import annotations

import numpy as np

from anybit.analysis.values.bounds.corners import of_corners, outward
from anybit.analysis.values.bounds.curves import Curve, loosened, of_curve
from anybit.analysis.values.tensor_values import TensorValues, bounded, of_integers
from anybit.analysis.values.transfer import NodeContext, NotFollowed
from anybit.arrays import Array


def reciprocal(site: NodeContext) -> TensorValues:
    """1 / x; unbounded where x can be 0, of either sign."""
    x = site.values(0)
    spans_zero = (x.lo <= 0) & (x.hi >= 0)
    values = of_curve(site, Curve(relative=2))
    return bounded(np.where(spans_zero, -np.inf, values.lo), np.where(spans_zero, np.inf, values.hi))


def pow_(site: NodeContext) -> TensorValues:
    """x^y, for a known exponent, or x that is never negative."""
    x, exponent, dtype = site.values(0), site.constant(1), site.dtype()
    if exponent is not None and exponent.ndim <= max(x.lo.ndim, len(site.shapes[0] or ())) and exponent.size:
        return _known_power(site, exponent.astype(np.float64))
    if dtype.kind != "f" or (x.lo < 0).any():
        raise NotFollowed("the exponent is not constant")
    return loosened(of_corners(_power, (x, site.values(1)), dtype), dtype, relative=8)


def _known_power(site: NodeContext, exponent: Array) -> TensorValues:
    """The hull of both ends and 0, where an even power is smallest and a negative one infinite."""
    x, dtype = site.values(0), site.dtype()
    whole = exponent == np.floor(exponent)
    if dtype.kind != "f" and not (whole & (exponent >= 0)).all():
        raise NotFollowed("a fractional or negative power of integers")
    if (exponent == 1).all():
        return TensorValues(x.lo, x.hi, x.grid)
    lo, hi = outward(x.lo, dtype, up=False), outward(x.hi, dtype, up=True)
    least, most = np.broadcast_arrays(lo.astype(np.float64), hi.astype(np.float64))
    # A fractional power of a negative number is NaN, that of -inf is not.
    start = np.where(whole, -np.inf, 0.0)
    points = [least, most, np.clip(0.0, least, most), np.maximum(least, start), np.maximum(most, start)]
    results = np.stack(np.broadcast_arrays(*(_power(p, exponent) for p in points)))
    low = np.where(np.isnan(results), np.inf, results).min(axis=0)
    high = np.where(np.isnan(results), -np.inf, results).max(axis=0)
    odd_pole = (exponent < 0) & (least <= 0) & (most >= 0) & (np.abs(exponent) % 2 == 1)
    values = bounded(np.where(odd_pole, -np.inf, low), np.where(odd_pole, np.inf, high))
    values = loosened(values, dtype, relative=_roundings(exponent))
    # 0 stays the least of an even power, and of a fractional one
    signless = np.where(whole, exponent % 2 == 0, True) | (least >= 0)  # noqa: FBT003
    signless &= ~odd_pole
    return of_integers(bounded(np.where(signless, np.maximum(values.lo, 0.0), values.lo), values.hi), dtype)


def _roundings(exponent: Array) -> float:
    """Squares and cubes are products; pow itself is good to an ulp or two, and our own float64 is, too."""
    return 2.0 if (exponent == 2).all() else 8.0


def _power(x: Array, y: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.power(x, y)
