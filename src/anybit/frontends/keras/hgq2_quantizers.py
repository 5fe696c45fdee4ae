"""hgq2_quantizers: fixed-point quantisers of HGQ2, with a format for each element if need be.

KIF(k, i, f) has the step 2^-f and the range -k 2^i .. 2^i - 2^-f; elements of no bits are 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.frontends.keras.calls import Call
from anybit.frontends.keras.graph import Graph, LayerTensor
from anybit.frontends.keras.weights import UniformGrid, Weight, numpy_of
from anybit.rounding import Rounding

_WIDE = 32
"""Bits of the quantiser in front of a wrap-around: it rounds, and no input comes near its ends."""

# (rounding, half steps added first): nearest with ties up or down is none of the modes of Quant.
_ROUNDINGS = {
    "TRN": (Rounding.FLOOR, 0),
    "TRN_ZERO": (Rounding.DOWN, 0),
    "RND": (Rounding.FLOOR, 1),
    "RND_CONV": (Rounding.ROUND, 0),
    "RND_INF": (Rounding.HALF_UP, 0),
    "RND_ZERO": (Rounding.HALF_DOWN, 0),
    "RND_MIN_INF": (Rounding.CEIL, -1),
}
_OVERFLOWS = ("WRAP", "SAT", "SAT_SYM")


@dataclass(frozen=True)
class FixedPoint:
    """Formats of the elements of a tensor; the arrays broadcast to it.

    Attributes:
        k: 1 where negative numbers are kept, else 0.
        i: Integer bits.
        f: Fraction bits.
        rounding: How numbers come onto the grid.
        shift: Half steps that are added before that.
        overflow: WRAP, SAT or SAT_SYM.
    """

    k: Array
    i: Array
    f: Array
    rounding: Rounding
    shift: int
    overflow: str

    @property
    def alive(self) -> Array:
        """Where there are bits at all."""
        return self.k + self.i + self.f > 0

    @property
    def step(self) -> Array:
        """2^-f."""
        return np.exp2(-self.f)

    @property
    def top(self) -> Array:
        """2^i, with no fewer than no magnitude bits."""
        return np.exp2(np.maximum(self.i, -self.f))

    @property
    def is_signed(self) -> bool:
        """Whether any element keeps negative numbers: one Quant is signed as a whole."""
        return bool((self.alive & (self.k > 0)).any())

    @property
    def is_plain(self) -> bool:
        """Whether Quant's own bounds are those of all elements: one sign, and no format with a sign bit only."""
        return not self.is_signed or bool((~self.alive | (self.k > 0) & (self.i + self.f > 0)).all())

    def grid(self, needed: Array | float = 0.0, *, signed: bool = False) -> UniformGrid:
        """The grid of the elements; at least so many bits."""
        signed = signed or self.is_signed
        bits = np.maximum(np.where(self.alive, self.i + self.f, 0) + signed, needed)
        return UniformGrid(
            self.step.astype(np.float32),
            np.maximum(bits, 1 + signed).astype(np.float32),
            signed=signed,
            narrow=signed and self.overflow == "SAT_SYM",
            rounding=self.rounding,
        )


def fixed_point(call: Call, quantizer: Any, where: str) -> FixedPoint | None:
    """The formats of a quantiser, None for one that does nothing.

    Raises:
        FrontEndError: It is not fixed-point, or has a mode without a rule.
    """
    inner = quantizer.quantizer
    kind = type(inner).__name__
    if kind == "DummyQuantizer":
        return None
    if kind not in ("FixedPointQuantizerKIF", "FixedPointQuantizerKBI"):
        raise call.refusal(f"{where} without a rule", got=kind, expected="a quantiser of type kif or kbi")
    mode, overflow = str(inner.round_mode).removeprefix("S_"), str(inner.overflow_mode)
    if mode not in _ROUNDINGS or overflow not in _OVERFLOWS:
        expected = f"{', '.join(_ROUNDINGS)}; {', '.join(_OVERFLOWS)}"
        raise call.refusal(f"modes of {where}", got=f"{mode}, {overflow}", expected=expected)
    k, i, f = (np.asarray(numpy_of(p), np.float64) for p in inner.kif)
    return FixedPoint(k, i, f, *_ROUNDINGS[mode], overflow)


