"""MultiThreshold, which hls4ml does not have, as a sum of comparisons.

|{t : x >= t}| = sum over t of clip(FLOOR(x + (1 - t)), 0, 1)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import as_float64, is_power_of_two
from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.rounding import Rounding
from anybit.targets.hls4ml.project.fixed_type import fraction_bits
from anybit.targets.hls4ml.repairs import Repairs, Step, quant_step

_MOST_STEPS = 15  # comparisons of one node
_MOST_BITS = 20  # behind the point of a threshold: hls4ml gets those exactly


def rewrite_thresholds(repairs: Repairs) -> None:
    """Spells out each MultiThreshold of few thresholds that are short binary fractions."""
    for node in list(repairs.model.graph):
        operator = operator_of(node, repairs.model.opset_imports)
        x = node.inputs[0] if node.inputs else None
        if operator is None or not is_call(node, MULTI_THRESHOLD) or x is None or constant(x) is not None:
            continue
        attributes = call_of(node, operator).attributes
        rows = _thresholds(node, x, channels_last=str(attributes["data_layout"]).endswith("C"))
        if rows is None:
            continue
        scale, bias = (node.attributes.get_float(n, default) for n, default in (("out_scale", 1.0), ("out_bias", 0.0)))
        summed = None
        for row in rows:
            compared = [Step("Add", ((1 - row).astype(np.float32),)), quant_step(0, 1, rounding=Rounding.FLOOR)]
            term = repairs.chain(node, x, compared)
            summed = term if summed is None else repairs.join(node, "Add", summed, term)
        if summed is None:
            continue
        repairs.add(node, "thresholds become a sum of comparisons", got=f"{len(rows)} thresholds")
        repairs.replace(node, summed, _scaled(scale, bias, len(rows)))


def _thresholds(node: ir.Node, x: ir.Value, *, channels_last: bool) -> list[Float64s] | None:
    """By step, the threshold of each channel, in a shape that broadcasts to the tensor."""
    array, shape = constant(node.inputs[1]), shape_of(x)
    if array is None or shape is None or array.ndim != 2 or not 0 < array.shape[1] <= _MOST_STEPS:
        return None
    rows = as_float64(array).T
    if not np.isfinite(rows).all() or fraction_bits(rows) > _MOST_BITS:
        return None
    behind = 0 if channels_last or rows.shape[1] == 1 else len(shape) - 2
    return [row.reshape(-1, *([1] * behind)) for row in rows]


def _scaled(scale: float, bias: float, steps: int) -> list[Step]:
    """Size and offset of the steps; on a binary grid a quantiser tells it to what follows."""
    made = [Step("Mul", (np.asarray(scale, np.float32),))] if scale != 1 else []
    made += [Step("Add", (np.asarray(bias, np.float32),))] if bias else []
    if not is_power_of_two(np.asarray(scale)).all() or bias % scale:
        return made
    first = round(bias / scale)
    return [*made, quant_step(first, first + steps, scale=np.asarray(scale, np.float32))]
