"""Comparisons, logic, Mod, and operators on bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from anybit.analysis.values.tensor_values import (
    Float64s,
    TensorValues,
    bounded,
    integers,
    of_dtype,
    of_integers,
    smallest_format,
)
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rule, Rules

Judge = Callable[[TensorValues, TensorValues], tuple[Float64s, Float64s]]


def _comparison(judge: Judge) -> Rule:
    """0 where it never holds, 1 where it always does; a NaN compares as false, and float tensors may have some."""

    def rule(site: NodeContext) -> TensorValues:
        always, ever = judge(site.values(0), site.values(1))
        dtype = None if site.node.inputs[0] is None else site.node.inputs[0].dtype
        is_exact = np.asarray(dtype is not None and dtype.is_integer())
        return bounded(np.where(always & is_exact, 1.0, 0.0), np.where(ever, 1.0, 0.0))

    return rule


def _less(a: TensorValues, b: TensorValues) -> tuple[Any, Any]:
    return a.hi < b.lo, a.lo < b.hi


def _less_or_equal(a: TensorValues, b: TensorValues) -> tuple[Any, Any]:
    return a.hi <= b.lo, a.lo <= b.hi


def _equal(a: TensorValues, b: TensorValues) -> tuple[Any, Any]:
    return (a.lo == b.hi) & (a.hi == b.lo), (a.lo <= b.hi) & (b.lo <= a.hi)


def and_(site: NodeContext) -> TensorValues:
    """The smaller of both."""
    a, b = site.values(0), site.values(1)
    return bounded(np.minimum(a.lo, b.lo), np.minimum(a.hi, b.hi))


def or_(site: NodeContext) -> TensorValues:
    """The larger of both."""
    a, b = site.values(0), site.values(1)
    return bounded(np.maximum(a.lo, b.lo), np.maximum(a.hi, b.hi))


def not_(site: NodeContext) -> TensorValues:
    """1 - x."""
    x = site.values(0)
    return bounded(1 - x.hi, 1 - x.lo)


def either(_: NodeContext) -> TensorValues:
    """0 or 1."""
    return bounded(0.0, 1.0)


def mod(site: NodeContext) -> TensorValues:
    """a modulo b: of the sign of b, of that of a with fmod; smaller than b, and with fmod no larger than a."""
    a, b, dtype = site.values(0), site.values(1), site.dtype()
    is_whole = dtype.kind in "iu"
    if is_whole and ((b.lo <= 0) & (b.hi >= 0)).any():
        raise NotFollowed("the divisor can be 0")
    step = 1.0 if is_whole else 0.0
    largest = np.maximum(np.abs(b.lo), np.abs(b.hi)) - step
    if site.attribute("fmod", 0):
        lo = np.where(a.lo >= 0, 0.0, np.maximum(a.lo, -largest))
        hi = np.where(a.hi <= 0, 0.0, np.minimum(a.hi, largest))
    else:
        kept = (a.lo >= 0) & (a.hi < b.lo)
        lo = np.where(kept, a.lo, np.where(b.lo >= 0, 0.0, -largest))
        above = np.where(a.lo >= 0, np.minimum(a.hi, largest), largest)
        hi = np.where(kept, a.hi, np.where(b.hi <= 0, 0.0, np.where(b.lo >= 0, above, largest)))
    return integers(lo, hi) if is_whole else bounded(lo, hi)


def bit_shift(site: NodeContext) -> TensorValues:
    """a * 2^b, wrapped around, or floor(a / 2^b)."""
    a, b, dtype = site.values(0), site.values(1), site.dtype()
    if (b.hi >= 8 * dtype.itemsize).any():
        raise NotFollowed("a shift by all bits")
    if site.attribute("direction") == "LEFT":
        return of_integers(integers(a.lo * np.exp2(b.lo), a.hi * np.exp2(b.hi)), dtype)
    return integers(np.floor(a.lo * np.exp2(-b.hi)), np.floor(a.hi * np.exp2(-b.lo)))


def bitwise_and(site: NodeContext) -> TensorValues:
    """No larger than either, where that is not negative."""
    a, b = site.values(0), site.values(1)
    if not ((a.lo >= 0) | (b.lo >= 0)).all():
        return _of_bits(site)
    limits = [np.where(v.lo >= 0, v.hi, np.inf) for v in (a, b)]
    return integers(0.0, np.minimum(*limits))


def _of_bits(site: NodeContext) -> TensorValues:
    """Integers of as many bits as the inputs."""
    lo = min(float(site.values(i).lo.min(initial=0)) for i in (0, 1))
    hi = max(float(site.values(i).hi.max(initial=0)) for i in (0, 1))
    if not (np.isfinite(lo) and np.isfinite(hi)):
        return of_dtype(site.dtype())
    size = smallest_format(int(lo), int(hi))
    return integers(float(size.min), float(size.max))


def bitwise_not(site: NodeContext) -> TensorValues:
    """-1 - x, or largest - x of an unsigned type."""
    x, dtype = site.values(0), site.dtype()
    top = -1.0 if dtype.kind == "i" else float(np.iinfo(dtype).max)
    return integers(top - x.hi, top - x.lo)


def _swapped(judge: Judge) -> Judge:
    return lambda a, b: judge(b, a)


RULES: Rules = {
    "And": and_,
    "BitShift": bit_shift,
    "BitwiseAnd": bitwise_and,
    "BitwiseNot": bitwise_not,
    "BitwiseOr": _of_bits,
    "BitwiseXor": _of_bits,
    "Equal": _comparison(_equal),
    "Greater": _comparison(_swapped(_less)),
    "GreaterOrEqual": _comparison(_swapped(_less_or_equal)),
    "IsInf": either,
    "IsNaN": either,
    "Less": _comparison(_less),
    "LessOrEqual": _comparison(_less_or_equal),
    "Mod": mod,
    "Not": not_,
    "Or": or_,
    "Xor": either,
}
