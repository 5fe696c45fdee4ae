"""DivToMul: division by powers of two becomes multiplication."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.editor import Editor


@dataclass(frozen=True)
class DivToMul(ir.passes.InPlacePass):
    """Replaces the division by a constant of powers of two by the multiplication with its reciprocal.

    Before: ``y = Div(x, 4)``; after: ``y = Mul(x, 0.25)``. Both round the same real number once, so they are equal
    bit for bit. Every other division stays: ``x * (1/3)`` is not ``x / 3``. Divisor and reciprocal must be normal
    numbers, since some machines take subnormal ones for zero.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="div-to-mul") as edit:
            reciprocals: dict[ir.Value, ir.Value] = {}
            nodes = edit.nodes("Div")
            edit.require_broadcasting(nodes)
            for node in nodes:
                divisor = node.inputs[1]
                array = _reciprocal(constant(divisor))
                if divisor is None or isinstance(array, Refusal):
                    edit.leave(node, array if isinstance(array, Refusal) else Refusal(problem="the divisor is missing"))
                    continue
                if divisor not in reciprocals:
                    reciprocals[divisor] = edit.constant(f"{divisor.name}/reciprocal", array, like=divisor)
                node.op_type = "Mul"
                edit.rewire(node, 1, reciprocals[divisor])
        return edit.result()


def _reciprocal(divisor: Array | None) -> Array | Refusal:
    if divisor is None:
        return Refusal(problem="the divisor is not constant", expected="a constant of powers of two")
    if divisor.dtype.kind != "f":
        return Refusal(problem="the division is one of integers", got=str(divisor.dtype), expected="float")
    smallest = np.finfo(divisor.dtype).tiny
    with np.errstate(all="ignore"):
        reciprocal = (1 / divisor).astype(divisor.dtype)
        significand = np.abs(np.frexp(divisor)[0])
    exact = (significand == 0.5) & (np.abs(divisor) >= smallest)
    exact &= np.isfinite(reciprocal) & (np.abs(reciprocal) >= smallest)
    if exact.all():
        return reciprocal
    return Refusal(
        problem="the reciprocal of the divisor is not exact",
        got=f"{divisor[~exact].flat[0]:g}",
        expected="powers of two whose reciprocals are normal numbers",
    )
