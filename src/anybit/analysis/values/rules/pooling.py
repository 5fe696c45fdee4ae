"""Pooling: the largest, the mean or the norm of windows; channels stay apart, pixels do not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anybit.analysis.values.bounds.axes import collapsed, data_by_axis, joined
from anybit.analysis.values.bounds.sums import averaged, mean_grid, rounded
from anybit.analysis.values.bounds.windows import require_few
from anybit.analysis.values.rules.arithmetic import absolute
from anybit.analysis.values.rules.reductions import largest
from anybit.analysis.values.tensor_values import (
    Float64s,
    IntegerGrid,
    TensorValues,
    bounded,
    checked_grid,
    integers,
    of_dtype,
)
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.ops.standard.windows import Windows


@dataclass(frozen=True)
class _Counts:
    """Taps of a window that lie on the input.

    Attributes:
        taps: Of the kernel.
        fewest: In any window; 0 where that is not known.
        most: In any window.
        is_padded: Whether a window may reach beyond the input.
    """

    taps: int
    fewest: int
    most: int
    is_padded: bool


def max_pool(site: NodeContext) -> list[TensorValues]:
    """The largest element of each window, and where it is; -inf for a window that lies beside the input."""
    values, shape = _pooled(site)
    if not _counts(site).fewest:
        values = TensorValues(np.full_like(values.lo, -np.inf), values.hi)
    positions = of_dtype(np.dtype(np.int64))
    if None not in shape:
        positions = integers(0.0, max(float(math.prod(n for n in shape if n is not None)) - 1, 0.0))
    return [values, positions]


def average_pool(site: NodeContext) -> TensorValues:
    """The mean of each window, over the taps that lie on the input, or on its padding if `count_include_pad`."""
    values, _ = _pooled(site)
    counts = _counts(site)
    included = bool(site.attribute("count_include_pad", 0))
    if counts.is_padded and (included or not counts.fewest):
        values = joined(values, 0.0)
    overhanging = bool(site.attribute("ceil_mode", 0)) and counts.is_padded
    is_even = not overhanging if included else counts.fewest == counts.most == counts.taps
    roundings = 0 if counts.taps == 1 else counts.taps + 2
    magnitudes = [np.abs(b) for b in (values.lo, values.hi)]
    peaks = [np.maximum(b, 0.0) * counts.taps for b in (-values.lo, values.hi)]
    result = rounded(bounded(values.lo, values.hi), magnitudes, peaks, roundings, site.dtype())
    grid = _times(values.grid, counts.taps) if is_even else None
    return replace(result, grid=mean_grid(grid, counts.taps))


def _times(grid: IntegerGrid | None, count: int) -> IntegerGrid | None:
    """The grid of the sum of so many elements."""
    grid = None if grid is None else grid.centred() or grid
    if grid is None:
        return None
    return checked_grid(
        replace(grid, zero_point=grid.zero_point * count, lo=grid.lo * count, hi=grid.hi * count, datatype=None)
    )


def global_average_pool(site: NodeContext) -> TensorValues:
    """The mean of all pixels."""
    values, shape = data_by_axis(site)
    return averaged(values, range(2, len(shape)), shape, site.dtype())


def global_max_pool(site: NodeContext) -> TensorValues:
    """The largest of all pixels."""
    values, shape = data_by_axis(site)
    return largest(values, list(range(2, len(shape))), shape, site.dtype())


def lp_pool(site: NodeContext) -> TensorValues:
    """(sum of |x|^p)^(1/p) of each window."""
    values, _ = _pooled(site)
    counts = _counts(site)
    return _norm(values, site, counts.fewest, counts.most)


def global_lp_pool(site: NodeContext) -> TensorValues:
    """(sum of |x|^p)^(1/p) of all pixels."""
    values, shape = _pooled(site)
    pixels = [n for n in shape[2:] if n is not None]
    if len(pixels) < len(shape) - 2:
        return _norm(values, site, 1, math.inf)
    return _norm(values, site, math.prod(pixels), math.prod(pixels))


def _norm(values: TensorValues, site: NodeContext, fewest: float, most: float) -> TensorValues:
    """The p-norm of `fewest` to `most` elements; powers that leave the type are 0 or infinite."""
    p = site.attribute("p", 2)
    dtype = site.dtype()
    if p < 1 or dtype.kind != "f":
        raise NotFollowed("no norm")
    info = np.finfo(dtype)
    magnitude = absolute(values)
    lo, hi = magnitude.lo, magnitude.hi
    roundings = (most if most < np.inf else fewest) + 16
    factor = 1 + float(info.eps) * roundings
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        high = np.where(hi == 0, 0.0, hi * most ** (1 / p) * factor)
        high = np.where(high**p * factor > float(info.max), np.inf, high)
        low = np.where(lo**p > 2 * float(info.tiny), lo * fewest ** (1 / p) / factor, 0.0)
        # Powers below the smallest number may be rounded up to it.
        high = high + np.where(hi > 0, (most * float(info.smallest_subnormal)) ** (1 / p), 0.0)
    return bounded(low, high)


def _pooled(site: NodeContext) -> tuple[TensorValues, tuple[int | None, ...]]:
    """Input 0 by axis, its pixels not told apart; and its shape."""
    values, shape = data_by_axis(site)
    return collapsed(values, range(2, len(shape))), shape


def _counts(site: NodeContext) -> _Counts:
    kernel = site.attribute("kernel_shape")
    if kernel is None or min(kernel, default=1) < 1:
        raise NotFollowed("it has no kernel")
    names = ("auto_pad", "pads", "strides", "dilations", "ceil_mode")
    attributes = {n: site.attribute(n) for n in names if site.attribute(n) is not None}
    spatial = [n for n in site.shape(0)[2:] if n is not None]
    if len(spatial) < len(kernel):
        return _counts_of_any(math.prod(kernel), attributes)
    windows = Windows.of(spatial, kernel, attributes)
    counts = [_on_input(windows, axis, size) for axis, size in enumerate(spatial)]
    taps = math.prod(kernel)
    fewest, most = (math.prod(int(f(c)) for c in counts) for f in (np.min, np.max))
    return _Counts(taps, fewest, most, fewest < taps)


def _on_input(windows: Windows, axis: int, size: int) -> Float64s:
    """For each window along an axis, how many taps lie on the input."""
    require_few(windows.output[axis] * windows.kernel[axis])
    first = np.arange(windows.output[axis])[:, None] * windows.strides[axis] - windows.pads_begin[axis]
    taps = first + np.arange(windows.kernel[axis]) * windows.dilations[axis]
    return ((taps >= 0) & (taps < size)).sum(axis=1).astype(np.float64)


def _counts_of_any(taps: int, attributes: dict[str, Any]) -> _Counts:
    """What holds for inputs of any size."""
    same = attributes.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    is_padded = same or bool(attributes.get("ceil_mode")) or any(attributes.get("pads") or ())
    return _Counts(taps, 0 if is_padded else taps, taps, is_padded)


RULES: Rules = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalLpPool": global_lp_pool,
    "GlobalMaxPool": global_max_pool,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
}
