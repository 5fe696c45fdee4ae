"""Trunc: drop the lowest bits of a quantised tensor, as integer hardware does after pooling.

Version 1:   q = half_even(X/scale + zeropt);  Y = (rounding(q / 2^(in - out)) - zeropt) * scale
Version 2:   t = 2^half_even(log2(out_scale/scale));  Y = (clip(rounding(q / t), lo, hi) - zeropt/t) * out_scale
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.errors import Finding
from anybit.number_formats import IntFormat, NumberFormat
from anybit.ops.bodies.rounding import check_rounding, rounded
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.operator import Attribute, Call, Input, Operator, Types, widened
from anybit.ops.quantizer_parameters import (
    broadcast_to_x,
    check_bit_width,
    check_broadcast,
    check_finite,
    check_flags,
    check_scale,
    checked_bit_width,
    clipped_and_scaled,
    constant_bit_width,
    integer_bounds,
)
from anybit.ops.traits import QUANTIZER_TRAITS
from anybit.rounding import Rounding


def reference_1(
    x: npt.ArrayLike,
    scale: npt.ArrayLike,
    zeropt: npt.ArrayLike,
    in_bitwidth: npt.ArrayLike,
    out_bitwidth: npt.ArrayLike,
    *,
    rounding_mode: str = "FLOOR",
) -> Array:
    """q = half_even(X/scale + zeropt);  Y = (rounding(q / 2^(in - out)) - zeropt) * scale.

    Nothing is clipped, and the scale is not enlarged: the caller's graph accounts for the bits that are gone.

    Args:
        x: Tensor of float16, float32 or float64; Y has its type and shape.
        scale: Step of X's grid; broadcasts to X, as the other inputs do.
        zeropt: Zero point of X's grid.
        in_bitwidth: Bit width of X, positive integers.
        out_bitwidth: Bit width of Y, positive integers.
        rounding_mode: Name of a `Rounding`, in any case.

    Raises:
        TypeError: X is not floating point.
        ValueError: A bit width is not a positive integer, or a parameter does not broadcast to X.

    Example:
        >>> reference_1(np.float32([17.0]), 1.0, 0.0, 8, 4).tolist()
        [1.0]
    """
    source = np.asarray(x)
    values = widened(source)
    s, z = (np.asarray(p).astype(values.dtype) for p in (scale, zeropt))
    divisor = np.exp2(checked_bit_width(in_bitwidth) - checked_bit_width(out_bitwidth)).astype(values.dtype)
    broadcast_to_x(values, s, z, divisor)
    with np.errstate(all="ignore"):
        q = np.rint(values / s + z)
        y = (Rounding.parse(rounding_mode)(q / divisor) - z) * s
        return y.astype(source.dtype)


@traced_when_needed(rounded)
def body_1(script, op, rounded):
    """Version 1 in ONNX operators."""

    @script
    def body_1(X, scale, zeropt, in_bitwidth, out_bitwidth, rounding_mode: str = "FLOOR"):
        s = op.CastLike(scale, X)
        z = op.CastLike(zeropt, X)
        two = op.Cast(op.Constant(value_float=2.0), to=11)
        divisor = op.CastLike(op.Pow(two, op.Sub(op.Cast(in_bitwidth, to=11), op.Cast(out_bitwidth, to=11))), X)
        q = op.Round(op.Add(op.Div(X, s), z))
        r = rounded(op.Div(q, divisor), rounding_mode=rounding_mode)
        return op.Mul(op.Sub(r, z), s)

    return body_1


def reference(
    x: npt.ArrayLike,
    scale: npt.ArrayLike,
    zeropt: npt.ArrayLike,
    in_bitwidth: npt.ArrayLike,
    out_scale: npt.ArrayLike,
    out_bitwidth: npt.ArrayLike,
    *,
    rounding_mode: str = "FLOOR",
    signed: int = 1,
    narrow: int = 0,
) -> Array:
    """t = 2^half_even(log2(out_scale/scale));  Y = (clip(rounding(q / t), lo, hi) - zeropt/t) * out_scale.

    q = half_even(X/scale + zeropt) is the integer behind X; t, the number of integers that become one, is taken to
    be a power of two. `in_bitwidth` has no part in the arithmetic. Output widths above 24 are as in Quant.

    Args:
        x: Tensor of float16, float32 or float64; Y has its type and shape.
        scale: Step of X's grid; broadcasts to X, as the other inputs do.
        zeropt: Zero point of X's grid.
        in_bitwidth: Bit width of X, positive integers.
        out_scale: Step of Y's grid.
        out_bitwidth: Bit width of Y, positive integers; with `signed` and `narrow` it gives lo .. hi.
        rounding_mode: Name of a `Rounding`, in any case.
        signed: 1 for a signed output grid.
        narrow: 1 to give up one end of the output grid.

    Raises:
        TypeError: X is not floating point.
        ValueError: A bit width is not a positive integer, or a parameter does not broadcast to X.

    Example:
        >>> reference(np.float32([17.0]), 1.0, 0.0, 8, 16.0, 4).tolist()
        [16.0]
    """
    source = np.asarray(x)
    values = widened(source)
    checked_bit_width(in_bitwidth)
    bits = checked_bit_width(out_bitwidth)
    lo, hi = integer_bounds(bits, signed=bool(signed), narrow=bool(narrow))
    s, z, out_s = (np.asarray(p).astype(values.dtype) for p in (scale, zeropt, out_scale))
    with np.errstate(all="ignore"):
        t = merged_integers(s, out_s).astype(values.dtype)
        broadcast_to_x(values, s, z, t, out_s, lo)
        q = np.rint(values / s + z)
        y = clipped_and_scaled(Rounding.parse(rounding_mode)(q / t), lo, hi, bits, z / t, out_s)
        return y.astype(source.dtype)


def merged_integers(scale: Array, out_scale: Array) -> npt.NDArray[np.float64]:
    """How many integers of the finer grid become one: 2^half_even(log2(out_scale/scale)).

    Example:
        >>> merged_integers(np.float32(0.1), np.float32(0.8)).item()
        8.0
    """
    # Not by log2, which is 0.5 on both sides of the square root of 2.
    significand, exponent = np.frexp(out_scale.astype(np.float64) / scale.astype(np.float64))
    return np.ldexp(1.0, np.where(significand >= np.sqrt(0.5), exponent, exponent - 1))


@traced_when_needed(rounded)
def body(script, op, rounded):
    """Version 2 in ONNX operators."""

    @script
    def body(
        X,
        scale,
        zeropt,
        in_bitwidth,
        out_scale,
        out_bitwidth,
        rounding_mode: str = "FLOOR",
        signed: int = 1,
        narrow: int = 0,
    ):
        s = op.CastLike(scale, X)
        z = op.CastLike(zeropt, X)
        out_s = op.CastLike(out_scale, X)
        two = op.Cast(op.Constant(value_float=2.0), to=11)
        one = op.Cast(op.Constant(value_float=1.0), to=11)
        ratio = op.Div(op.Cast(out_s, to=11), op.Cast(s, to=11))
        guess = op.Round(op.Div(op.Log(ratio), op.Log(two)))  # off by one next to the square root of 2: put right below
        rest = op.Div(ratio, op.Pow(two, guess))
        too_low = op.Cast(op.GreaterOrEqual(rest, op.Sqrt(two)), to=11)
        too_high = op.Cast(op.Less(rest, op.Sqrt(op.Div(one, two))), to=11)
        t = op.CastLike(op.Pow(two, op.Sub(op.Add(guess, too_low), too_high)), X)
        is_signed = op.Cast(op.Constant(value_int=signed), to=11)
        is_narrow = op.Cast(op.Constant(value_int=narrow), to=11)
        bits = op.Cast(out_bitwidth, to=11)
        levels = op.Pow(two, op.Sub(bits, is_signed))
        hi = op.Sub(op.Sub(levels, one), op.Mul(is_narrow, op.Sub(one, is_signed)))
        lo = op.Mul(is_signed, op.Sub(is_narrow, levels))
        low = op.CastLike(lo, X)
        high = op.CastLike(hi, X)
        q = op.Round(op.Add(op.Div(X, s), z))
        r = rounded(op.Div(q, t), rounding_mode=rounding_mode)
        z_out = op.Div(z, t)
        slim = op.Mul(op.Sub(op.Min(op.Max(r, low), high), z_out), out_s)
        is_wide = op.Greater(bits, op.Cast(op.Constant(value_float=24.0), to=11))
        any_wide = op.Cast(op.ReduceMax(op.Cast(is_wide, to=6), keepdims=0), to=9)
        if any_wide:
            wide_q = op.Min(op.Max(op.Cast(r, to=11), lo), hi)
            wide = op.Mul(op.Sub(wide_q, op.Cast(z_out, to=11)), op.Cast(out_s, to=11))
            y = op.Where(is_wide, op.CastLike(wide, X), slim)
        else:
            y = op.Identity(slim)
        return y

    return body


def check_1(call: Call) -> Iterable[Finding]:
    """Rules of a Trunc node of version 1."""
    yield from check_scale(call, "scale")
    yield from check_finite(call, "zeropt")
    yield from check_bit_width(call, "in_bitwidth")
    yield from check_bit_width(call, "out_bitwidth")
    yield from check_broadcast(call, "scale", "zeropt", "in_bitwidth", "out_bitwidth")
    yield from check_rounding(call)


def check(call: Call) -> Iterable[Finding]:
    """Rules of a Trunc node of version 2."""
    yield from check_1(call)
    yield from check_scale(call, "out_scale")
    yield from check_broadcast(call, "out_scale")
    yield from check_flags(call, "signed", "narrow")


def number_format(call: Call) -> NumberFormat | None:
    """INTn or UINTn of the output bit width, where it is one constant."""
    width = constant_bit_width(call, "out_bitwidth")
    return None if width is None else IntFormat(width, signed=bool(call.attributes["signed"]))


_X = Input("X", Types.FLOAT, "quantised tensor")
_SCALE = Input("scale", description="step of X's grid, broadcasts to X")
_ZERO_POINT = Input("zeropt", description="zero point of X's grid, broadcasts to X")
_IN_BITS = Input("in_bitwidth", description="bit width of X")
_OUT_BITS = Input("out_bitwidth", description="bit width of Y")
_ROUNDING = Attribute("rounding_mode", str, "FLOOR", "name of the rounding mode, in any case")

TRUNC_1 = Operator(
    name="Trunc",
    doc="Drops low bits, scale kept: Y = (rounding(half_even(X/scale + zeropt) / 2^(in - out)) - zeropt) * scale.",
    inputs=(_X, _SCALE, _ZERO_POINT, _IN_BITS, _OUT_BITS),
    attributes=(_ROUNDING,),
    reference=reference_1,
    body=body_1,
    traits=QUANTIZER_TRAITS,
    check=check_1,
)

TRUNC = Operator(
    name="Trunc",
    since=2,
    doc="Drops low bits, scale enlarged: Y = (clip(rounding(half_even(X/scale + zeropt) / t)) - zeropt/t) * out_scale, "
    "t = 2^half_even(log2(out_scale/scale)).",
    inputs=(
        _X,
        _SCALE,
        _ZERO_POINT,
        _IN_BITS,
        Input("out_scale", description="step of Y's grid, broadcasts to X"),
        _OUT_BITS,
    ),
    attributes=(
        _ROUNDING,
        Attribute("signed", int, 1, "whether Y's grid has negative integers"),
        Attribute("narrow", int, 0, "whether one end of Y's grid is given up"),
    ),
    reference=reference,
    body=body,
    traits=QUANTIZER_TRAITS,
    check=check,
    number_format=number_format,
)
