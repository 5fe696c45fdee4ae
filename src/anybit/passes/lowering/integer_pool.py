"""read_pool, read_trunc: an average of quantised pixels and the Trunc behind it, as their integers see them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import TensorValues
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.walk import label, shape_of
from anybit.ops.calls import call_of, operator_of
from anybit.ops.evaluate import known_value
from anybit.ops.quantizer_parameters import checked_bit_width, integer_bounds
from anybit.ops.standard.windows import Windows
from anybit.ops.trunc import TRUNC_1, merged_integers
from anybit.rounding import Rounding

_POOLS = ("AveragePool", "GlobalAveragePool", "ReduceMean")
_MARGIN = 0.25  # of a unit, by which float arithmetic may miss an integer sum that is rounded then


@dataclass(frozen=True)
class Pool:
    """Windows of a pool whose averages are all over the same number of pixels.

    Attributes:
        kernel: Extents.
        strides: Distances.
        pads: Zeros before, then behind, that count as pixels.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]

    @property
    def pixels(self) -> int:
        """Pixels of a window."""
        return math.prod(self.kernel)

    @property
    def is_square(self) -> bool:
        """Whether it is one number down and across, without padding: the form of QuantAvgPool2d."""
        return len(self.kernel) == 2 and len({*self.kernel}) == len({*self.strides}) == 1 and not any(self.pads)


@dataclass(frozen=True)
class Shift:
    """A Trunc of an integer sum.

    Attributes:
        unit: How many integers become one, a power of two.
        scale: What one of the results stands for.
        rounding: How it rounds.
        limits: What the results are clipped to; None if they are not.
        bits: The input and the output bit width of the node.
    """

    unit: float
    scale: Array
    rounding: Rounding
    limits: tuple[float, float] | None
    bits: tuple[Array, Array]


def pool_behind(trunc: ir.Node) -> tuple[ir.Node, ir.Node | None] | None:
    """The pool that a Trunc rounds, and the Mul between them, if any; None where it rounds something else."""
    value, mul = trunc.inputs[0], None
    node = None if value is None else value.producer()
    if node is not None and node.op_type == "Mul" and node.domain == "":
        mul, value = node, node.inputs[0]
        node = None if value is None else value.producer()
    return (node, mul) if node is not None and node.domain == "" and node.op_type in _POOLS else None


def read_pool(node: ir.Node, opsets: Mapping[str, int]) -> Pool | Refusal:
    """The windows, or why averages are not all over the same number of pixels."""
    shape = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
    if shape is None or len(shape) < 3:
        return Refusal(problem="the shape of the pool's input is not known", node=label(node), got=str(shape))
    spatial = shape[2:]
    if node.op_type != "AveragePool":
        axes = range(2, len(shape)) if node.op_type == "GlobalAveragePool" else _axes(node, len(shape), opsets)
        if None in spatial or list(axes) != list(range(2, len(shape))):
            return Refusal(problem="the number of pixels is not known", node=label(node), got=str(shape))
        kernel = tuple(n for n in spatial if n is not None)
        return Pool(kernel, (1,) * len(kernel), (0,) * 2 * len(kernel))
    attributes = {name: a.value for name, a in node.attributes.items()}
    same = attributes.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    dilated = any(d != 1 for d in attributes.get("dilations") or ())
    if attributes.get("ceil_mode", 0) or dilated or (same and None in spatial):
        return Refusal(problem="windows of a kind that has no integer form", node=label(node))
    windows = Windows.of([1 if n is None else n for n in spatial], attributes["kernel_shape"], attributes)
    pads = (*windows.pads_begin, *windows.pads_end)
    if any(pads) and not attributes.get("count_include_pad", 0):
        return Refusal(problem="windows at the border average fewer pixels", node=label(node), got=str(pads))
    return Pool(windows.kernel, windows.strides, pads)


def _axes(node: ir.Node, rank: int, opsets: Mapping[str, int]) -> list[int]:
    given = node.attributes.get_ints("axes")
    array = known_value(node.inputs[1], opsets) if len(node.inputs) > 1 else None
    listed = given if array is None else array.ravel().tolist()
    return sorted(int(a) % rank for a in listed or ()) if node.attributes.get_int("keepdims", 1) else []


def read_trunc(
    trunc: ir.Node, mul: ir.Node | None, pool: Pool, pixels: TensorValues, opsets: Mapping[str, int]
) -> Shift | Refusal:
    """The Trunc of the sums of these pixels, or why it is not one of integers."""
    operator = operator_of(trunc, dict(opsets))
    parameters = [known_value(v, opsets) for v in trunc.inputs[1:]]
    factor = np.ones(()) if mul is None else known_value(mul.inputs[1], opsets)
    known = [p for p in (*parameters, factor) if p is not None and p.size == 1]
    if operator is None or factor is None or len(known) <= len(parameters):
        return Refusal(problem="a parameter is not one constant number", node=label(trunc))
    scale, zero_point, in_bits, *others = (p.reshape(()) for p in known[:-1])
    grid = pixels.grid
    if grid is None or grid.scale.size != 1 or not grid.is_centred or zero_point.any():
        return Refusal(problem="the pixels are on no common grid without a zero point", node=label(trunc))
    step = float(grid.scale.item())
    largest = max(float(np.abs(end - grid.zero_point).max()) for end in (grid.lo, grid.hi)) * pool.pixels
    drift = abs(float(factor.item()) * step / pool.pixels / float(scale) - 1) if scale > 0 else math.inf
    if largest * (drift + (pool.pixels + 8) * 2.0**-23) > _MARGIN:
        expected = f"{step * float(factor.item()) / pool.pixels:g}, the step of the averages"
        return Refusal(problem="scale of another grid", node=label(trunc), got=str(scale), expected=expected)
    attributes = call_of(trunc, operator).attributes
    rounding = Rounding.parse(str(attributes["rounding_mode"]))
    if operator is TRUNC_1:
        return Shift(2.0 ** float(in_bits - others[0]), scale, rounding, None, (in_bits, others[0]))
    out_scale, out_bits = others
    unit = float(merged_integers(scale, out_scale))
    signed, narrow = bool(attributes["signed"]), bool(attributes["narrow"])
    low, high = integer_bounds(checked_bit_width(out_bits), signed=signed, narrow=narrow)
    return Shift(unit, out_scale, rounding, (float(low), float(high)), (in_bits, out_bits))
