"""clipped: a Clip of real numbers before or behind a quantiser, and both as one quantiser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import as_float64
from anybit.graph.constants import constant
from anybit.quantizers.quantizer import Quantizer, enclosing_grid


def clip_limits(node: ir.Node) -> tuple[float, float] | None:
    """The bounds of a Clip of real numbers, infinite where there is none; None where they are computed."""
    limits = [-np.inf, np.inf]
    for place, value in enumerate(node.inputs[1:]):
        array = constant(value)
        if value is not None and (array is None or array.size != 1):
            return None
        limits[place] = limits[place] if array is None else float(array.reshape(()))
    for place, name in enumerate(("min", "max")):
        if name in node.attributes:
            limits[place] = node.attributes[name].as_float()
    return (limits[0], limits[1]) if limits[0] <= limits[1] else None


def behind_clip(x: ir.Value, quantizer: Quantizer) -> tuple[ir.Node, Quantizer] | None:
    """The Clip that makes x, alone for a quantiser, and both as one, where that has a narrower grid.

    round(clip(x, a, b) / s) = clip(round(x / s), round(a / s), round(b / s)), as division and rounding are monotone.
    """
    node = x.producer()
    if node is None or node.domain != "" or node.op_type != "Clip" or x.is_graph_output() or len(x.uses()) > 1:
        return None
    limits = clip_limits(node)
    if limits is None:
        return None
    narrowed = quantizer.between(*(quantizer.integers(np.asarray(limit, np.float32)) for limit in limits))
    same = np.array_equal(narrowed.lo, quantizer.lo) and np.array_equal(narrowed.hi, quantizer.hi)
    return None if same or narrowed.grid is None else (node, narrowed)


def before_clip(node: ir.Node, quantizer: Quantizer) -> tuple[ir.Node, Quantizer] | None:
    """The Clip (or Max and Min) that alone reads a quantiser and ends at integers of it, and both as one.

    The product with the scale is monotone: to clip it at products is to clip the integers.
    """
    clip = _only_reader(node, "Clip")
    at_least = None if clip is not None else _only_reader(node, "Max")
    last = clip if at_least is None else _only_reader(at_least, "Min")
    if last is None or quantizer.is_bipolar:
        return None
    limits = clip_limits(last) if at_least is None else _operands((at_least, last))
    bounds = [_integers_at(np.asarray(limit, np.float64), quantizer) for limit in limits or ()]
    if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
        return None
    lo, hi = np.maximum(bounds[0], quantizer.lo), np.minimum(bounds[1], quantizer.hi)
    return (last, quantizer.between(lo, hi)) if (lo <= hi).all() else None


def behind_bounds(node: ir.Node, quantizer: Quantizer) -> tuple[ir.Node, Quantizer]:
    """The last node of a quantiser as `quant_nodes` writes it, a Clip where no grid has its bounds, and its meaning.

    A Clip that ends elsewhere is an activation function.
    """
    both = before_clip(node, quantizer)
    if both is None or both[1].grid is not None or not (both[1].lo < 0).all():
        return node, quantizer
    return both if enclosing_grid(both[1].lo, both[1].hi) == quantizer.grid else (node, quantizer)


def _only_reader(node: ir.Node, op_type: str) -> ir.Node | None:
    value = node.outputs[0]
    uses = value.uses()
    if value.is_graph_output() or len(uses) != 1:
        return None
    reader, place = next(iter(uses))
    fits = reader.domain == "" and reader.op_type == op_type and place == 0 and reader.graph is node.graph
    return reader if fits else None


def _operands(nodes: Sequence[ir.Node]) -> list[Float64s] | None:
    """The constants that the nodes compare their first inputs with."""
    arrays = [constant(n.inputs[1]) for n in nodes if len(n.inputs) == 2]
    known = [as_float64(a) for a in arrays if a is not None]
    return known if len(known) == len(nodes) else None


def _integers_at(bound: Float64s, quantizer: Quantizer) -> Float64s | None:
    """The integers whose real numbers are the bound; infinities bound nothing. None if there are none."""
    with np.errstate(invalid="ignore"):
        q = np.rint(bound.astype(np.float32) / quantizer.scale).astype(np.float64) + quantizer.zero_point
        exact = np.isinf(q) | (quantizer.dequantized(q).astype(np.float64) == bound)
    return q if exact.all() else None