def quantize(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    """The tensor behind a quantiser: round(x / step) in its range, times the step; scaler and affine around it.

    Raises:
        FrontEndError: The quantiser has no rule.
    """
    point = fixed_point(call, quantizer, f"quantiser '{wish}'")
    inner = quantizer.quantizer
    if point is not None and point.overflow == "WRAP" and inner.trainable and getattr(inner, "_is_weight", False):
        hint = "make its configuration for place='datalane'"
        raise call.refusal("a quantiser for weights on an activation does not wrap", got=wish, hint=hint)
    if quantizer.scaler is not None:
        tensor = graph.elementwise("Div", tensor, f"{wish}/divided", quantizer.scaler)
    if point is not None:
        tensor = _quantize(graph, tensor, point, wish)
    if quantizer.scaler is not None:
        tensor = graph.elementwise("Mul", tensor, f"{wish}/scaled", quantizer.scaler)
    if quantizer.affine is not None:
        tensor = graph.elementwise("Mul", tensor, f"{wish}/slope", quantizer.affine[0])
        tensor = graph.elementwise("Add", tensor, f"{wish}/offset", quantizer.affine[1])
    return tensor


def _quantize(graph: Graph, tensor: LayerTensor, point: FixedPoint, wish: str) -> LayerTensor:
    if point.alive.any():
        tensor = (_wrap if point.overflow == "WRAP" else _saturate)(graph, tensor, point, wish)
    if point.alive.all():
        return tensor
    return graph.elementwise("Mul", tensor, f"{wish}/alive", point.alive.astype(np.float32))


def _saturate(graph: Graph, tensor: LayerTensor, point: FixedPoint, wish: str) -> LayerTensor:
    if not point.is_plain:
        least = -point.k * (point.top - (point.step if point.overflow == "SAT_SYM" else 0))
        tensor = graph.elementwise("Max", tensor, f"{wish}/least", least)
        tensor = graph.elementwise("Min", tensor, f"{wish}/most", point.top - point.step)
    return graph.quantized(_shifted(graph, tensor, point, wish), point.grid(), wish)


def _wrap(graph: Graph, tensor: LayerTensor, point: FixedPoint, wish: str) -> LayerTensor:
    """Rounds, takes the remainder of a division by the range, and states the grid of that."""
    wide = point.grid(_WIDE, signed=True)
    tensor = graph.quantized(_shifted(graph, tensor, point, wish), wide, f"{wish}/rounded")
    bias, range_ = point.k * point.top, point.top * np.exp2(point.k)
    tensor = graph.elementwise("Add", tensor, f"{wish}/raised", bias) if bias.any() else tensor
    turns = graph.elementwise("Floor", graph.elementwise("Div", tensor, f"{wish}/divided", range_), f"{wish}/turns")
    whole = graph.elementwise("Mul", turns, f"{wish}/whole", range_)
    tensor = replace(tensor, value=graph.node("Sub", [tensor.value, whole.value], f"{wish}/rest"))
    tensor = graph.elementwise("Sub", tensor, f"{wish}/wrapped", bias) if bias.any() else tensor
    return graph.quantized(tensor, replace(point.grid(), rounding=Rounding.ROUND), wish)


def _shifted(graph: Graph, tensor: LayerTensor, point: FixedPoint, wish: str) -> LayerTensor:
    if not point.shift:
        return tensor
    return graph.elementwise("Add", tensor, f"{wish}/shifted", point.shift * point.step / 2)


def snapped(call: Call, role: str, quantizer: Any, result: Any) -> Weight:
    """A parameter that a quantiser has snapped, with a grid that holds it.

    A quantiser that wraps does not clip the weights of a trainable layer, so the grid may be wider than it says.

    Raises:
        FrontEndError: The quantiser has no rule.
    """
    point, array = fixed_point(call, quantizer, f"quantiser of the {role}"), np.asarray(numpy_of(result), np.float32)
    if quantizer.scaler is not None or quantizer.affine is not None:
        raise call.refusal(f"quantiser of the {role}", got="a scaler or an affine map", expected="neither")
    if point is None:
        return Weight(array)
    integers = array / point.step
    signed = point.is_signed or bool((integers < 0).any())
    needed = np.frexp(np.where(integers < 0, -integers - 1, integers))[1] + signed
    weight = Weight(array, replace(point.grid(needed, signed=signed), rounding=Rounding.ROUND))
    if weight.departure:
        got = f"{weight.departure:.3g} steps off"
        raise call.refusal(f"quantiser of the {role} gives numbers off its grid", got=got, expected="0")
    return weight
