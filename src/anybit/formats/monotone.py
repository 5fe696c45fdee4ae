"""direction: whether a node's output rises or falls with its input, channel by channel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor import Float64s
from anybit.arrays import as_float64
from anybit.ops.evaluate import known_value
from anybit.ops.nodes import operator_of
from anybit.ops.operator import Array

_RISING = frozenset(
    "Add Ceil Clip Erf Exp Floor Identity Log Max Min Relu Round Sigmoid Sign Softplus Softsign Sqrt Tanh".split()
)
_BOUNDED = frozenset(("Clip", "Max", "Min"))
_SLOPED = {"LeakyRelu": 0.01, "Elu": 1.0, "HardSigmoid": 0.2, "Celu": 1.0, "ThresholdedRelu": 1.0}
"""Rising where their attribute alpha, whose default this is, is not negative."""

NEITHER = frozenset("Abs Cos Gelu HardSwish Mish Pow Reciprocal Sin Swish".split())
"""Element-wise operators that neither rise nor fall everywhere, or not for every parameter."""

_BY_OPERAND = frozenset("Add BatchNormalization Clip Div Max Min Mul PRelu Sub".split())
_SYMMETRIC = frozenset("Add Max Min Mul Sub".split())
_QUANTIZERS = frozenset(("BipolarQuant", "FloatQuant", "Quant", "Trunc"))


def is_elementwise(node: ir.Node, position: int) -> bool:
    """Whether an operator without a direction makes an element of its output of one element of this input."""
    if node.op_type in NEITHER:
        return True
    return node.domain == "" and node.op_type in _BY_OPERAND and (position == 0 or node.op_type in _SYMMETRIC)


def direction(node: ir.Node, position: int, opsets: Mapping[str, int]) -> Float64s | None:
    """By channel, 1 where the output never falls when the input rises, -1 where it never rises.

    Known operands that are infinite or NaN, and divisors that are 0, make NaN of some numbers: nothing is said of them.

    Args:
        node: An element-wise node.
        position: The input that varies; the others are known.
        opsets: Version by domain.

    Returns:
        A number, or an array that broadcasts to the output; None where the node is neither, or not element-wise.
    """
    if node.domain != "":
        operator = operator_of(node, dict(opsets))
        return np.ones(()) if operator is not None and operator.name in _QUANTIZERS and position == 0 else None
    if node.op_type in _SLOPED:
        alpha, beta = node.attributes.get_float("alpha", _SLOPED[node.op_type]), node.attributes.get_float("beta", 0.0)
        return np.ones(()) if np.isfinite([alpha, beta]).all() and alpha >= 0 else None
    others = [known_value(v, opsets) for i, v in enumerate(node.inputs) if i != position and v is not None]
    if node.op_type in _RISING:
        return np.ones(()) if all(o is None or _is_operand(node, as_float64(o)) for o in others) else None
    return _signed(node, position, others)


def _is_operand(node: ir.Node, known: Float64s) -> bool:
    """Whether a known operand makes no NaN of a number: infinite bounds do not, an infinite summand does."""
    return not np.isnan(known).any() and (node.op_type in _BOUNDED or bool(np.isfinite(known).all()))


def _signed(node: ir.Node, position: int, others: list[Array | None]) -> Float64s | None:
    known = [as_float64(o) for o in others if o is not None and o.dtype.kind in "fiubV"]
    if len(known) < len(others) or not all(np.isfinite(k).all() for k in known):
        return None
    match node.op_type, position:
        case "Selu", 0:
            return np.ones(()) if all(node.attributes.get_float(n, 1.0) >= 0 for n in ("alpha", "gamma")) else None
        case "Neg", 0:
            return -np.ones(())
        case "Sub", _:
            return np.ones(()) if position == 0 else -np.ones(())
        case "Mul", _:
            return np.where(known[0] < 0, -1.0, 1.0)
        case "Div", 0:
            return np.where(known[0] < 0, -1.0, 1.0) if known[0].all() else None
        case "PRelu", 0:
            return np.ones(()) if (known[0] >= 0).all() else None
        case "BatchNormalization", 0:
            spread = known[3] + float(np.float32(node.attributes.get_float("epsilon", 1e-5)))
            return np.where(known[0] < 0, -1.0, 1.0) if (spread > 0).all() else None
        case _:
            return None
