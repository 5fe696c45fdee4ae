"""Quantizer: what a uniform quantiser means, however it is spelt.

y = (q - zero_point) * scale,  q = clip(rounding(x / scale + zero_point), lo, hi)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s, smallest_format
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.builder import NodeBuilder
from anybit.graph.constants import constant
from anybit.graph.walk import label
from anybit.grid import Grid
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, findings_of, is_call, operator_of
from anybit.ops.operator import DOMAIN
from anybit.ops.quant import QUANT, reference
from anybit.rounding import Rounding

_FIRST_CLIP_BY_INPUTS = 11  # before it, the bounds of Clip were attributes
_LEAST_SIGNED_BITS = 2  # a signed grid of one bit is bipolar


@dataclass(frozen=True)
class Quantizer:
    """y = (q - zero_point) * scale, q = clip(rounding(x / scale + zero_point), lo, hi), in float32.

    Attributes:
        scale: float32, positive; broadcasts to x like numpy, as the other arrays do.
        zero_point: Any real number.
        lo: Smallest integer.
        hi: Largest integer.
        rounding: How x / scale + zero_point becomes an integer.
        grid: The grid whose bounds lo and hi are; None where no grid has these bounds.
    """

    scale: npt.NDArray[np.float32]
    zero_point: Float64s
    lo: Float64s
    hi: Float64s
    rounding: Rounding = Rounding.ROUND
    grid: Grid | None = None

    @property
    def is_bipolar(self) -> bool:
        """Whether the integers are -1 and +1, by sign."""
        return self.grid is not None and self.grid.bipolar

    @property
    def has_integer_zero_point(self) -> bool:
        """Whether q - zero_point is an integer, too."""
        return bool((self.zero_point == np.floor(self.zero_point)).all())

    @property
    def is_half_even(self) -> bool:
        """Whether it rounds x / scale itself, to nearest and ties to even: then it means what QuantizeLinear does."""
        return self.rounding is Rounding.ROUND and not self.zero_point.any() and not self.is_bipolar

    @property
    def makes_negative_zeros(self) -> bool:
        """Whether numbers just below 0 become -0, of which integers make +0."""
        if self.is_bipolar or self.rounding in (Rounding.FLOOR, Rounding.UP):
            return False
        return bool((self.zero_point == 0).any() and (self.lo < 0).any())

    def between(self, lo: npt.ArrayLike, hi: npt.ArrayLike) -> Quantizer:
        """The same with other bounds."""
        low, high = (compact(np.asarray(b, np.float64)) for b in (lo, hi))
        grid = grid_between(int(low), int(high)) if low.ndim == high.ndim == 0 else None
        return replace(self, lo=low, hi=high, grid=grid)

    def centred(self) -> Quantizer:
        """The quantiser of zero point 0 that has the same values: q - zero_point in the place of q."""
        if not self.zero_point.any():
            return self
        moved = replace(self, zero_point=np.zeros(()))
        return moved.between(self.lo - self.zero_point, self.hi - self.zero_point)

    def integers(self, x: Array) -> Float64s:
        """q, as Quant computes it."""
        v = self._quotient(x) + self.zero_point.astype(np.float32)
        if self.is_bipolar:
            return np.where(v >= 0, 1.0, -1.0)
        return np.clip(self.rounding(v).astype(np.float64), self.lo, self.hi)

    def dequantized(self, q: Array) -> Array:
        """(q - zero_point) * scale, as DequantizeLinear computes it."""
        return np.asarray((q - self.zero_point).astype(np.float32) * self.scale)

    def __call__(self, x: Array) -> Array:
        """Y as Quant means it, and a Clip behind it where lo .. hi are no grid's bounds."""
        grid = self.grid or enclosing_grid(self.lo, self.hi)
        signed, narrow, mode = int(grid.signed), int(grid.narrow), self.rounding.value
        zero_point = self.zero_point.astype(np.float32)
        y = reference(x, self.scale, zero_point, grid.bits, signed=signed, narrow=narrow, rounding_mode=mode)
        return y if self.grid is not None else np.clip(y, self.dequantized(self.lo), self.dequantized(self.hi))

    def linear(self, x: Array) -> Array:
        """Y as QuantizeLinear, Clip and DequantizeLinear mean it: x / scale is rounded, then the zero point added."""
        return self.dequantized(np.clip(np.rint(self._quotient(x)) + self.zero_point, self.lo, self.hi))

    def _quotient(self, x: Array) -> npt.NDArray[np.float32]:
        with np.errstate(all="ignore"):
            return np.asarray(x.astype(np.float32) / self.scale)


def compact(array: Float64s) -> Float64s:
    """The array, as a scalar where all its elements are equal."""
    return array.reshape(-1)[0].reshape(()) if _is_one(array) else array


def _is_one(array: Array) -> bool:
    """Whether all elements are equal."""
    return array.size > 0 and bool((array == array.flat[0]).all())


