"""Curve: a function of one number, bounded by its values at the ends of an interval and where it turns around.

ONNX Runtime's float kernels stray from the exact result. The margins are about twice what was measured for
ONNX Runtime 1.32 over millions of float32 numbers, in units u = eps / 2 of the type: relative to the result, and
absolute where the result is small. Sigmoid, Tanh and Softsign leave their mathematical range by up to 4 u
(Tanh gives 1.00000024), so their caps lie a little outside; Erf, Exp, Softplus, Sin and Cos stay within theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from anybit.analysis.values.bounds.corners import outward
from anybit.analysis.values.tensor_values import Float64s, TensorValues, bounded
from anybit.analysis.values.transfer import NodeContext, Rule
from anybit.arrays import Array


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A function that is monotone between turning points, and how far its float results stray.

    Attributes:
        turns: Where it changes direction, or jumps; it is evaluated there, too.
        start: Below this the result is NaN.
        end: Above this the result is NaN.
        relative: Margin in units of |result|.
        absolute: Margin in units of 1.
        least: Smallest result.
        most: Largest one.
        overshoot: How far results leave least .. most, in units of these.
        keeps_sign: Whether results of x >= 0 are never negative, and those of x <= 0 never positive.
    """

    turns: Sequence[float] = ()
    start: float = -np.inf
    end: float = np.inf
    relative: float = 0
    absolute: float = 0
    least: float = -np.inf
    most: float = np.inf
    overshoot: float = 0
    keeps_sign: bool = False


def rule_of(curve: Curve) -> Rule:
    """The rule of an operator whose only input is the curve's argument."""
    return lambda site: of_curve(site, curve)


def of_curve(site: NodeContext, curve: Curve) -> TensorValues:
    """The hull of the node's own results at both ends and at the turning points between them."""
    x, dtype = site.values(0), site.dtype()
    lo = np.clip(outward(x.lo, dtype, up=False), curve.start, curve.end)
    hi = np.clip(outward(x.hi, dtype, up=True), curve.start, curve.end)
    with np.errstate(over="ignore"):  # a turn that no number of the type reaches
        points = [np.asarray(p, dtype) for p in (lo, hi, *(np.clip(t, lo, hi) for t in curve.turns))]
    results = [_at(site, p) for p in points]
    exact = bounded(reduce(np.minimum, results), reduce(np.maximum, results))
    values = loosened(exact, dtype, relative=curve.relative, absolute=curve.absolute)
    beyond = 1 + _unit(dtype) * curve.overshoot
    low, high = (np.clip(b, curve.least * beyond, curve.most * beyond) for b in (values.lo, values.hi))
    if curve.keeps_sign:
        low = np.where(x.lo >= 0, np.maximum(low, 0.0), low)
        high = np.where(x.hi <= 0, np.minimum(high, 0.0), high)
    return bounded(low, high)


def loosened(values: TensorValues, dtype: np.dtype[Any], *, relative: float, absolute: float = 0) -> TensorValues:
    """Bounds that also hold results off by so many units of their magnitude and of 1, of a float type.

    Where they reach the end of the type, a float result may be infinite, or the largest number in its stead.
    """
    if dtype.kind != "f" or (not relative and not absolute):
        return values
    largest, unit = float(np.finfo(dtype).max), _unit(dtype)
    least = float(np.finfo(dtype).tiny)  # numbers smaller than the normal ones may be flushed to 0
    lo, hi = np.minimum(values.lo, largest), np.maximum(values.hi, -largest)
    with np.errstate(over="ignore"):
        below, above = (b * (1 - np.sign(b) * side * relative * unit) - side * least for b, side in ((lo, 1), (hi, -1)))
        lo = np.where(lo >= 0, np.maximum(below, 0.0), below) - absolute * unit
        hi = np.where(hi <= 0, np.minimum(above, 0.0), above) + absolute * unit
    return bounded(np.where(lo < -largest, -np.inf, lo), np.where(hi > largest, np.inf, hi))


def _unit(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps) / 2 if dtype.kind == "f" else 0.0


def _at(site: NodeContext, x: Array) -> Float64s:
    """The node's result; where it is NaN at infinity (inf * 0), that at the largest finite number."""
    y = _evaluated(site, x)
    missing = np.isnan(y) & np.isinf(x)
    if not missing.any():
        return y
    largest = np.finfo(x.dtype).max
    return np.where(missing, _evaluated(site, np.asarray(np.clip(x, -largest, largest), x.dtype)), y)


def _evaluated(site: NodeContext, x: Array) -> Float64s:
    """The node's result; some references refuse arrays without axes."""
    return np.asarray(site.evaluate([np.atleast_1d(x)])[0], np.float64).reshape(x.shape)
