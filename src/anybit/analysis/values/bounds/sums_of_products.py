"""Sums of products: the bounds of y[m] = sum of w[m, c, taps] * x[c], over windows of taps, exactly by sign split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np

from anybit.analysis.values.bounds.windows import Masks
from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array

_BLOCK = 1 << 17  # products that are looked at together: bounds the memory for temporaries


@dataclass(frozen=True)
class Factor:
    """Bounds of one factor of the products.

    Arrays have the axes (outputs, channels, taps ...); those of one entry stand for all.
    """

    lo: Array
    hi: Array

    @property
    def is_known(self) -> bool:
        """Whether the factor has one value: both bounds are the same array."""
        return self.lo is self.hi


@dataclass(frozen=True)
class Sums:
    """Bounds of the sums by output, of final ones and of those of some of the products in any order."""

    lo: Float64s
    hi: Float64s
    partial_lo: Float64s
    partial_hi: Float64s

    @property
    def magnitude(self) -> Float64s:
        """What the magnitudes of the products of one sum add up to, at most."""
        return self.partial_hi - self.partial_lo


def sums_of_products(x: Factor, w: Factor, shape: Sequence[int], windows: Sequence[Masks]) -> Sums:
    """Bounds of the sums of w * x over channels and taps; the factors' elements are free of each other.

    Args:
        x: One factor.
        w: The other.
        shape: Sizes (outputs, channels, taps ...).
        windows: For each axis of taps, the sets that are summed together; none where all of them are.
    """
    if 0 in shape:
        nothing = np.zeros(shape[0])
        return Sums(nothing, nothing, nothing, nothing)
    blocks = [_block(x, w, shape, windows, rows) for rows in rows_of(shape)]
    return Sums(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def rows_of(shape: Sequence[int]) -> Iterator[slice]:
    """Blocks of the first axis that are small enough for temporaries of float64."""
    each = max(_BLOCK // max(int(np.prod(shape[1:])), 1), 1)
    return (slice(start, min(start + each, shape[0])) for start in range(0, shape[0], each))


def _block(
    x: Factor, w: Factor, shape: Sequence[int], windows: Sequence[Masks], rows: slice
) -> tuple[Float64s, Float64s, Float64s, Float64s]:
    corners = [_product(_of_rows(a, rows), _of_rows(b, rows)) for a, b in product(_ends(x), _ends(w))]
    lo, hi = reduce(np.minimum, corners), reduce(np.maximum, corners)
    sizes = (rows.stop - rows.start, *shape[1:])
    return (
        _summed(lo, sizes, windows).min(axis=1),
        _summed(hi, sizes, windows).max(axis=1),
        _summed(np.minimum(lo, 0), sizes, windows).min(axis=1),
        _summed(np.maximum(hi, 0), sizes, windows).max(axis=1),
    )


def _summed(terms: Float64s, sizes: Sequence[int], windows: Sequence[Masks]) -> Float64s:
    """(outputs, windows): the sums; an axis of one entry counts as often as it is long."""
    channels = terms.sum(axis=1) * (sizes[1] if terms.shape[1] == 1 else 1)
    if windows:
        return _windowed(np.broadcast_to(channels, (sizes[0], *sizes[2:])), windows).reshape(sizes[0], -1)
    missing = int(np.prod([n for n, have in zip(sizes[2:], channels.shape[1:], strict=True) if have == 1]))
    total = channels.reshape(len(channels), -1).sum(axis=1, keepdims=True) * missing
    return np.broadcast_to(total, (sizes[0], 1))


def _windowed(taps: Float64s, windows: Sequence[Masks]) -> Float64s:
    """The sums over each window; an infinite tap counts in the windows that it is in."""
    infinite = np.isinf(taps)
    if not infinite.any():
        return _over_windows(taps, windows)
    finite = _over_windows(np.where(infinite, 0.0, taps), windows)
    signs = _over_windows(np.where(infinite, np.sign(taps), 0.0), windows)
    return np.where(signs != 0, np.copysign(np.inf, signs), finite)


def _over_windows(taps: Float64s, windows: Sequence[Masks]) -> Float64s:
    for masks in windows:  # each takes the first axis of taps and appends that of its windows
        taps = np.tensordot(taps, masks.T.astype(np.float64), axes=([1], [0]))
    return taps


def _ends(factor: Factor) -> tuple[Array, ...]:
    return (factor.lo,) if factor.is_known else (factor.lo, factor.hi)


def _of_rows(array: Array, rows: slice) -> Float64s:
    return np.asarray(array if array.shape[0] == 1 else array[rows], np.float64)


def _product(a: Float64s, b: Float64s) -> Float64s:
    with np.errstate(invalid="ignore"):
        result = a * b
        if np.isfinite(result.sum()):
            return result
    return np.where(np.isnan(result), 0.0, result)  # 0 * inf: an infinite bound stands for large finite numbers
