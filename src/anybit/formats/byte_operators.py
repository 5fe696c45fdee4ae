"""byte_operators: what ONNX Runtime's operators on bytes compute, tried for every byte or pair of bytes.

A form in float32 may stand for a kernel only where both give the same byte each time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.formats.linear import range_of
from anybit.ops.constants import constant
from anybit.ops.nodes import label
from anybit.ops.operator import Array

Floats = npt.NDArray[np.float32]

_SIGMOID_ERROR = 2.0**-21  # of any float32 implementation


@dataclass(frozen=True)
class Scaled:
    """real = (byte - zero_point) * scale.

    Attributes:
        value: The bytes.
        scale: float32, one number.
        zero_point: One byte.
    """

    value: ir.Value
    scale: np.float32
    zero_point: npt.NDArray[Any]

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest byte."""
        return range_of(ir.DataType.from_numpy(self.zero_point.dtype)) or (0, 0)

    @cached_property
    def centred(self) -> Floats:
        """All bytes that it can hold, zero point taken off."""
        stored, (lo, hi) = constant(self.value), self.bounds
        held = np.arange(lo, hi + 1) if stored is None else np.unique(stored)
        return held.astype(np.float32) - np.float32(self.zero_point)

    @property
    def real(self) -> Floats:
        """What all bytes stand for, as DequantizeLinear computes it."""
        return self.centred * self.scale

    def quantized(self, real: Array) -> Floats:
        """Bytes of real numbers, as QuantizeLinear computes them."""
        with np.errstate(all="ignore"):
            return self.saturated(np.rint(real.astype(np.float32) / self.scale) + np.float32(self.zero_point))

    def saturated(self, integers: Array) -> Floats:
        """Integers, held between the smallest and the largest byte."""
        return np.clip(integers, *self.bounds).astype(np.float32)


def scaled(node: ir.Node, place: int, value: ir.Value | None, names: tuple[int, int] | None = None) -> Scaled | Refusal:
    """A tensor of bytes whose scale and zero point are two inputs of a node, by default those behind `place`."""
    at = names or (place + 1, place + 2)
    given = [node.inputs[i] if i < len(node.inputs) else None for i in at]
    scale, zero_point = (constant(v) for v in given)
    if value is None or scale is None or (given[1] is not None and zero_point is None):
        return Refusal(problem="a scale or zero point is computed, or missing", node=label(node), expected="constants")
    if zero_point is None:
        dtype = value.dtype or ir.DataType.UINT8
        zero_point = np.zeros((), dtype.numpy())
    if scale.size != 1 or zero_point.size != 1 or scale.dtype != np.float32 or zero_point.dtype.itemsize != 1:
        got = f"{scale.size} of {scale.dtype}, {zero_point.size} of {zero_point.dtype}"
        return Refusal(problem="scale and zero point", node=label(node), got=got, expected="one float32 and one byte")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return Refusal(problem="the scale", node=label(node), got=f"{scale.min():g}", expected="a positive number")
    return Scaled(value, np.float32(scale.reshape(())), zero_point.reshape(()))


class PairForm(enum.Enum):
    """A way to write an operator on two tensors of bytes."""

    REAL = "real"
    """On what the bytes stand for; the result is divided by the output's scale."""
    RATIO = "ratio"
    """On the bytes, zero point taken off; the scales, relative to that of the output, are factors."""


def pair_form(op_type: str, a: Scaled, b: Scaled, y: Scaled, *, is_broadcast: bool) -> PairForm | int:
    """The form of QLinearAdd or QLinearMul that gives the kernel's byte for every pair, else how many it gets wrong.

    The kernel for x86 adds fma(a, sa / sy, fma(b, sb / sy, zy - fma(za, sa / sy, zb * (sb / sy)))), and exchanges the
    operands where it repeats the first; it multiplies (a - za) * (b - zb) * (sa * sb / sy) + zy. Both were found by
    comparing all pairs with ONNX Runtime 1.32.
    """
    if op_type == "QLinearMul":
        expected = [_multiplied(a, b, y)]
    else:
        expected = [_added(a, b, y), *([_added(b, a, y).T] if is_broadcast else [])]
    least = a.centred.size * b.centred.size
    for form in PairForm:
        actual = _written(op_type, form, a, b, y)
        wrong = max(int((actual != e).sum()) for e in expected)
        if not wrong:
            return form
        least = min(least, wrong)
    return least


def ratios(op_type: str, a: Scaled, b: Scaled, y: Scaled) -> tuple[np.float32, np.float32]:
    """The factors of the ratio form: of both operands of a sum; of a product, and 1."""
    if op_type == "QLinearMul":
        return np.float32(a.scale * b.scale / y.scale), np.float32(1)
    return np.float32(a.scale / y.scale), np.float32(b.scale / y.scale)


def _written(op_type: str, form: PairForm, a: Scaled, b: Scaled, y: Scaled) -> Floats:
    is_product = op_type == "QLinearMul"
    if form is PairForm.REAL:
        first, second = a.real[:, None], b.real[None, :]
        return y.quantized(first * second if is_product else first + second)
    first, second = a.centred[:, None], b.centred[None, :]
    p, q = ratios(op_type, a, b, y)
    return y.saturated(np.rint(first * second * p if is_product else first * p + second * q) + np.float32(y.zero_point))


def _multiplied(a: Scaled, b: Scaled, y: Scaled) -> Floats:
    products = a.centred[:, None] * b.centred[None, :]
    factor, _ = ratios("QLinearMul", a, b, y)
    return y.saturated(np.rint(products * factor + np.float32(y.zero_point)))


def _added(a: Scaled, b: Scaled, y: Scaled) -> Floats:
    p, q = ratios("QLinearAdd", a, b, y)
    za, zb, zy = (np.float32(v.zero_point) for v in (a, b, y))
    fixed = np.float32(zy - _fused(p, za, zb * q))
    first, second = (v.centred + np.float32(v.zero_point) for v in (a, b))
    return y.saturated(np.rint(_fused(p, first[:, None], _fused(q, second[None, :], fixed))))


def _fused(x: npt.ArrayLike, y: npt.ArrayLike, z: npt.ArrayLike) -> Floats:
    """x * y + z, rounded once: the product of two float32 is exact in float64."""
    return np.asarray(np.asarray(x, np.float64) * np.asarray(y, np.float64) + np.asarray(z, np.float64), np.float32)


def sigmoid_ties(x: Scaled, y: Scaled) -> int:
    """Of how many bytes the sigmoid lies so near to a tie that implementations may round it to different sides."""
    exact = 1 / (1 + np.exp(-x.real.astype(np.float64)))
    distance = np.abs(exact / float(y.scale) - np.floor(exact / float(y.scale)) - 0.5)
    inside = exact / float(y.scale) + float(y.zero_point) < y.bounds[1] + 1
    return int((inside & (distance < _SIGMOID_ERROR / float(y.scale) + 1e-6)).sum())
