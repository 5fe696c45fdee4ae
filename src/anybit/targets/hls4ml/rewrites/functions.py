"""Functions in pieces of lines, which hls4ml does not have, as Relu and arithmetic.

PRelu(x, a) = Relu(x) - a Relu(-x);  Neg(x) = -1 x;  HardSigmoid(x) = Clip(a x + b, 0, 1);  Max(x, c) = Clip(x, c, inf)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.constants import constant
from anybit.targets.hls4ml.repairs import Repairs, Step, compact
from anybit.targets.hls4ml.rules import has_short_slope

_DEFAULT_ALPHA, _DEFAULT_BETA = 0.2, 0.5  # of HardSigmoid


def rewrite_functions(repairs: Repairs) -> None:
    """Takes each of them that has constant parameters out of the graph; clips are left for `rewrite_clips`."""
    for node in repairs.nodes("Neg"):
        if (x := node.inputs[0]) is not None:
            repairs.add(node, "Neg becomes a multiplication by -1")
            repairs.replace(node, x, [Step("Mul", (_number(-1),))])
    for node in repairs.nodes("PRelu", "LeakyRelu"):
        _bend(repairs, node)
    for node in repairs.nodes("HardSigmoid"):
        if (x := node.inputs[0]) is not None:
            alpha, beta = (
                node.attributes.get_float(name, default)
                for name, default in (("alpha", _DEFAULT_ALPHA), ("beta", _DEFAULT_BETA))
            )
            repairs.add(node, "HardSigmoid becomes arithmetic and Clip")
            clip = Step("Clip", (_number(0), _number(1)))
            repairs.replace(node, x, [Step("Mul", (_number(alpha),)), Step("Add", (_number(beta),)), clip])
    for node in repairs.nodes("Max", "Min"):
        _bound(repairs, node)


def _bend(repairs: Repairs, node: ir.Node) -> None:
    x = node.inputs[0]
    slope = constant(node.inputs[1]) if node.op_type == "PRelu" else _number(node.attributes.get_float("alpha", 0.01))
    if x is None or slope is None or not np.isfinite(slope).all():
        return
    if node.op_type == "LeakyRelu" and has_short_slope(node):
        return
    over = repairs.chain(node, x, [Step("Relu")])
    steps = [Step("Mul", (_number(-1),)), Step("Relu"), Step("Mul", (-compact(slope).astype(np.float32),))]
    under = repairs.chain(node, x, steps)
    repairs.add(node, f"{node.op_type} becomes the sum of two Relu")
    repairs.replace_joined(node, "Add", over, under)


def _bound(repairs: Repairs, node: ir.Node) -> None:
    """A maximum or minimum of a tensor and a number becomes Clip."""
    known = [constant(v) for v in node.inputs]
    if len(known) != 2 or (known[0] is None) == (known[1] is None):
        return
    position = 0 if known[1] is not None else 1
    x, array = node.inputs[position], known[1 - position]
    if x is None or array is None or compact(array).size != 1 or not np.isfinite(array).all():
        return
    number, far = float(array.reshape(-1)[0]), float(np.finfo(np.float32).max)
    lo, hi = (number, far) if node.op_type == "Max" else (-far, number)
    repairs.add(node, f"{node.op_type} with a number becomes Clip")
    repairs.replace(node, x, [Step("Clip", (_number(lo), _number(hi)))])


def _number(number: float) -> Array:
    return np.asarray(number, np.float32)
