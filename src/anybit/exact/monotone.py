"""direction: whether a node is proven to rise or to fall with one of its inputs, in the arithmetic that computes it.

Three things count as proof, and nothing else:

- A node that is one operation of IEEE 754 on its input and known operands, or several in a row: each result is the
  exact one, rounded, and rounding keeps order. Add, Mul, Div, Sqrt, Clip, BatchNormalization and our quantisers are.
- A node that is joined from such pieces where one of them ends and the other begins, as LeakyRelu is at 0.
- A library function that was walked through all of float32; see `anybit.exact.walks`.

An operand that is infinite or NaN, and a divisor that is 0, prove nothing. So a node has NaN as its result only at one
or at both ends of what it reads: of negative numbers for Sqrt and Log, of infinities for sums and products. Where a
chain of such nodes is no NaN at both ends of its domain, it is none in between.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array, as_float64
from anybit.exact.walks import is_walked
from anybit.ops.calls import operator_of
from anybit.ops.evaluate import known_value

_RISING = frozenset("Add Ceil Clip Floor Identity Max Min Relu Round Sign Sqrt".split())
_SLOPED = {"LeakyRelu": 0.01, "HardSigmoid": 0.2, "ThresholdedRelu": 1.0}
"""Rising where their attribute alpha, whose default this is, is not negative."""
_WALKED = frozenset("Celu Elu Erf Exp Log Selu Sigmoid Softplus Softsign Tanh".split())
"""Rising in real arithmetic, and computed by a library."""
_BY_OPERAND = frozenset("BatchNormalization Div Mul Neg PRelu Sub".split())
_RISES_AND_FALLS = frozenset("Abs Cos Gelu HardSwish Mish Pow Reciprocal Sin Swish".split())
_ELEMENTWISE = _RISING | _SLOPED.keys() | _WALKED | _BY_OPERAND | _RISES_AND_FALLS
_OF_FIRST = frozenset("BatchNormalization Clip Div PRelu".split())
_QUANTIZERS = frozenset(("BipolarQuant", "FloatQuant", "Quant", "Trunc"))


def is_elementwise(node: ir.Node, position: int, opsets: Mapping[str, int]) -> bool:
    """Whether each element of the output depends on one element of the input at `position`, the others being known."""
    if node.domain != "":
        return position == 0 and _is_quantizer(node, opsets)
    if node.op_type == "BatchNormalization" and node.attributes.get_int("training_mode", 0):
        return False
    return node.op_type in _ELEMENTWISE and (position == 0 or node.op_type not in _OF_FIRST)


def direction(node: ir.Node, position: int, opsets: Mapping[str, int]) -> Float64s | None:
    """By channel, 1 where the output is proven never to fall when the input rises, -1 where it never rises.

    Args:
        node: A node that acts element by element.
        position: The input that varies; the others are known.
        opsets: Version by domain.

    Returns:
        A number, or an array that broadcasts to the output; None without proof.
    """
    if not is_elementwise(node, position, opsets):
        return None
    if node.op_type in _WALKED and node.domain == "":
        return np.ones(()) if is_walked(node, opsets.get("", 1)) else None
    if node.op_type in _SLOPED:
        alpha = node.attributes.get_float("alpha", _SLOPED[node.op_type])
        beta = node.attributes.get_float("beta", 0.0)
        return np.ones(()) if np.isfinite([alpha, beta]).all() and alpha >= 0 else None
    others = [known_value(v, opsets) for i, v in enumerate(node.inputs) if i != position and v is not None]
    known = [as_float64(o) for o in others if o is not None and o.dtype.kind in "fiubV"]
    if len(known) < len(others):
        return None
    if node.domain != "":
        return np.ones(()) if known and _is_usable_factor(known[0]) else None
    return np.ones(()) if node.op_type in _RISING else _by_operand(node, position, known)


def _is_quantizer(node: ir.Node, opsets: Mapping[str, int]) -> bool:
    operator = operator_of(node, dict(opsets))
    return operator is not None and operator.name in _QUANTIZERS


def _by_operand(node: ir.Node, position: int, known: list[Float64s]) -> Float64s | None:
    match node.op_type:
        case "Neg":
            return -np.ones(())
        case "Sub":
            return np.ones(()) if position == 0 else -np.ones(())
        case "Mul" if known:
            return _sign(known[0]) if np.isfinite(known[0]).all() else None
        case "Div" if known:
            return _sign(known[0]) if _is_usable_factor(known[0]) else None
        case "PRelu" if known:
            return np.ones(()) if np.isfinite(known[0]).all() and (known[0] >= 0).all() else None
        case "BatchNormalization" if len(known) == 4 and known[0].shape == known[3].shape:
            scale, _, _, variance = known
            with np.errstate(all="ignore"):
                factor = scale / np.sqrt(variance + float(np.float32(node.attributes.get_float("epsilon", 1e-5))))
            return _sign(factor) if np.isfinite(factor).all() else None
        case _:
            return None


def _sign(factor: Array) -> Float64s:
    return np.where(factor < 0, -1.0, 1.0)


def _is_usable_factor(factor: Float64s) -> bool:
    return bool(np.isfinite(factor).all() and (factor != 0).all())
