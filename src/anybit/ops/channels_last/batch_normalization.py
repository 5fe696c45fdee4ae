"""BatchNormalization.   Y[n, s, c] = (X[n, s, c] - mean[c]) / sqrt(var[c] + epsilon) * scale[c] + B[c]."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.errors import Finding
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.channels_last.layout import DOMAIN, channels_first, channels_last, first_body, last_body
from anybit.ops.operator import Attribute, Call, Input, Operator, Types
from anybit.ops.standard.linear import batch_normalization

_PARAMETERS = ("scale", "B", "mean", "var")


def reference(
    x: npt.ArrayLike,
    scale: npt.ArrayLike,
    b: npt.ArrayLike,
    mean: npt.ArrayLike,
    var: npt.ArrayLike,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
) -> Array:
    """Y[n, s, c] = (X[n, s, c] - mean[c]) / sqrt(var[c] + epsilon) * scale[c] + B[c].

    Args:
        x: (N, spatial..., C), float16, float32 or float64.
        scale: (C,), as are the following three.
        b: Offset.
        mean: Mean of X.
        var: Variance of X.
        epsilon: Added to the variance.
        momentum: Used in training only.

    Raises:
        TypeError: X is not floating point.
    """
    factor, offset, centre, variance = (np.asarray(p, np.float64) for p in (scale, b, mean, var))
    attributes = {"epsilon": epsilon, "momentum": momentum}
    with np.errstate(all="ignore"):
        y = batch_normalization(channels_first(x), factor, offset, centre, variance, attributes)
    return channels_last(y, np.asarray(x).dtype)


@traced_when_needed(first_body, last_body)
def body(script, op, first_body, last_body):
    """The standard operator between two Transposes."""

    @script
    def body(X, scale, B, mean, var, epsilon: float = 1e-5, momentum: float = 0.9):
        y = op.BatchNormalization(first_body(X), scale, B, mean, var, epsilon=epsilon, momentum=momentum)
        return last_body(y)

    return body


def check(call: Call) -> Iterable[Finding]:
    """The parameters have an entry for each channel."""
    shape = call.shapes.get("X")
    if shape is not None and len(shape) < 3:
        yield call.finding("rank", "rank of X", got=len(shape), expected="at least 3: (N, spatial..., C)")
        return
    channels = None if shape is None else shape[-1]
    for name in _PARAMETERS:
        given = call.shapes.get(name)
        if given is not None and (len(given) != 1 or (channels not in (None, *given) and given[0] is not None)):
            yield call.finding("channels", f"shape of {name}", got=given, expected=f"({channels},), X's channels")


BATCH_NORMALIZATION = Operator(
    name="BatchNormalization",
    domain=DOMAIN,
    doc="BatchNormalization, for inference, on (N, spatial..., C).",
    inputs=(
        Input("X", Types.FLOAT, "(N, spatial..., C)"),
        *(Input(name, Types.FLOAT, "(C,)") for name in _PARAMETERS),
    ),
    attributes=(
        Attribute("epsilon", float, 1e-5, "added to the variance"),
        Attribute("momentum", float, 0.9, "used in training only"),
    ),
    reference=reference,
    body=body,
    check=check,
)
