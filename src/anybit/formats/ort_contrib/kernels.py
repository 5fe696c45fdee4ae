"""byte_operators: what ONNX Runtime's operators on bytes compute, tried for every byte or pair of bytes.

A form in float32 may stand for a kernel only where both give the same byte each time. The kernels are those of the
references in `anybit.ops.contributed`; `float_order` says whether the installed ONNX Runtime has them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.walk import label
from anybit.ops.contributed.elementwise import added, multiplied
from anybit.ops.contributed.linear import ByteScale, Floats

LARGEST = 1 << 24
"""Float32 holds all integers below."""
WIDEST = 255
"""Magnitude of a byte without its zero point."""

_SIGMOID_ERROR = 2.0**-21  # of any float32 implementation


@dataclass(frozen=True)
class Scaled(ByteScale):
    """A tensor of bytes: real = (byte - zero_point) * scale.

    Attributes:
        value: The bytes.
    """

    value: ir.Value

    @cached_property
    def held(self) -> Array:
        """All bytes that it can hold."""
        stored, (lo, hi) = constant(self.value), self.bounds
        return np.arange(lo, hi + 1) if stored is None else np.unique(stored)

    @property
    def centred(self) -> Floats:
        """All bytes that it can hold, zero point taken off."""
        return self.centre(self.held)

    @property
    def real(self) -> Floats:
        """What all bytes that it can hold stand for."""
        return self.dequantize(self.held)


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
    return Scaled(np.float32(scale.reshape(())), zero_point.reshape(()), value)


def operands(node: ir.Node, *places: int, output: int) -> list[Scaled] | Refusal:
    """The tensors of bytes whose scales and zero points stand behind them, and the output, whose stand at `output`."""
    found = [scaled(node, p, node.inputs[p] if p < len(node.inputs) else None) for p in places]
    found.append(scaled(node, 0, node.outputs[0], (output, output + 1)))
    refusal = next((f for f in found if isinstance(f, Refusal)), None)
    return refusal or [f for f in found if isinstance(f, Scaled)]


class PairForm(enum.Enum):
    """A way to write an operator on two tensors of bytes."""

    REAL = "real"
    """On what the bytes stand for; the result is divided by the output's scale."""
    RATIO = "ratio"
    """On the bytes, zero point taken off; the scales, relative to that of the output, are factors."""
    KERNEL = "kernel"
    """As the kernel rounds: the zero point is added before; for a sum in float64, rounded to float32 where it is."""


def pair_form(op_type: str, a: Scaled, b: Scaled, y: Scaled, *, is_exchanged: bool | None) -> PairForm | int:
    """The form of QLinearAdd or QLinearMul that gives the kernel's byte for every pair, else how many it gets wrong.

    Args:
        op_type: The operator.
        a: First operand.
        b: Second operand.
        y: Output.
        is_exchanged: Whether the kernel takes the second operand first; None if that is not known.
    """
    first, second = a.held[:, None], b.held[None, :]
    if op_type == "QLinearMul":
        expected = [multiplied(first, second, (a, b, y))]
    else:
        orders = [False, True] if is_exchanged is None else [is_exchanged]
        expected = [added(second, first, (b, a, y)) if e else added(first, second, (a, b, y)) for e in orders]
    least = first.size * second.size
    for form in PairForm:
        is_turned = bool(is_exchanged) and form is PairForm.KERNEL and op_type == "QLinearAdd"
        actual = _written(op_type, form, (b, a, y)).T if is_turned else _written(op_type, form, (a, b, y))
        wrong = max(int((actual != e).sum()) for e in expected)
        if not wrong:
            return form
        least = min(least, wrong)
    return least


def ratios(op_type: str, a: Scaled, b: Scaled, y: Scaled) -> tuple[np.float32, np.float32]:
    """The factors of the other forms than the real one: of both operands of a sum; of a product, and 1."""
    if op_type == "QLinearMul":
        return np.float32(a.scale * b.scale / y.scale), np.float32(1)
    return np.float32(a.scale / y.scale), np.float32(b.scale / y.scale)


def offsets(a: Scaled, b: Scaled, y: Scaled) -> tuple[np.float64, np.float64]:
    """What the kernel's form adds to the products of a sum's bytes, zero point taken off: to the first, the second."""
    p, q = ratios("QLinearAdd", a, b, y)
    fixed = np.float32(y.zero - np.float32(np.float64(p) * a.zero + np.float64(b.zero * q)))
    return np.float64(p) * a.zero, np.float64(q) * b.zero + fixed


def _written(op_type: str, form: PairForm, operands: tuple[Scaled, Scaled, Scaled]) -> Floats:
    a, b, y = operands
    is_product = op_type == "QLinearMul"
    if form is PairForm.REAL:
        first, second = a.real[:, None], b.real[None, :]
        return y.quantized(first * second if is_product else first + second)
    first, second = a.centred[:, None], b.centred[None, :]
    p, q = ratios(op_type, a, b, y)
    if form is PairForm.RATIO:
        total = first * second * p if is_product else first * p + second * q
        return y.saturated(np.rint(total) + y.zero)
    if is_product:
        return y.saturated(np.rint(first * second * p + y.zero))
    one, other = offsets(a, b, y)
    inner = (second * np.float64(q) + other).astype(np.float32)
    return y.saturated(np.rint((first * np.float64(p) + one + inner.astype(np.float64)).astype(np.float32)))


def sigmoid_ties(x: Scaled, y: Scaled) -> int:
    """Of how many bytes the sigmoid lies so near to a tie that implementations may round it to different sides.

    That of 0 is one half, whoever computes it.
    """
    exact = 1 / (1 + np.exp(-x.real[x.real != 0].astype(np.float64)))
    distance = np.abs(exact / float(y.scale) - np.floor(exact / float(y.scale)) - 0.5)
    inside = exact / float(y.scale) + float(y.zero_point) < y.bounds[1] + 1
    return int((inside & (distance < _SIGMOID_ERROR / float(y.scale) + 1e-6)).sum())
