"""Quant: uniform integer quantisation.   Y = (round(clip(X/scale + zeropt, lo, hi)) - zeropt) * scale."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.errors import Finding
from anybit.number_formats import BipolarFormat, IntFormat, NumberFormat
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


def reference(
    x: npt.ArrayLike,
    scale: npt.ArrayLike,
    zeropt: npt.ArrayLike,
    bitwidth: npt.ArrayLike,
    *,
    signed: int = 1,
    narrow: int = 0,
    rounding_mode: str = "ROUND",
) -> Array:
    """Y = (round(clip(X/scale + zeropt, lo, hi)) - zeropt) * scale, lo .. hi being the grid of the bit width.

    Arithmetic is that of X's type (float32 for float16). Where the bit width is above 24, whose integers float32
    does not hold, clipping and scaling happen in float64, so that no bound is off by one. A signed grid of one bit
    is bipolar: +1 where X/scale + zeropt >= 0, else -1. NaN stays NaN; infinities clip.

    Args:
        x: Tensor of float16, float32 or float64; Y has its type and shape.
        scale: Positive; broadcasts to X, as `zeropt` and `bitwidth` do. A 1-D tensor aligns with the last axis.
        zeropt: Zero point; may be fractional.
        bitwidth: Positive integers, of any numeric type.
        signed: 1 for lo .. hi = -2^(b-1) .. 2^(b-1) - 1, 0 for 0 .. 2^b - 1.
        narrow: 1 to give up the lowest integer of a signed grid, the highest of an unsigned one.
        rounding_mode: Name of a `Rounding`, in any case.

    Raises:
        TypeError: X is not floating point.
        ValueError: A bit width is not a positive integer, or a parameter does not broadcast to X.

    Example:
        >>> reference(np.float32([0.26, 9.0, -9.0]), 0.5, 0.0, 3).tolist()
        [0.5, 1.5, -2.0]
    """
    source = np.asarray(x)
    values = widened(source)
    s, z = (np.asarray(p).astype(values.dtype) for p in (scale, zeropt))
    bits = checked_bit_width(bitwidth)
    broadcast_to_x(values, s, z, bits)
    if not bits.size:
        return source.copy()
    with np.errstate(all="ignore"):  # overflow and NaN have defined results
        v = values / s + z
        y = _on_grid(v, s, z, bits, signed=bool(signed), narrow=bool(narrow), rounding=Rounding.parse(rounding_mode))
        return y.astype(source.dtype)


def _on_grid(
    v: npt.NDArray[np.floating[Any]],
    s: npt.NDArray[np.floating[Any]],
    z: npt.NDArray[np.floating[Any]],
    bits: npt.NDArray[np.float64],
    *,
    signed: bool,
    narrow: bool,
    rounding: Rounding,
) -> Array:
    lo, hi = integer_bounds(bits, signed=signed, narrow=narrow)
    y = clipped_and_scaled(rounding(v), lo, hi, bits, z, s)
    if not signed or bits.min() > 1:
        return y
    sign = np.where(np.isnan(v), v, np.where(v >= 0, 1, -1)).astype(v.dtype)
    return np.where(bits == 1, (sign - z) * s, y)


@traced_when_needed(rounded)
def body(script, op, rounded):
    """The reference in ONNX operators; every condition below is constant once attributes and bit width are."""

    @script
    def body(X, scale, zeropt, bitwidth, signed: int = 1, narrow: int = 0, rounding_mode: str = "ROUND"):
        s = op.CastLike(scale, X)
        z = op.CastLike(zeropt, X)
        v = op.Add(op.Div(X, s), z)
        bits = op.Cast(bitwidth, to=11)
        is_signed = op.Cast(op.Constant(value_int=signed), to=11)
        is_narrow = op.Cast(op.Constant(value_int=narrow), to=11)
        one = op.Cast(op.Constant(value_float=1.0), to=11)
        levels = op.Pow(op.Cast(op.Constant(value_float=2.0), to=11), op.Sub(bits, is_signed))
        hi = op.Sub(op.Sub(levels, one), op.Mul(is_narrow, op.Sub(one, is_signed)))
        lo = op.Mul(is_signed, op.Sub(is_narrow, levels))
        low = op.CastLike(lo, X)
        high = op.CastLike(hi, X)
        is_wide = op.Greater(bits, op.Cast(op.Constant(value_float=24.0), to=11))
        any_wide = op.Cast(op.ReduceMax(op.Cast(is_wide, to=6), keepdims=0), to=9)
        if any_wide:
            r = rounded(v, rounding_mode=rounding_mode)
            wide_q = op.Min(op.Max(op.Cast(r, to=11), lo), hi)
            wide = op.Mul(op.Sub(wide_q, op.Cast(z, to=11)), op.Cast(s, to=11))
            slim = op.Mul(op.Sub(op.Min(op.Max(r, low), high), z), s)
            on_grid = op.Where(is_wide, op.CastLike(wide, X), slim)
        else:
            q = rounded(op.Min(op.Max(v, low), high), rounding_mode=rounding_mode)
            on_grid = op.Mul(op.Sub(q, z), s)
        is_bipolar = op.And(op.Equal(bits, one), op.Cast(is_signed, to=9))
        any_bipolar = op.Cast(op.ReduceMax(op.Cast(is_bipolar, to=6), keepdims=0), to=9)
        if any_bipolar:
            plus = op.CastLike(one, X)
            sign = op.Where(op.IsNaN(v), v, op.Where(op.GreaterOrEqual(v, op.Sub(plus, plus)), plus, op.Neg(plus)))
            y = op.Where(is_bipolar, op.Mul(op.Sub(sign, z), s), on_grid)
        else:
            y = op.Identity(on_grid)
        return y

    return body


def check(call: Call) -> Iterable[Finding]:
    """Rules of a Quant node."""
    yield from check_scale(call, "scale")
    yield from check_finite(call, "zeropt")
    yield from check_bit_width(call, "bitwidth")
    yield from check_broadcast(call, "scale", "zeropt", "bitwidth")
    yield from check_flags(call, "signed", "narrow")
    yield from check_rounding(call)


def number_format(call: Call) -> NumberFormat | None:
    """INTn, UINTn or BIPOLAR where the bit width is one constant."""
    width, signed = constant_bit_width(call, "bitwidth"), bool(call.attributes["signed"])
    if width is None:
        return None
    return BipolarFormat() if signed and width == 1 else IntFormat(width, signed=signed)


QUANT = Operator(
    name="Quant",
    aliases=("IntQuant",),
    doc="Uniform integer quantisation: Y = (round(clip(X/scale + zeropt, lo, hi)) - zeropt) * scale.",
    inputs=(
        Input("X", Types.FLOAT, "tensor to quantise"),
        Input("scale", description="step of the grid, broadcasts to X"),
        Input("zeropt", description="zero point, broadcasts to X"),
        Input("bitwidth", description="positive integers, broadcasts to X"),
    ),
    attributes=(
        Attribute("signed", int, 1, "whether the grid has negative integers"),
        Attribute("narrow", int, 0, "whether one end of the grid is given up"),
        Attribute("rounding_mode", str, "ROUND", "name of the rounding mode, in any case"),
    ),
    reference=reference,
    body=body,
    traits=QUANTIZER_TRAITS,
    check=check,
    number_format=number_format,
)
