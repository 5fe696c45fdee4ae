"""The operators in exact rational arithmetic, one number at a time, rounded where IEEE 754 arithmetic rounds.

Nothing here comes from anybit: it is what the operators are compared with.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Binary:
    """A binary floating-point format; its operations round the exact result once, to nearest even."""

    precision: int
    lowest_exponent: int

    def nearest(self, q: Fraction) -> float:
        if q == 0:
            return 0.0
        unit = max(floor_log2(abs(q)), self.lowest_exponent) - self.precision + 1
        whole = round(q / Fraction(2) ** unit)
        if abs(whole) * Fraction(2) ** unit >= Fraction(2) ** (2 - self.lowest_exponent):
            return math.inf if q > 0 else -math.inf
        return math.ldexp(whole, unit)

    def of(self, value: float) -> float:
        return self.nearest(Fraction(value)) if math.isfinite(value) else value

    def _apply(self, operation: Callable[[Any, Any], Any], a: float, b: float) -> float:
        if math.isfinite(a) and math.isfinite(b):
            return self.nearest(operation(Fraction(a), Fraction(b)))
        return float(operation(a, b))

    def add(self, a: float, b: float) -> float:
        return self._apply(operator.add, a, b)

    def sub(self, a: float, b: float) -> float:
        return self._apply(operator.sub, a, b)

    def mul(self, a: float, b: float) -> float:
        return self._apply(operator.mul, a, b)

    def div(self, a: float, b: float) -> float:
        return self._apply(operator.truediv, a, b)


FLOAT16 = Binary(11, -14)
FLOAT32 = Binary(24, -126)
FLOAT64 = Binary(53, -1022)
_FORMATS = {np.dtype(np.float16): FLOAT16, np.dtype(np.float32): FLOAT32, np.dtype(np.float64): FLOAT64}


def floor_log2(q: Fraction) -> int:
    """The largest e with 2^e <= q, for q > 0."""
    e = q.numerator.bit_length() - q.denominator.bit_length()
    return e if Fraction(2) ** e <= q else e - 1


def rounded(mode: str, q: Fraction) -> int:
    """The textbook formulas, which are right in exact arithmetic."""
    size = abs(q)
    away = {
        "ROUND": lambda: abs(round(q)),
        "UP": lambda: math.ceil(size),
        "DOWN": lambda: math.floor(size),
        "HALF_UP": lambda: math.floor(size + Fraction(1, 2)),
        "HALF_DOWN": lambda: math.ceil(size - Fraction(1, 2)),
    }
    if mode == "CEIL":
        return math.ceil(q)
    if mode == "FLOOR":
        return math.floor(q)
    return away[mode]() * (1 if q > 0 else -1)


def rounded_float(mode: str, value: float) -> float:
    """`rounded` of a float; infinities and NaN stay."""
    return float(rounded(mode, Fraction(value))) if math.isfinite(value) else value


def bounds(bits: int, signed: int, narrow: int) -> tuple[int, int]:
    """Ends of the integer grid."""
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


def _clip(value: float, lo: float, hi: float) -> float:
    return value if math.isnan(value) else min(max(value, lo), hi)


def elementwise(function: Callable[..., float], x: np.ndarray, *parameters: Any) -> np.ndarray:
    """`function(format, x, *parameters)` for each element; float16 is computed as float32 and rounded at the end.

    Real parameters are first rounded to the format.
    """
    source = _FORMATS[x.dtype]
    compute = FLOAT32 if source is FLOAT16 else source
    operands = np.broadcast_arrays(x, *(np.asarray(p) for p in parameters))
    assert operands[0].shape == x.shape
    rows = zip(*(o.astype(np.float64).ravel().tolist() for o in operands), strict=True)
    values = [source.of(function(compute, *row)) for row in rows]
    return np.array(values, np.float64).astype(x.dtype).reshape(x.shape)


def quant(signed: int, narrow: int, mode: str) -> Callable[..., float]:
    def one(fmt: Binary, x: float, scale: float, zero_point: float, bit_width: float) -> float:
        s, z, bits = fmt.of(scale), fmt.of(zero_point), int(bit_width)
        v = fmt.add(fmt.div(x, s), z)
        if math.isnan(v):
            return v
        if bits == 1 and signed:
            q = 1.0 if v >= 0 else -1.0
        else:
            q = rounded_float(mode, _clip(v, *bounds(bits, signed, narrow)))
        if bits <= 24:
            return fmt.mul(fmt.sub(q, z), s)
        return fmt.of(FLOAT64.mul(FLOAT64.sub(q, z), s))

    return one


def bipolar(fmt: Binary, x: float, scale: float) -> float:
    s = fmt.of(scale)
    return x if math.isnan(x) else (s if x >= 0 else -s)


def trunc_1(mode: str) -> Callable[..., float]:
    def one(fmt: Binary, x: float, scale: float, zero_point: float, in_bits: float, out_bits: float) -> float:
        s, z = fmt.of(scale), fmt.of(zero_point)
        q = rounded_float("ROUND", fmt.add(fmt.div(x, s), z))
        r = rounded_float(mode, fmt.div(q, 2.0 ** (in_bits - out_bits)))
        return fmt.mul(fmt.sub(r, z), s)

    return one


def power_of_two_ratio(ratio: Fraction) -> int:
    """The whole number nearest to log2(ratio): no tie, since the square root of 2 is irrational."""
    k = floor_log2(ratio)
    return k + ((ratio / Fraction(2) ** k) ** 2 > 2)


def trunc_2(signed: int, narrow: int, mode: str) -> Callable[..., float]:
    def one(
        fmt: Binary, x: float, scale: float, zero_point: float, in_bits: float, out_scale: float, out_bits: float
    ) -> float:
        s, z, out_s = fmt.of(scale), fmt.of(zero_point), fmt.of(out_scale)
        t = 2.0 ** power_of_two_ratio(Fraction(out_s) / Fraction(s))
        q = rounded_float("ROUND", fmt.add(fmt.div(x, s), z))
        r = _clip(rounded_float(mode, fmt.div(q, t)), *bounds(int(out_bits), signed, narrow))
        if out_bits <= 24:
            return fmt.mul(fmt.sub(r, fmt.div(z, t)), out_s)
        return fmt.of(FLOAT64.mul(FLOAT64.sub(r, fmt.div(z, t)), out_s))

    return one


def float_quant(mode: str, saturation: int, has_inf: int) -> Callable[..., float]:
    def one(
        fmt: Binary, x: float, scale: float, exponent_bits: float, mantissa_bits: float, bias: float, max_val: float
    ) -> float:
        s, m, b = fmt.of(scale), int(mantissa_bits), int(bias)
        largest = (2 - Fraction(1, 2**m)) * Fraction(2) ** (2 ** int(exponent_bits) - 1 - b)
        largest = min(largest, Fraction(max_val))
        v = fmt.div(x, s)
        if math.isnan(v):
            return v
        if math.isinf(v):
            y, over = Fraction(1 if v > 0 else -1) * largest, True
        else:
            q = Fraction(v)
            e = max(floor_log2(abs(q)), 1 - b) if q else 1 - b
            unit = Fraction(2) ** (e - m)
            y = unit * rounded(mode, q / unit)
            over = abs(y) > largest
            y = min(max(y, -largest), largest)
        if over and not saturation:
            return math.copysign(math.inf, v) if has_inf else math.nan
        return fmt.mul(fmt.of(FLOAT64.nearest(y)), s)

    return one


def multi_threshold(x: np.ndarray, thresholds: np.ndarray, axis: int, out_scale: float, out_bias: float) -> np.ndarray:
    """out_scale and out_bias are float32 numbers, as attributes are."""

    def one(fmt: Binary, count: float) -> float:
        return fmt.add(fmt.mul(count, fmt.of(out_scale)), fmt.of(out_bias))

    counts = np.zeros(x.shape, x.dtype)
    for index in np.ndindex(x.shape):
        row = thresholds[0 if len(thresholds) == 1 else index[axis]]
        counts[index] = sum(float(x[index]) >= float(t) for t in row)
    return elementwise(one, counts)
