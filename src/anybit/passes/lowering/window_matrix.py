"""matrix: the weights of a convolution as the matrix that rows of windows are multiplied by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.annotations import annotate_layout, annotate_sparsity
from anybit.graph.editor import Editor
from anybit.ops.calls import call_of, operator_of
from anybit.ops.sizes import refuse_bytes
from anybit.passes.lowering.known_weights import Weight, read_weight, squeezed


@dataclass(frozen=True)
class Kernel:
    """The weights of a convolution of images.

    Attributes:
        outputs: Output channels M.
        per_group: Input channels that one of them sees.
        spatial: Height and width.
        group: Groups of channels that stay apart.
        channels_last: Whether it is laid out (M, height, width, per_group), not (M, per_group, height, width).
    """

    outputs: int
    per_group: int
    spatial: tuple[int, int]
    group: int
    channels_last: bool

    @property
    def is_depthwise(self) -> bool:
        """Whether each output channel sees the one input channel of its number."""
        return self.per_group == 1 and self.group == self.outputs > 1

    def rows(self, array: Array) -> Array:
        """The weights, or a parameter that has their shape, as (height * width * channels, M); zeros between groups."""
        last = array if self.channels_last else array.transpose(0, 2, 3, 1)
        taps = self.spatial[0] * self.spatial[1]
        grouped = last.reshape(self.group, -1, taps, self.per_group)
        shape = (taps, self.group, self.per_group, self.group, grouped.shape[1])
        refuse_bytes(math.prod(shape) * array.itemsize, f"a convolution of {self.group} groups as a matrix")
        full = np.zeros(shape, array.dtype)
        for index, part in enumerate(grouped):
            full[:, index, :, index] = part.transpose(1, 2, 0)
        return full.reshape(taps * self.group * self.per_group, self.outputs)


def matrix(edit: Editor, node: ir.Node, kernel: Kernel) -> ir.Value | Refusal:
    """The matrix (height * width * channels, M), made in front of `node`; a quantiser of the weights stays one."""
    value = node.inputs[1]
    weight = read_weight(value, edit.model.opset_imports)
    if value is None or (weight is None and kernel.group > 1):
        return Refusal(
            problem="the weights of groups are not constant", expected="an initializer, or a quantiser of one"
        )
    if weight is None:
        return _computed(edit, node, value, kernel)
    array = np.ascontiguousarray(kernel.rows(weight.array))
    if weight.quantizer is None:
        return _constant(edit, value, array, kernel)
    parameters = [p for array in weight.parameters if (p := _parameter(array, weight, kernel)) is not None]
    if len(parameters) < len(weight.parameters):
        return Refusal(problem="a parameter of the weights' quantiser differs within an output channel of a group")
    if not _means_the_same(edit, weight, array, parameters, kernel):
        return Refusal(problem="the weights' quantiser has no zero to put between groups", got=weight.quantizer.op_type)
    return _quantized(edit, node, weight, array, parameters, kernel)


def _computed(edit: Editor, node: ir.Node, value: ir.Value, kernel: Kernel) -> ir.Value:
    """Weights that are computed, laid out by nodes."""
    name = f"{value.name}/matrix"
    order = (1, 2, 3, 0) if kernel.channels_last else (2, 3, 1, 0)
    turned = edit.node("Transpose", [value], name, attributes={"perm": ir.AttrInt64s("perm", list(order))})
    shape = edit.constant(f"{name}/shape", np.array([-1, kernel.outputs], np.int64))
    flat = edit.node("Reshape", [turned.outputs[0], shape], name)
    for step in (turned, flat):
        step.outputs[0].type = value.type
    edit.insert([turned, flat], before=node)
    return flat.outputs[0]


def _parameter(array: Array, weight: Weight, kernel: Kernel) -> Array | None:
    """A parameter of the quantiser that broadcasts to the matrix; None where zeros between groups would break it."""
    if array.size == 1:
        return array.reshape(())
    full = np.broadcast_to(array, weight.array.shape)
    by_output = full[:, :1, :1, :1]
    if (full == by_output).all():
        return np.ascontiguousarray(by_output.reshape(1, -1))
    return squeezed(kernel.rows(full)) if kernel.group == 1 else None


def _means_the_same(edit: Editor, weight: Weight, array: Array, parameters: list[Array], kernel: Kernel) -> bool:
    operator = None if weight.quantizer is None else operator_of(weight.quantizer, edit.model.opset_imports)
    if operator is None or weight.quantizer is None:
        return False
    values = operator.evaluate([array, *parameters], call_of(weight.quantizer, operator).attributes)
    return np.array_equal(values, kernel.rows(weight.values))


def _quantized(
    edit: Editor, node: ir.Node, weight: Weight, array: Array, parameters: list[Array], kernel: Kernel
) -> ir.Value | Refusal:
    old = weight.quantizer
    given = [] if old is None else [v for v in old.inputs if v is not None]
    if old is None or len(given) < len(old.inputs):
        return Refusal(problem="an input of the weights' quantiser is missing")
    inputs = [_constant(edit, given[0], array, kernel)]
    for value, before, after in zip(given[1:], weight.parameters, parameters, strict=True):
        shared = before.size == 1 and before.ndim <= array.ndim  # one number for all elements
        inputs.append(value if shared else edit.constant(f"{value.name}/matrix", after))
    made = edit.node(
        old.op_type, inputs, f"{old.outputs[0].name}/matrix", domain=old.domain, attributes=dict(old.attributes)
    )
    made.outputs[0].type = old.outputs[0].type
    _state(made.outputs[0], old.outputs[0], kernel)
    edit.insert(made, before=node)
    return made.outputs[0]


def _constant(edit: Editor, like: ir.Value, array: Array, kernel: Kernel) -> ir.Value:
    value = edit.constant(f"{like.name}/matrix", array)
    _state(value, like, kernel)
    return value


def _state(value: ir.Value, like: ir.Value, kernel: Kernel) -> None:
    """What was stated of the weights' elements, and what tools want to know of depthwise ones."""
    if like.meta and kernel.group == 1:
        value.meta.update(like.meta)
        annotate_layout(value, None)
    if kernel.is_depthwise:
        annotate_sparsity(value, {"dw": {"kernel_shape": list(kernel.spatial)}})
