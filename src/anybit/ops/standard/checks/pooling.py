"""Rules of the pooling operators: one number for each spatial axis of x (N, C, spatial..).

Where ONNX Runtime 1.32 takes more: pads beside auto_pad are ignored. Where it takes less: a pad has to be smaller than
the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

from anybit.errors import Finding
from anybit.ops.standard.checks.call import StandardCall
from anybit.ops.standard.checks.parameters import check_choice, check_scalar, check_single
from anybit.ops.standard.checks.windows import check_extent, check_one_padding, check_windows

_LEAST_RANK = 3


def pool(call: StandardCall) -> Iterator[Finding]:
    """Rules of MaxPool, AveragePool and LpPool."""
    x = call.shapes.get("X")
    for flag in ("ceil_mode", "count_include_pad", "storage_order"):
        yield from check_choice(call, flag, 0, 1)
    yield from check_one_padding(call, zeros_too=False)
    yield from _enough_axes(call)
    if x is not None and len(x) < _LEAST_RANK:
        return
    spatial = None if x is None else x[1:-1] if call.integer("channels_last") else x[2:]
    yield from check_windows(call, None if spatial is None else len(spatial))
    if spatial is not None:
        yield from check_extent(call, spatial, call.integers("kernel_shape"))


def max_unpool(call: StandardCall) -> Iterator[Finding]:
    """Rules of MaxUnpool."""
    x = call.shapes.get("X")
    yield from _enough_axes(call)
    if x is None or len(x) >= _LEAST_RANK:
        yield from check_windows(call, None if x is None else len(x[2:]))


def global_pool(call: StandardCall) -> Iterator[Finding]:
    """Rules of GlobalAveragePool, GlobalMaxPool and GlobalLpPool."""
    yield from _enough_axes(call)


def qlinear_average_pool(call: StandardCall) -> Iterator[Finding]:
    """Rules of ONNX Runtime's QLinearAveragePool."""
    yield from pool(call)
    yield from check_scalar(call, "x_scale", "x_zero_point", "y_scale", "y_zero_point")


def qlinear_global_average_pool(call: StandardCall) -> Iterator[Finding]:
    """Rules of ONNX Runtime's QLinearGlobalAveragePool."""
    yield from _enough_axes(call)
    yield from check_single(call, "x_scale", "x_zero_point", "y_scale", "y_zero_point")


def _enough_axes(call: StandardCall) -> Iterator[Finding]:
    x = call.shapes.get("X")
    if x is not None and len(x) < _LEAST_RANK:
        hint = "it pools over the axes behind batch and channels"
        yield call.finding("operand-shape", "rank of X", got=len(x), expected=f"{_LEAST_RANK} or more", hint=hint)
