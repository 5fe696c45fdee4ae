"""Conv with channels last.   Y[n, o, m] = B[m] + sum over k, c of W[m, k, c] * X[n, o*stride + k*dilation - pad, c]."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from onnx.shape_inference import InferenceContext

from anybit.arrays import Array
from anybit.errors import Finding
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
from anybit.ops.channels_last.windows import AUTO_PAD, DILATIONS, KERNEL_SHAPE, PADS, STRIDES, check_windows
from anybit.ops.operator import Attribute, Call, Input, Operator, Types
from anybit.ops.standard.convolution import conv


def reference(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    kernel_shape: Sequence[int] = (),
    strides: Sequence[int] = (),
    pads: Sequence[int] = (),
    dilations: Sequence[int] = (),
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Array:
    """Y[n, o, m] = B[m] + sum over k, c of W[m, k, c] * X[n, o*stride + k*dilation - pad, c]; zero outside X.

    Accumulated in float64 and rounded once, like the standard operator.

    Args:
        x: (N, spatial..., C), float16, float32 or float64.
        w: (M, kernel..., C/group).
        b: (M,), or None.
        kernel_shape: The kernel's extents, as W has them.
        strides: Distance of the windows along each spatial axis; all 1 if empty, as are the dilations.
        pads: Zeros before each spatial axis, then those behind; none if empty.
        dilations: Distance of the taps along each spatial axis.
        group: Groups of channels that stay apart.
        auto_pad: NOTSET, VALID, SAME_UPPER or SAME_LOWER; all but the first take the place of `pads`.

    Raises:
        TypeError: X is not floating point.
        ValueError: Shapes do not agree.
    """
    del kernel_shape
    attributes = {"strides": strides, "pads": pads, "dilations": dilations, "group": group, "auto_pad": auto_pad}
    bias = None if b is None else np.asarray(b, np.float64)
    with np.errstate(all="ignore"):
        y = conv(channels_first(x), channels_first(w), bias, attributes)
    return channels_last(y, np.asarray(x).dtype)


@traced_when_needed(first_body, last_body)
def body(script, op, first_body, last_body):
    """The standard operator between two Transposes."""

    @script
    def body(
        X,
        W,
        B,
        kernel_shape: Sequence[int],
        strides: Sequence[int] = (),
        pads: Sequence[int] = (),
        dilations: Sequence[int] = (),
        group: int = 1,
        auto_pad: str = "NOTSET",
    ):
        y = op.Conv(
            first_body(X),
            first_body(W),
            B,
            kernel_shape=kernel_shape,
            strides=strides,
            pads=pads,
            dilations=dilations,
            group=group,
            auto_pad=auto_pad,
        )
        return last_body(y)

    return body


def infer(context: InferenceContext) -> None:
    """(N, windows..., M)."""
    x, w = dimensions(context, 0), dimensions(context, 1)
    if x is None or (w is not None and len(w) != len(x)):
        infer_shape(context, None)
        return
    kernel, outputs = (None, None) if w is None else (w[1:-1], w[0])
    infer_shape(context, [x[0], *window_positions(context, x, kernel), outputs])


def check(call: Call) -> Iterable[Finding]:
    """Rules of a Conv node: the windows, the kernel, the groups."""
    yield from check_windows(call)
    x, w, group = call.shapes.get("X"), call.shapes.get("W"), call.attributes["group"]
    if w is None:
        return
    kernel = call.attributes["kernel_shape"]
    if w[1:-1] != kernel:
        yield call.finding("kernel", "kernel_shape", got=kernel, expected=f"{w[1:-1]}, those of W (M, kernel..., C)")
    channels = None if x is None else x[-1]
    if not isinstance(group, int) or group < 1 or w[0] is None or w[0] % group:
        yield call.finding("group", "group", got=group, expected=f"a divisor of {w[0]}, the outputs of W")
    elif channels is not None and w[-1] is not None and w[-1] * group != channels:
        yield call.finding("group", "channels of W", got=w[-1], expected=f"{channels} / {group}, X's by group")


CONV = Operator(
    name="Conv",
    domain=DOMAIN,
    doc="Conv on (N, spatial..., C) with weights (M, kernel..., C/group).",
    inputs=(
        Input("X", Types.FLOAT, "(N, spatial..., C)"),
        Input("W", Types.FLOAT, "(M, kernel..., C/group)"),
        Input("B", Types.FLOAT, "(M,)", optional=True),
    ),
    attributes=(
        KERNEL_SHAPE,
        STRIDES,
        PADS,
        DILATIONS,
        Attribute("group", int, 1, "groups of channels that stay apart"),
        AUTO_PAD,
    ),
    reference=reference,
    body=body,
    infer=infer,
    check=check,
)
