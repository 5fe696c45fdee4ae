"""Shape, Size and the operators that make a tensor from sizes: ConstantOfShape, EyeLike, Range."""

from __future__ import annotations

import math

import numpy as np

from anybit.analysis.values.tensor_values import TensorValues, bounded, integers, of_constant
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules

_LARGEST_SIZE = float(np.iinfo(np.int64).max)


def shape(site: NodeContext) -> TensorValues:
    """The sizes of the input; a constant where all of them are known."""
    given = site.shape(0)
    sizes = given[site.attribute("start", 0) : site.attribute("end", len(given))]
    if None not in sizes:
        return of_constant(np.asarray(sizes, np.int64))
    known = [(s, s) if s is not None else (0, _LARGEST_SIZE) for s in sizes]
    lo, hi = zip(*known, strict=True)
    return integers(lo, hi)


def size(site: NodeContext) -> TensorValues:
    """The number of elements; a constant where the shape is known."""
    given = [n for n in site.shape(0) if n is not None]
    if len(given) < len(site.shape(0)):
        return integers(0.0, 0.0 if 0 in given else _LARGEST_SIZE)
    return of_constant(np.asarray(math.prod(given), np.int64))


def constant_of_shape(site: NodeContext) -> TensorValues:
    """One number, everywhere."""
    given = site.attribute("value")
    number = np.zeros(1, np.float32) if given is None else given.numpy()
    whole = number.astype(np.float64).reshape(())
    return integers(whole, whole) if number.dtype.kind in "iu" else bounded(whole, whole)


def eye_like(_: NodeContext) -> TensorValues:
    """0 and 1."""
    return integers(0.0, 1.0)


def integer_range(site: NodeContext) -> TensorValues:
    """start, start + delta, ... short of limit; integers only, for float steps add up to any error."""
    start, limit, delta = (site.values(i) for i in range(3))
    dtype = site.dtype()
    if dtype.kind not in "iu":
        raise NotFollowed("a range of floats that are not constant")
    down, up = bool(delta.lo.min() < 0), bool(delta.hi.max() > 0)
    lo = min(float(start.lo.min()), float(limit.lo.min()) + 1 if down else np.inf)
    hi = max(float(start.hi.max()), float(limit.hi.max()) - 1 if up else -np.inf)
    return integers(lo, hi)


RULES: Rules = {
    "ConstantOfShape": constant_of_shape,
    "EyeLike": eye_like,
    "Range": integer_range,
    "Shape": shape,
    "Size": size,
}
