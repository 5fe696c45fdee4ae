"""FloatQuant: quantisation to a small floating-point format.

e = max(floor(log2|X/scale|), 1 - bias);  u = 2^(e - m);  Y = clip(u * round(X/scale/u), -max, max) * scale
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array, as_float64
from anybit.errors import Finding
from anybit.number_formats import FloatFormat, NumberFormat
from anybit.ops.bodies.rounding import check_rounding, rounded
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.operator import Attribute, Call, Input, Operator, Types, widened
from anybit.ops.quantizer_parameters import broadcast_to_x, check_broadcast, check_flags, check_scale, summary
from anybit.ops.traits import QUANTIZER_TRAITS
from anybit.rounding import Rounding


def reference(
    x: npt.ArrayLike,
    scale: npt.ArrayLike,
    exponent_bitwidth: npt.ArrayLike,
    mantissa_bitwidth: npt.ArrayLike,
    exponent_bias: npt.ArrayLike,
    max_val: npt.ArrayLike,
    *,
    has_inf: int = 0,
    has_nan: int = 0,
    has_subnormal: int = 1,
    saturation: int = 1,
    rounding_mode: str = "ROUND",
) -> Array:
    """e = max(floor(log2|X/scale|), 1 - bias);  u = 2^(e - m);  Y = clip(u * round(X/scale/u), -max, max) * scale.

    max = min((2 - 2^-m) * 2^(2^E - 1 - bias), max_val). X/scale is a division in X's type (float32 for float16);
    from there to the last product the arithmetic is exact, in float64. What exceeds max becomes +-max; with
    saturation 0 it becomes +-inf if the format has infinities, else NaN. NaN stays NaN.

    Args:
        x: Tensor of float16, float32 or float64; Y has its type and shape.
        scale: Positive; broadcasts to X, as the other inputs do.
        exponent_bitwidth: E, bits of the exponent.
        mantissa_bitwidth: m, bits of the mantissa.
        exponent_bias: Any integer; 0 is a bias like any other.
        max_val: Largest magnitude, before scaling.
        has_inf: 1 if the format has infinities.
        has_nan: 1 if the format has NaN.
        has_subnormal: Kept for the file format; subnormal numbers are always used.
        saturation: 0 if overflow leaves the finite numbers.
        rounding_mode: Name of a `Rounding`, in any case.

    Raises:
        TypeError: X is not floating point.
        ValueError: A parameter does not broadcast to X, or overflow has nowhere to go.

    Example:
        >>> reference(np.float32([0.3, 1000.0]), 1.0, 4, 3, 7, 448.0).tolist()
        [0.3125, 448.0]
    """
    del has_subnormal
    if not (saturation or has_inf or has_nan):
        raise ValueError("without saturation a format needs an infinity or NaN to overflow to")
    source = np.asarray(x)
    values = widened(source)
    s = np.asarray(scale).astype(values.dtype)
    exponent_bits, mantissa_bits, bias, limit = (
        np.asarray(p).astype(np.float64) for p in (exponent_bitwidth, mantissa_bitwidth, exponent_bias, max_val)
    )
    broadcast_to_x(values, s, exponent_bits, mantissa_bits, bias, limit)
    with np.errstate(all="ignore"):
        largest = np.minimum((2 - np.exp2(-mantissa_bits)) * np.exp2(np.exp2(exponent_bits) - 1 - bias), limit)
        v = (values / s).astype(np.float64)
        beyond = 2 * np.maximum(largest, np.exp2(1 - bias))  # a normal number that still overflows, and has an exponent
        v = np.clip(v, -beyond, beyond)
        exponent = np.maximum(np.frexp(v)[1] - 1, 1 - bias)
        exponent = np.where(v == 0, 1 - bias, exponent)
        unit = np.exp2(exponent - mantissa_bits)
        y = unit * Rounding.parse(rounding_mode)(v / unit)
        overflow = np.abs(y) > largest
        y = np.clip(y, -largest, largest)
        if not saturation:
            y = np.where(overflow, np.copysign(np.inf, y) if has_inf else np.nan, y)
        return (y.astype(values.dtype) * s).astype(source.dtype)


@traced_when_needed(rounded)
def body(script, op, rounded):
    """The reference in ONNX operators. ONNX has no frexp: the logarithm's floor is put right by comparison."""

    @script
    def body(
        X,
        scale,
        exponent_bitwidth,
        mantissa_bitwidth,
        exponent_bias,
        max_val,
        has_inf: int = 0,
        has_nan: int = 0,
        has_subnormal: int = 1,
        saturation: int = 1,
        rounding_mode: str = "ROUND",
    ):
        s = op.CastLike(scale, X)
        two = op.Cast(op.Constant(value_float=2.0), to=11)
        one = op.Cast(op.Constant(value_float=1.0), to=11)
        mantissa_bits = op.Cast(mantissa_bitwidth, to=11)
        bias = op.Cast(exponent_bias, to=11)
        largest_exponent = op.Sub(op.Sub(op.Pow(two, op.Cast(exponent_bitwidth, to=11)), one), bias)
        significand = op.Sub(two, op.Pow(two, op.Neg(mantissa_bits)))
        largest = op.Min(op.Mul(significand, op.Pow(two, largest_exponent)), op.Cast(max_val, to=11))
        limit = op.Mul(two, op.Max(largest, op.Pow(two, op.Sub(one, bias))))
        v = op.Min(op.Max(op.Cast(op.Div(X, s), to=11), op.Neg(limit)), limit)
        magnitude = op.Abs(v)
        guess = op.Floor(op.Div(op.Log(magnitude), op.Log(two)))
        zero = op.Sub(one, one)
        too_high = op.Where(op.Greater(op.Pow(two, guess), magnitude), one, zero)
        too_low = op.Where(op.LessOrEqual(op.Pow(two, op.Add(guess, one)), magnitude), one, zero)
        exponent = op.Max(op.Add(op.Sub(guess, too_high), too_low), op.Sub(one, bias))
        unit = op.Pow(two, op.Sub(exponent, mantissa_bits))
        r = op.Mul(unit, rounded(op.Div(v, unit), rounding_mode=rounding_mode))
        clipped = op.Min(op.Max(r, op.Neg(largest)), largest)
        if op.Cast(op.Constant(value_int=saturation), to=9):
            y = op.Identity(clipped)
        else:
            infinity = op.Div(one, zero)
            if op.Cast(op.Constant(value_int=has_inf), to=9):
                beyond = op.Mul(op.Sign(r), infinity)
            else:
                beyond = op.Sub(infinity, infinity)
            y = op.Where(op.Greater(op.Abs(r), largest), beyond, clipped)
        return op.Mul(op.CastLike(y, X), s)

    return body


