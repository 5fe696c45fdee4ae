"""BipolarQuant: one-bit quantisation to two values.   Y = scale where X >= 0, else -scale."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.errors import Finding
from anybit.number_formats import BipolarFormat, NumberFormat
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.operator import Call, Input, Operator, Types, widened
from anybit.ops.quantizer_parameters import broadcast_to_x, check_broadcast, check_scale
from anybit.ops.traits import QUANTIZER_TRAITS


def reference(x: npt.ArrayLike, scale: npt.ArrayLike) -> Array:
    """Y = scale where X >= 0, else -scale; NaN stays NaN.

    Args:
        x: Tensor of float16, float32 or float64; Y has its type and shape.
        scale: Positive; broadcasts to X.

    Raises:
        TypeError: X is not floating point.
        ValueError: The scale does not broadcast to X.

    Example:
        >>> reference(np.float32([-0.1, 0.0, 3.0]), 0.5).tolist()
        [-0.5, 0.5, 0.5]
    """
    source = np.asarray(x)
    values = widened(source)
    s = np.asarray(scale).astype(values.dtype)
    broadcast_to_x(values, s)
    with np.errstate(all="ignore"):
        y = np.where(np.isnan(values), values, np.where(values >= 0, s, -s))
        return y.astype(source.dtype)


@traced_when_needed()
def body(script, op):
    """The reference in ONNX operators."""

    @script
    def body(X, scale):
        s = op.CastLike(scale, X)
        zero = op.CastLike(op.Constant(value_float=0.0), X)
        sign = op.Where(op.GreaterOrEqual(X, zero), s, op.Neg(s))
        return op.Where(op.IsNaN(X), X, sign)

    return body


def check(call: Call) -> Iterable[Finding]:
    """Rules of a BipolarQuant node."""
    yield from check_scale(call, "scale")
    yield from check_broadcast(call, "scale")


def number_format(call: Call) -> NumberFormat:
    """BIPOLAR."""
    del call
    return BipolarFormat()


BIPOLAR_QUANT = Operator(
    name="BipolarQuant",
    doc="One-bit quantisation to two values: Y = scale where X >= 0, else -scale.",
    inputs=(
        Input("X", Types.FLOAT, "tensor to quantise"),
        Input("scale", description="magnitude of the result, broadcasts to X"),
    ),
    reference=reference,
    body=body,
    traits=QUANTIZER_TRAITS,
    check=check,
    number_format=number_format,
)
