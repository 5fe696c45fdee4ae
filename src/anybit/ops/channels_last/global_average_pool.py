"""GlobalAveragePool with channels last.   Y[n, 1..., c] = mean over all positions s of X[n, s, c]."""

from __future__ import annotations

from collections.abc import Iterable

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
)
from anybit.ops.operator import Call, Input, Operator, Types
from anybit.ops.standard.pooling import global_average_pool


def reference(x: npt.ArrayLike) -> Array:
    """Y[n, 1..., c] = mean over all positions s of X[n, s, c].

    Args:
        x: (N, spatial..., C), float16, float32 or float64.

    Raises:
        TypeError: X is not floating point.

    Example:
        >>> reference(np.float32([[[1, 10], [3, 20]]])).tolist()
        [[[2.0, 15.0]]]
    """
    with np.errstate(all="ignore"):
        return channels_last(global_average_pool(channels_first(x)), np.asarray(x).dtype)


@traced_when_needed(first_body, last_body)
def body(script, op, first_body, last_body):
    """The standard operator between two Transposes."""

    @script
    def body(X):
        return last_body(op.GlobalAveragePool(first_body(X)))

    return body


def infer(context: InferenceContext) -> None:
    """(N, 1..., C)."""
    x = dimensions(context, 0)
    infer_shape(context, None if x is None else [x[0], *(1 for _ in x[1:-1]), x[-1]])


def check(call: Call) -> Iterable[Finding]:
    """X has a spatial axis."""
    shape = call.shapes.get("X")
    if shape is not None and len(shape) < 3:
        yield call.finding("rank", "rank of X", got=len(shape), expected="at least 3: (N, spatial..., C)")


GLOBAL_AVERAGE_POOL = Operator(
    name="GlobalAveragePool",
    domain=DOMAIN,
    doc="GlobalAveragePool on (N, spatial..., C).",
    inputs=(Input("X", Types.FLOAT, "(N, spatial..., C)"),),
    reference=reference,
    body=body,
    infer=infer,
    check=check,
)
