"""ExtractConvBias: the bias of a convolution becomes an addition behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.graph.annotations import annotate_layout
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import shape_of
from anybit.ops.calls import traits_of


@dataclass(frozen=True)
class ExtractConvBias(ir.passes.InPlacePass):
    """Replaces the bias of Conv and ConvTranspose by an Add behind them.

    Before: ``y = Conv(x, w, b)``; after: ``y = Add(Conv(x, w), b')`` with b' the bias in the shape (1, M, 1, ...).
    A constant bias is reshaped now; where a quantiser of a constant makes it, a quantiser of the reshaped constant
    does so; any other bias gets a Reshape. The result is the same in real arithmetic; in floating point the sum of
    products is rounded once more, before the bias is added.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="extract-conv-bias") as edit:
            nodes = [n for n in edit.nodes("Conv", "ConvTranspose") if len(n.inputs) > 2 and n.inputs[2] is not None]
            edit.require_broadcasting(nodes)
            if any(_rank(n) is None for n in nodes):
                infer_missing(model, [n.inputs[1] for n in nodes])
            for node in nodes:
                rank, bias = _rank(node), node.inputs[2]
                if rank is None or bias is None:
                    edit.leave(
                        node, Refusal(problem="the rank of the convolution is unknown", hint="fold shapes first")
                    )
                    continue
                reshaped = _reshaped(edit, node, bias, rank)
                node.resize_inputs(2)
                convolved = node.outputs[0]
                output = edit.successor(convolved, "without_bias")
                edit.insert(edit.node("Add", [convolved, reshaped], output), after=node)
                edit.discard(bias)
        return edit.result()


def _rank(node: ir.Node) -> int | None:
    for value in (node.inputs[1], node.inputs[0], node.outputs[0]):
        shape = None if value is None else shape_of(value)
        if shape is not None:
            return len(shape)
    kernel = node.attributes.get("kernel_shape")
    return None if kernel is None else len(kernel.as_ints()) + 2


def _reshaped(edit: Editor, node: ir.Node, bias: ir.Value, rank: int) -> ir.Value:
    """The bias in the shape (1, M, 1, ...); nodes that it takes are put in front of `node`."""
    name, shape = f"{bias.name}/reshaped", (1, -1, *(1 for _ in range(rank - 2)))
    array = constant(bias)
    if array is not None:
        value = edit.constant(name, array.reshape(shape))
        _annotate(value, bias)
        return value
    inputs = _quantizer_inputs(edit, bias, shape)
    quantizer = bias.producer()
    if inputs is None or quantizer is None:
        target = edit.constant(f"{name}/shape", np.array(shape, np.int64))
        made = edit.node("Reshape", [bias, target], name)
    else:
        made = edit.node(quantizer.op_type, inputs, name, domain=quantizer.domain, attributes=quantizer.attributes)
    value = made.outputs[0]
    value.type = bias.type
    _annotate(value, bias)
    edit.insert(made, before=node)
    return value


def _quantizer_inputs(edit: Editor, bias: ir.Value, shape: tuple[int, ...]) -> list[ir.Value | None] | None:
    """The inputs of the quantiser behind the bias, reshaped like it; None if no quantiser of a constant is there."""
    node = bias.producer()
    if node is None or node.domain == "" or not traits_of(node, edit.model.opset_imports).broadcasting:
        return None
    arrays = [constant(v) for v in node.inputs]
    if any(a is None or a.ndim > 1 for a in arrays) or arrays[0] is None or arrays[0].ndim != 1:
        return None
    inputs = list(node.inputs)
    for position, (value, array) in enumerate(zip(node.inputs, arrays, strict=True)):
        if value is None or array is None or (position and array.size == 1):
            continue  # a single number is the same for every shape of X
        inputs[position] = edit.constant(f"{value.name}/reshaped", array.reshape(shape))
        _annotate(inputs[position], value)
    return inputs


def _annotate(value: ir.Value | None, like: ir.Value) -> None:
    if value is not None and like.meta:
        value.meta.update(like.meta)
        annotate_layout(value, None)  # it named the axes of the old shape