def grid_between(lo: int, hi: int) -> Grid | None:
    """The grid with these bounds, None if there is none; 0 .. 2 is a narrow one of 2 bits.

    Example:
        >>> grid_between(-7, 7), grid_between(-3, 5)
        (Grid(bits=4, signed=True, narrow=True), None)
    """
    bits = max(hi, 1).bit_length() + (lo < 0)
    for narrow in (False, True):
        grid = Grid(bits, signed=lo < 0, narrow=narrow)
        if (grid.lo, grid.hi) == (lo, hi) and not grid.bipolar:
            return grid
    return None


def enclosing_grid(lo: Float64s, hi: Float64s) -> Grid:
    """The smallest grid that holds lo .. hi of every channel."""
    kind = smallest_format(int(lo.min()), int(hi.max()))
    return Grid(max(kind.bits, _LEAST_SIGNED_BITS) if kind.signed else kind.bits, signed=kind.signed)


def read_quant(node: ir.Node, model: ir.Model) -> Quantizer | Refusal:
    """The quantiser that a Quant or BipolarQuant node of float32 is, or why it is none of one grid."""
    operator = operator_of(node, model.opset_imports)
    if operator is None or not is_call(node, QUANT, BIPOLAR_QUANT):
        return Refusal(problem="no uniform quantiser", node=label(node), got=node.op_type)
    finding = next(iter(findings_of(node, operator)), None)
    if finding is not None:
        return Refusal(problem=finding.problem, node=label(node), got=finding.got, expected=finding.expected)
    x = node.inputs[0]
    if x is None or x.dtype != ir.DataType.FLOAT:
        got = "unknown" if x is None or x.dtype is None else x.dtype.name
        return Refusal(problem="element type of X", node=label(node), got=got, expected="FLOAT")
    arrays = [constant(v) for v in node.inputs[1:]]
    known = [a for a in arrays if a is not None and a.size]
    if len(known) < len(arrays):
        return Refusal(problem="a parameter is computed, or empty", node=label(node), expected="constants")
    scale = known[0].astype(np.float32)
    if operator is BIPOLAR_QUANT:
        return _on_grid(scale, np.zeros(()), Grid(1), Rounding.ROUND)
    bits = compact(known[2].astype(np.float64))
    if bits.ndim:
        return Refusal(problem="bit widths differ between elements", node=label(node), expected="one bit width")
    attributes = call_of(node, operator).attributes
    grid = Grid(int(bits), signed=bool(attributes["signed"]), narrow=bool(attributes["narrow"]))
    return _on_grid(scale, known[1].astype(np.float64), grid, Rounding.parse(str(attributes["rounding_mode"])))


def _on_grid(scale: Array, zero_point: Float64s, grid: Grid, rounding: Rounding) -> Quantizer:
    lo, hi = np.asarray(float(grid.lo)), np.asarray(float(grid.hi))
    return Quantizer(scale, compact(zero_point), lo, hi, rounding, grid)


def quant_nodes(builder: NodeBuilder, x: ir.Value, quantizer: Quantizer, name: str) -> list[ir.Node]:
    """Quant, and a Clip at the real bounds where no grid ends at lo .. hi; in order, in no graph yet."""
    grid = quantizer.grid or enclosing_grid(quantizer.lo, quantizer.hi)
    parameters = {
        "scale": quantizer.scale.reshape(-1)[0].reshape(()) if _is_one(quantizer.scale) else quantizer.scale,
        "zeropt": quantizer.zero_point.astype(np.float32),
        "bitwidth": np.asarray(grid.bits, np.float32),
    }
    constants = [builder.constant(f"{name}/{key}", np.asarray(array)) for key, array in parameters.items()]
    attributes: list[ir.Attr] = [
        ir.AttrInt64("signed", int(grid.signed)),
        ir.AttrInt64("narrow", int(grid.narrow)),
        ir.AttrString("rounding_mode", quantizer.rounding.value),
    ]
    named = {a.name: a for a in attributes}
    quant = builder.node(QUANT.name, [x, *constants], f"{name}/quant", like=x, domain=DOMAIN, attributes=named)
    if quantizer.grid is not None:
        return [quant]
    return [quant, *_clip_nodes(builder, quant.outputs[0], quantizer, name)]


def _clip_nodes(builder: NodeBuilder, y: ir.Value, quantizer: Quantizer, name: str) -> list[ir.Node]:
    """The bounds as DequantizeLinear computes them: rounding is monotone, so that y clips to exactly these numbers."""
    bounds = [np.asarray(quantizer.dequantized(b)) for b in (quantizer.lo, quantizer.hi)]
    scalars = [compact(b) for b in bounds]
    if not any(s.ndim for s in scalars):
        bounds = scalars
    lower, upper = (
        builder.constant(f"{name}/{key}", np.asarray(b)) for key, b in zip(("min", "max"), bounds, strict=True)
    )
    if bounds is scalars and builder.model.opset_imports.get("", 1) >= _FIRST_CLIP_BY_INPUTS:
        return [builder.node("Clip", [y, lower, upper], f"{name}/clip", like=y)]
    at_least = builder.node("Max", [y, lower], f"{name}/at_least", like=y)
    return [at_least, builder.node("Min", [at_least.outputs[0], upper], f"{name}/at_most", like=y)]