def check(call: Call) -> Iterable[Finding]:
    """Rules of a FloatQuant node."""
    yield from check_scale(call, "scale")
    yield from _check_whole(call, "exponent_bitwidth", lowest=0)
    yield from _check_whole(call, "mantissa_bitwidth", lowest=0)
    yield from _check_whole(call, "exponent_bias", lowest=None)
    yield from check_scale(call, "max_val")
    yield from check_broadcast(call, *(i.name for i in FLOAT_QUANT.inputs[1:]))
    yield from check_flags(call, "has_inf", "has_nan", "has_subnormal", "saturation")
    yield from check_rounding(call)
    if not any(call.attributes[name] for name in ("saturation", "has_inf", "has_nan")):
        yield call.finding(
            "overflow",
            "saturation = 0",
            got="a format with neither infinity nor NaN",
            expected="somewhere for overflow to go",
            hint="set saturation, has_inf or has_nan to 1",
        )


def _check_whole(call: Call, name: str, *, lowest: int | None) -> Iterable[Finding]:
    value = call.constants.get(name)
    if value is None:
        return
    numbers = as_float64(value)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(numbers) & (numbers == np.floor(numbers))
    if lowest is not None:
        good &= numbers >= lowest
    if not good.all():
        expected = "an integer" if lowest is None else f"an integer of at least {lowest}"
        yield call.finding("bit-width", name, got=summary(value), expected=expected)


def number_format(call: Call) -> NumberFormat | None:
    """FLOAT<e,m,bias> where the three are constant scalars."""
    fields = [call.constants.get(n) for n in ("exponent_bitwidth", "mantissa_bitwidth", "exponent_bias")]
    if any(f is None or f.size != 1 or not float(f.flat[0]).is_integer() for f in fields):
        return None
    exponent, mantissa, bias = (int(f.flat[0]) for f in fields if f is not None)
    return FloatFormat(exponent, mantissa, bias) if exponent >= 1 and mantissa >= 0 else None


FLOAT_QUANT = Operator(
    name="FloatQuant",
    doc="Quantisation to a small floating-point format of given exponent and mantissa widths, bias and largest value.",
    inputs=(
        Input("X", Types.FLOAT, "tensor to quantise"),
        Input("scale", description="unit of the format, broadcasts to X"),
        Input("exponent_bitwidth", description="bits of the exponent"),
        Input("mantissa_bitwidth", description="bits of the mantissa"),
        Input("exponent_bias", description="bias of the exponent"),
        Input("max_val", description="largest magnitude before scaling"),
    ),
    attributes=(
        Attribute("has_inf", int, 0, "whether the format has infinities"),
        Attribute("has_nan", int, 0, "whether the format has NaN"),
        Attribute("has_subnormal", int, 1, "whether the format has subnormal numbers; they are always used"),
        Attribute("saturation", int, 1, "whether overflow gives the largest number"),
        Attribute("rounding_mode", str, "ROUND", "name of the rounding mode, in any case"),
    ),
    reference=reference,
    body=body,
    traits=QUANTIZER_TRAITS,
    check=check,
    number_format=number_format,
)
