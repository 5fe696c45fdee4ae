"""MaxPool with channels last.   Y[n, o, c] = max over k of X[n, o*stride + k*dilation - pad, c]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx.shape_inference import InferenceContext

from anybit.arrays import Array
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.channels_last.layout import (
    DOMAIN,
    channels_first,
    channels_last,
    dimensions,
    first_body,
    infer_shape,
    last_body,
    window_positions,
)
from anybit.ops.channels_last.windows import AUTO_PAD, CEIL_MODE, DILATIONS, KERNEL_SHAPE, PADS, STRIDES, check_windows
from anybit.ops.operator import Input, Operator, Types
from anybit.ops.standard.pooling import max_pool


def reference(
    x: npt.ArrayLike,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (),
    pads: Sequence[int] = (),
    dilations: Sequence[int] = (),
    ceil_mode: int = 0,
    auto_pad: str = "NOTSET",
) -> Array:
    """Y[n, o, c] = max over k of X[n, o*stride + k*dilation - pad, c], taps beside X left out.

    Args:
        x: (N, spatial..., C), float16, float32 or float64.
        kernel_shape: Extent of the windows along each spatial axis.
        strides: Their distances; all 1 if empty, as are the dilations.
        pads: Positions before each spatial axis, then behind, over which windows may reach; none if empty.
        dilations: Distance of the taps.
        ceil_mode: 1 counts a last window that lies partly beside X.
        auto_pad: NOTSET, VALID, SAME_UPPER or SAME_LOWER; all but the first take the place of `pads`.

    Raises:
        TypeError: X is not floating point.
    """
    attributes = {
        "kernel_shape": kernel_shape,
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "ceil_mode": ceil_mode,
        "auto_pad": auto_pad,
    }
    with np.errstate(all="ignore"):
        return channels_last(max_pool(channels_first(x), attributes), np.asarray(x).dtype)


@traced_when_needed(first_body, last_body)
def body(script, op, first_body, last_body):
    """The standard operator between two Transposes."""

    @script
    def body(
        X,
        kernel_shape: Sequence[int],
        strides: Sequence[int] = (),
        pads: Sequence[int] = (),
        dilations: Sequence[int] = (),
        ceil_mode: int = 0,
        auto_pad: str = "NOTSET",
    ):
        y = op.MaxPool(
            first_body(X),
            kernel_shape=kernel_shape,
            strides=strides,
            pads=pads,
            dilations=dilations,
            ceil_mode=ceil_mode,
            auto_pad=auto_pad,
        )
        return last_body(y)

    return body


def infer(context: InferenceContext) -> None:
    """(N, windows..., C)."""
    x = dimensions(context, 0)
    infer_shape(context, None if x is None else [x[0], *window_positions(context, x), x[-1]])


MAX_POOL = Operator(
    name="MaxPool",
    domain=DOMAIN,
    doc="MaxPool on (N, spatial..., C).",
    inputs=(Input("X", Types.FLOAT, "(N, spatial..., C)"),),
    attributes=(KERNEL_SHAPE, STRIDES, PADS, DILATIONS, CEIL_MODE, AUTO_PAD),
    reference=reference,
    body=body,
    infer=infer,
    check=check_windows,
)
