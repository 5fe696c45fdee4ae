"""MaxPoolNHWC: MaxPool of images with channels last.   Y[n, i, j, c] = max over k, l of X[n, i*s + k - p, ..., c]."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.errors import Finding
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.channels_last import max_pool
from anybit.ops.channels_last.layout import first_body, last_body
from anybit.ops.channels_last.windows import CEIL_MODE, KERNEL_SHAPE, PADS, STRIDES, check_windows
from anybit.ops.operator import Call, Input, Operator, Types
from anybit.ops.traits import Traits


def reference(
    x: npt.ArrayLike,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (),
    pads: Sequence[int] = (),
    ceil_mode: int = 0,
) -> Array:
    """Y[n, i, j, c] = max over k, l of X[n, i*s + k - p, j*s + l - p, c], taps beside X left out.

    Args:
        x: (N, H, W, C), float16, float32 or float64; Y has its type.
        kernel_shape: Extents of the windows, down and across.
        strides: Their distances; 1 if empty.
        pads: Rows above, columns left, rows below, columns right, over which windows may reach; none if empty.
        ceil_mode: 1 counts a last window that lies partly beside X.

    Raises:
        TypeError: X is not floating point.
        ValueError: X has other than four axes.

    Example:
        >>> reference(np.float32([[[[1], [3], [2]]]]), kernel_shape=[1, 2], strides=[1, 1]).ravel().tolist()
        [3.0, 3.0]
    """
    if np.ndim(x) != 4:
        raise ValueError(f"X has shape {np.shape(x)}, expected (N, H, W, C)")
    return max_pool.reference(x, kernel_shape=kernel_shape, strides=strides, pads=pads, ceil_mode=ceil_mode)


@traced_when_needed(first_body, last_body)
def body(script, op, first_body, last_body):
    """The standard operator between two Transposes."""

    @script
    def body(
        X,
        kernel_shape: Sequence[int],
        strides: Sequence[int] = (),
        pads: Sequence[int] = (),
        ceil_mode: int = 0,
    ):
        y = op.MaxPool(first_body(X), kernel_shape=kernel_shape, strides=strides, pads=pads, ceil_mode=ceil_mode)
        return last_body(y)

    return body


def check(call: Call) -> Iterable[Finding]:
    """X is a batch of images; the lists are those of windows down and across."""
    shape = call.shapes.get("X")
    if shape is not None and len(shape) != 4:
        yield call.finding("rank", "rank of X", got=len(shape), expected="4: (N, H, W, C)")
        return
    kernel = call.integers("kernel_shape")
    if len(kernel) != 2:
        yield call.finding("kernel", "kernel_shape", got=kernel, expected="2 extents, down and across")
        return
    yield from check_windows(_with_auto_pad(call))


def _with_auto_pad(call: Call) -> Call:
    """The call as one of MaxPool, which has further attributes."""
    attributes = {"auto_pad": "NOTSET", **call.attributes}
    return Call(node=call.node, attributes=attributes, constants=call.constants, shapes=call.shapes)


MAX_POOL_NHWC = Operator(
    name="MaxPoolNHWC",
    doc="MaxPool on images (N, H, W, C).",
    inputs=(Input("X", Types.FLOAT, "(N, H, W, C)"),),
    attributes=(KERNEL_SHAPE, STRIDES, PADS, CEIL_MODE),
    reference=reference,
    traits=Traits(finite=True),
    body=body,
    infer=max_pool.infer,
    check=check,
)
