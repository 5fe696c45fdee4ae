"""Im2Col, QuantAvgPool2d and MaxPoolNHWC: what convolutions and pools become on the way to hardware."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anybit.analysis.values.bounds.axes import collapsed, data_by_axis, datatype_with, joined
from anybit.analysis.values.rules import channels_last
from anybit.analysis.values.tensor_values import IntegerGrid, TensorValues, integers
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.arrays import Array
from anybit.number_formats import IntFormat
from anybit.ops.finn.max_pool_nhwc import MAX_POOL_NHWC
from anybit.ops.im2col import IM2COL
from anybit.ops.quant_avg_pool import QUANT_AVG_POOL, shift_of


def im2col(site: NodeContext) -> TensorValues:
    """The input's channels once for each tap, and what lies beside it; positions are not told apart."""
    values, shape = data_by_axis(site)
    if len(shape) != 4:
        raise NotFollowed("the input is no image")
    taps = int(np.prod(site.attribute("kernel_size")))
    values = collapsed(values, (1, 2))
    if any(site.attribute("pad_amount", ())):
        values = joined(values, float(site.attribute("pad_value", 0)))

    def by_tap(array: Array) -> Array:
        return np.tile(array, (1, 1, 1, taps)) if array.ndim == 4 and array.shape[3] > 1 else array

    return values.moved(by_tap)


def quant_avg_pool(site: NodeContext) -> TensorValues:
    """floor(half_even(kernel^2 * x) / 2^shift) at both bounds."""
    values, shape = data_by_axis(site)
    if len(shape) != 4:
        raise NotFollowed("the input is no image")
    values = collapsed(values, (1, 2) if site.attribute("data_layout", "NCHW") == "NHWC" else (2, 3))
    if not values.is_bounded:
        raise NotFollowed("the input is not bounded")
    kernel, ibits, obits = (int(site.attribute(name)) for name in ("kernel", "ibits", "obits"))
    unit = 2.0 ** shift_of(kernel, ibits, obits)
    slack = 0 if _is_whole(values.grid) else 1  # rounding of sums of fractions
    lo = np.floor((np.rint(values.lo * kernel**2) - slack) / unit)
    hi = np.floor((np.rint(values.hi * kernel**2) + slack) / unit)
    result = integers(lo, hi)
    declared = IntFormat(obits, signed=bool(site.attribute("signed")))
    grid = result.grid
    if grid is None:
        return result
    fits = all(datatype_with(replace(grid, datatype=declared), end) is not None for end in (lo, hi))
    return replace(result, grid=replace(grid, datatype=declared)) if fits else result


def _is_whole(grid: IntegerGrid | None) -> bool:
    return grid is not None and grid.is_centred and bool((grid.scale == 1).all())


RULES: Rules = {
    IM2COL.name: im2col,
    MAX_POOL_NHWC.name: channels_last.RULES["MaxPool"],
    QUANT_AVG_POOL.name: quant_avg_pool,
}
