"""The float32 arithmetic of a graph at the ends of a plan: before its first quantiser, and behind its last sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.exact.chain import Chain, ChainStep
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.plan.plan import Arithmetic, FloatStep
from anybit.quantizers.quantizer import Quantizer, read_quant
from anybit.rounding import Rounding

_LARGEST = 256
_OPERATIONS = {
    "Add": (Arithmetic.ADD, Arithmetic.ADD),
    "Sub": (Arithmetic.SUBTRACT, Arithmetic.SUBTRACT_FROM),
    "Mul": (Arithmetic.MULTIPLY, Arithmetic.MULTIPLY),
    "Div": (Arithmetic.DIVIDE, None),
}
"""By operator, the operation on its first and on its second input."""


def arithmetic_of(steps: Sequence[ChainStep]) -> tuple[FloatStep, ...] | None:
    """The operations of a chain, if each is one of IEEE 754 with a known number; else None."""
    found: list[FloatStep] = []
    for step in steps:
        node = step.node
        operations = _OPERATIONS.get(node.op_type) if node.domain == "" else None
        operation = None if operations is None or step.position > 1 else operations[step.position]
        others = [p for i, p in enumerate(step.parameters) if i != step.position and p is not None]
        if operation is None or len(others) != 1 or others[0].dtype != np.float32:
            return None
        found.append(FloatStep(operation, np.ascontiguousarray(others[0].reshape(-1))))
    return tuple(found)


def quantizer_of(chain: Chain, model: ir.Model) -> tuple[tuple[FloatStep, ...], Quantizer] | None:
    """What a chain computes before the quantiser that it ends in, if both are simple enough to be written down.

    The quantiser may be followed by a Clip to two of its numbers.
    """
    *before, last = chain.steps
    clip = last if last.node.domain == "" and last.node.op_type == "Clip" and before else None
    if clip is not None:
        *before, last = before
    if not is_call(last.node, QUANT) or is_call(last.node, BIPOLAR_QUANT):
        return None
    quantizer, steps = read_quant(last.node, model), arithmetic_of(before)
    if isinstance(quantizer, Refusal) or steps is None:
        return None
    if clip is not None:
        quantizer = _narrowed(quantizer, clip)
        if quantizer is None:
            return None
    simple = (
        quantizer.rounding is Rounding.ROUND
        and not quantizer.is_bipolar
        and quantizer.zero_point.size == 1
        and quantizer.lo.size == quantizer.hi.size == 1
        and float(quantizer.hi) - float(quantizer.lo) < _LARGEST
        and float(quantizer.zero_point) == round(float(quantizer.zero_point))
        and float(quantizer.lo) <= float(quantizer.zero_point) <= float(quantizer.hi)
        and quantizer.scale.size in (1, chain.channels)
    )
    return (steps, quantizer) if simple else None


def _narrowed(quantizer: Quantizer, clip: ChainStep) -> Quantizer | None:
    """A quantiser and a Clip behind it as one quantiser; None if the bounds are none of its numbers."""
    if {quantizer.scale.size, quantizer.zero_point.size, quantizer.lo.size, quantizer.hi.size} != {1}:
        return None
    scale, zero_point = quantizer.scale.reshape(()), float(quantizer.zero_point.reshape(()))
    ends = [float(quantizer.lo.reshape(())), float(quantizer.hi.reshape(()))]
    for index, bound in enumerate(clip.parameters[1:3]):
        if bound is None:
            continue
        if bound.size != 1:
            return None
        level = float(np.rint(bound.reshape(()) / scale + zero_point))
        if np.float32((level - zero_point) * scale) != bound or not ends[0] <= level <= ends[1]:
            return None
        ends[index] = level
    return replace(quantizer, lo=np.asarray(ends[0]), hi=np.asarray(ends[1]), grid=None)
