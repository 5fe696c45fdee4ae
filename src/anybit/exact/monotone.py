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
from anybit.ops.calls import is_call, traits_of
from anybit.ops.evaluate import known_value
from anybit.ops.registry import QUANTIZERS
from anybit.ops.traits import Monotone, MonotoneProof, standard

_SLOPED = {"LeakyRelu": 0.01, "HardSigmoid": 0.2, "ThresholdedRelu": 1.0}
"""Rising where their attribute alpha, whose default this is, is not negative."""
# A Dropout may make a mask, and the condition of a Where is no number.
_FOLLOWED = standard(lambda t: t.elementwise and not t.retypes) - {"Dropout", "Where"} | {"BatchNormalization"}
_OF_FIRST = frozenset(("Div", "PRelu"))
"""Operators of two tensors that are followed in the first one only."""


def is_elementwise(node: ir.Node, position: int, opsets: Mapping[str, int]) -> bool:
    """Whether each element of the output depends on one element of the input at `position`, the others being known."""
    traits = traits_of(node, opsets)
    if node.domain != "":
        return position == 0 and traits.elementwise
    if node.op_type == "BatchNormalization" and node.attributes.get_int("training_mode", 0):
        return False
    return node.op_type in _FOLLOWED and (position == 0 or (traits.broadcasting and node.op_type not in _OF_FIRST))


def direction(node: ir.Node, position: int, opsets: Mapping[str, int]) -> Float64s | None:
    """By channel, 1 where the output is proven never to fall when the input rises, -1 where it never rises.

    Args:
        node: A node that acts element by element.
        position: The input that varies; the others are known.
        opsets: Version by domain.

    Returns:
        A number, or an array that broadcasts to the output; None without proof.
    """
    traits = traits_of(node, opsets)
    monotone = traits.monotone_in(position)
    if monotone is None or not is_elementwise(node, position, opsets):
        return None
    if traits.proof is MonotoneProof.WALK:
        return np.ones(()) if monotone is Monotone.RISING and is_walked(node, opsets.get("", 1)) else None
    if node.domain == "" and node.op_type in _SLOPED:
        alpha = node.attributes.get_float("alpha", _SLOPED[node.op_type])
        beta = node.attributes.get_float("beta", 0.0)
        return np.ones(()) if np.isfinite([alpha, beta]).all() and alpha >= 0 else None
    others = [known_value(v, opsets) for i, v in enumerate(node.inputs) if i != position and v is not None]
    known = [as_float64(o) for o in others if o is not None and o.dtype.kind in "fiubV"]
    if len(known) < len(others) or (is_call(node, *QUANTIZERS) and not (known and _is_usable_factor(known[0]))):
        return None
    match monotone:
        case Monotone.RISING:
            return np.ones(())
        case Monotone.FALLING:
            return -np.ones(())
        case Monotone.BY_PARAMETERS:
            return _by_operand(node, known) if node.domain == "" else None


def _by_operand(node: ir.Node, known: list[Float64s]) -> Float64s | None:
    match node.op_type:
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
