"""Clip, which hls4ml does not have, as Relu.

Clip(x, lo, hi) = hi - Relu(hi - (lo + Relu(x - lo)));  nothing, where the quantiser behind it saturates earlier
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.quantizers.quantizer import read_quant
from anybit.targets.hls4ml.repairs import Repairs, Step, compact


def rewrite_clips(repairs: Repairs) -> None:
    """Takes each Clip with constant scalar bounds out of the graph."""
    for node in repairs.nodes("Clip"):
        x, bounds = node.inputs[0], _bounds(node)
        if x is None or bounds is None:
            continue
        if _saturates_earlier(repairs.model, node, bounds):
            repairs.add(node, "removed: the quantiser behind it saturates earlier")
            node.outputs[0].replace_all_uses_with(x)
            if node.graph is not None:
                node.graph.remove(node, safe=True)
            continue
        repairs.add(node, "Clip becomes Relu and arithmetic")
        repairs.replace(node, x, _steps(*bounds))


def _bounds(node: ir.Node) -> tuple[float | None, float | None] | None:
    """The bounds, each None where there is none; None if they are computed."""
    found: list[float | None] = []
    for position, name in ((1, "min"), (2, "max")):
        value = node.inputs[position] if len(node.inputs) > position else None
        array: Array | None = constant(value)
        if value is not None and (array is None or array.size != 1):
            return None
        given = float(array.reshape(())) if array is not None else node.attributes.get_float(name, np.nan)
        found.append(given if np.isfinite(given) and abs(given) < np.finfo(np.float32).max else None)
    lo, hi = found
    return None if lo is not None and hi is not None and lo > hi else (lo, hi)


def _saturates_earlier(model: ir.Model, node: ir.Node, bounds: tuple[float | None, float | None]) -> bool:
    uses = node.outputs[0].uses()
    if not uses or node.outputs[0].is_graph_output():
        return False
    for user, position in uses:
        quantizer = read_quant(user, model)
        if position or isinstance(quantizer, Refusal) or quantizer.is_bipolar or compact(quantizer.scale).ndim:
            return False
        lo, hi = (float(quantizer.dequantized(b).min()) for b in (quantizer.lo, quantizer.hi))
        if (bounds[0] is not None and bounds[0] > lo) or (bounds[1] is not None and bounds[1] < hi):
            return False
    return True


def _steps(lo: float | None, hi: float | None) -> list[Step]:
    steps: list[Step] = []
    if lo is not None:
        steps += [*_added(-lo), Step("Relu"), *_added(lo)]
    if hi is not None:
        negative = Step("Mul", (np.asarray(-1, np.float32),))
        steps += [negative, *_added(hi), Step("Relu"), negative, *_added(hi)]
    return steps or [Step("Identity")]


def _added(number: float) -> list[Step]:
    return [Step("Add", (np.asarray(number, np.float32),))] if number else []
