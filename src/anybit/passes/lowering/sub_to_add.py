"""SubToAdd: Sub becomes Add of the negative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.editor import Editor


@dataclass(frozen=True)
class SubToAdd(ir.passes.InPlacePass):
    """Replaces the subtraction of a constant by the addition of its negative, bit for bit the same.

    Before: ``y = Sub(x, 3)``; after: ``y = Add(x, -3)``. Unsigned integers have no negative and stay; integers of
    the lowest value neither.

    Attributes:
        dynamic: Also rewrite ``Sub(x, z)`` as ``Add(x, Neg(z))`` where z is not constant.
    """

    dynamic: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="sub-to-add") as edit:
            nodes = edit.nodes("Sub")
            edit.require_broadcasting(nodes)
            if self.dynamic:
                infer_missing(model, [n.inputs[1] for n in nodes])
            negatives: dict[ir.Value, ir.Value] = {}
            for node in nodes:
                second = node.inputs[1]
                refusal = self._refusal(second)
                if second is None or refusal is not None:
                    edit.leave(node, refusal or Refusal(problem="the subtrahend is missing"))
                    continue
                array = constant(second)
                if array is None:
                    negation = edit.node("Neg", [second], f"{second.name}/negative", like=second)
                    edit.insert(negation, before=node)
                    negative = negation.outputs[0]
                else:
                    negative = negatives.get(second) or edit.constant(f"{second.name}/negative", -array, like=second)
                    negatives[second] = negative
                node.op_type = "Add"
                edit.rewire(node, 1, negative)
        return edit.result()

    def _refusal(self, second: ir.Value | None) -> Refusal | None:
        array = constant(second)
        if array is None and not self.dynamic:
            return Refusal(
                problem="the subtrahend is not constant",
                expected="a constant",
                hint="the option `dynamic` negates it by a node",
            )
        dtype = second.dtype if second is not None and array is None else None
        element = array.dtype if array is not None else None if dtype is None else dtype.numpy()
        kind = None if element is None else element.kind
        if kind not in ("f", "i"):
            return Refusal(problem="no type that has a negative", got=str(element), expected="float or signed")
        if array is not None and kind == "i" and (array == np.iinfo(array.dtype).min).any():
            return Refusal(problem="the lowest integer has no negative", got=str(np.iinfo(array.dtype).min))
        return None
