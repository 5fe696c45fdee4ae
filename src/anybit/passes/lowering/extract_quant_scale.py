"""ExtractQuantScale: scale and zero point of Quant as arithmetic around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal, UsageError
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.ops.quantizer_parameters import EXACT_FLOAT32_BITS

_OPSET = 21
_ARITHMETIC = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


@dataclass(frozen=True)
class ExtractQuantScale(ir.passes.InPlacePass):
    """Leaves Quant nodes that round to plain integers, with scale 1 and zero point 0.

    Before: ``y = Quant(x, s, z, b)``; after: ``y = Mul(Sub(Quant(Add(Div(x, s), z), 1, 0, b), z), s)``. These are the
    steps that Quant takes itself, so the result is the same bit for bit (of zeros, but for the sign). Where s is 1
    or z is 0 already, the nodes for it are left out. Stay: float16, whose steps Quant takes in float32; grids of
    more than 24 bits on float32, which Quant scales in float64.

    Attributes:
        scale: Make the scale 1.
        zero_point: Make the zero point 0. Without `scale` this is exact where the scale is 1, and done only there.
    """

    scale: bool = True
    zero_point: bool = True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if not (self.scale or self.zero_point):
            raise UsageError("nothing to extract", expected="scale, zero_point or both")
        with Editor(model, rule="extract-quant-scale") as edit:
            nodes = [n for n in all_nodes(model.graph) if is_call(n, QUANT)]
            nodes = [n for n in nodes if len(n.inputs) == 4 and self._wanted(n)]
            edit.require_broadcasting(nodes)
            if (
                nodes and "" not in model.opset_imports
            ):  # a model of our operators alone; the standard domain goes first
                others = dict(model.opset_imports)
                model.opset_imports.clear()
                model.opset_imports.update({"": _OPSET, **others})
            infer_missing(model, [v for n in nodes for v in n.inputs[:3]])
            for node in nodes:
                refusal = self._refusal(node)
                if refusal is not None:
                    edit.leave(node, refusal)
                    continue
                self._rewrite(edit, node)
        return edit.result()

    def _wanted(self, node: ir.Node) -> bool:
        scale, zero_point = node.inputs[1:3]
        return (self.scale and not _is(scale, 1)) or (self.zero_point and not _is(zero_point, 0))

    def _refusal(self, node: ir.Node) -> Refusal | None:
        x, scale, zero_point, bit_width = node.inputs
        if x is None or x.dtype not in _ARITHMETIC:
            got = None if x is None else x.dtype
            return Refusal(problem="Quant computes in another type than its input's", got=str(got), expected="float32")
        bits = constant(bit_width)
        if x.dtype == ir.DataType.FLOAT and (bits is None or not bits.size or bits.max() > EXACT_FLOAT32_BITS):
            return Refusal(problem="bit width", got="unknown or above 24", expected="at most 24, constant")
        for value in (scale, zero_point):
            if value is None or (constant(value) is None and value.dtype != x.dtype):
                return Refusal(problem="a computed parameter is of another type than X", expected=str(x.dtype))
        if not self.scale and not _is(scale, 1):
            return Refusal(
                problem="the zero point cannot be extracted alone", expected="scale 1", hint="extract the scale too"
            )
        return None

    def _rewrite(self, edit: Editor, node: ir.Node) -> None:
        x, scale, zero_point, _ = node.inputs
        quantized = node.outputs[0]
        if x is None or scale is None or zero_point is None:
            return
        steps: list[tuple[str, str, ir.Value]] = []  # before and after the quantiser, from the outside to the inside
        if self.scale and not _is(scale, 1):
            steps.append(("Div", "Mul", _operand(edit, scale, x)))
            node.replace_input_with(1, _scalar(edit, f"{quantized.name}/unit_scale", 1, x))
        if self.zero_point and not _is(zero_point, 0):
            steps.append(("Add", "Sub", _operand(edit, zero_point, x)))
            node.replace_input_with(2, _scalar(edit, f"{quantized.name}/no_zeropt", 0, x))
        result = edit.successor(quantized, "integer")
        for before, _, operand in steps:
            made = edit.node(before, [node.inputs[0], operand], f"{result.name}/{before.lower()}", like=result)
            edit.insert(made, before=node)
            node.replace_input_with(0, made.outputs[0])
        last = node
        for count, (_, after, operand) in enumerate(reversed(steps), 1):
            output = result if count == len(steps) else f"{result.name}/{after.lower()}"
            made = edit.node(after, [last.outputs[0], operand], output, like=result)
            edit.insert(made, after=last)
            last = made
        edit.discard(scale, zero_point)


def _is(value: ir.Value | None, number: int) -> bool:
    array = constant(value)
    return array is not None and bool((array == number).all())


def _scalar(edit: Editor, name: str, number: int, x: ir.Value) -> ir.Value:
    return edit.constant(name, np.asarray(number, _dtype(x)))


def _operand(edit: Editor, value: ir.Value, x: ir.Value) -> ir.Value:
    """The parameter in the type of X, as Quant casts it."""
    array = constant(value)
    if array is None or array.dtype == _dtype(x):
        return value
    return edit.constant(f"{value.name}/cast", array.astype(_dtype(x)), like=value)


def _dtype(x: ir.Value) -> np.dtype[Any]:
    return np.dtype(np.float32 if x.dtype is None else x.dtype.numpy())
