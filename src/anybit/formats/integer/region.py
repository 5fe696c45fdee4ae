"""Region: the stored integers around integer products, and the QuantizeLinear and DequantizeLinear at its ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.formats.integer.storage import MOVEMENT
from anybit.formats.qdq.trace import is_movement
from anybit.graph.editor import Editor
from anybit.quantizers.clip_fusion import clip_limits
from anybit.quantizers.linear_parameters import Parameters, parameters_of, range_of
from anybit.quantizers.quantizer import compact


def _is_within(node: ir.Node) -> bool:
    return node.domain == "" and (node.op_type == "Concat" or is_movement(node))


def bounds_of(integers: ir.Value) -> tuple[int, int]:
    """The smallest and the largest of stored integers: those of a Clip before them, else of their type."""
    value, (lo, hi) = integers, range_of(integers.dtype or ir.DataType.UNDEFINED) or (0, 0)
    node = value.producer()
    while node is not None and node.domain == "" and node.op_type in MOVEMENT and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    limits = clip_limits(node) if node is not None and node.domain == "" and node.op_type == "Clip" else None
    if limits is None:
        return lo, hi
    return int(np.clip(limits[0], lo, hi)), int(np.clip(limits[1], lo, hi))


@dataclass
class Region:
    """Integers that are connected by operators that move or clip them, or that quantise one tensor.

    Attributes:
        edit: Adds nodes.
    """

    edit: Editor
    _seen: dict[ir.Value, None] = field(default_factory=dict[ir.Value, None])
    _quantize: dict[ir.Node, None] = field(default_factory=dict[ir.Node, None])
    _dequantize: dict[ir.Node, None] = field(default_factory=dict[ir.Node, None])
    _concat: dict[ir.Node, None] = field(default_factory=dict[ir.Node, None])

    def grow(self, start: ir.Value) -> None:
        """Takes in all integers that are connected to these."""
        waiting = [start]
        while waiting:
            value = waiting.pop()
            if value in self._seen:
                continue
            self._seen[value] = None
            node = value.producer()
            if node is not None and node.domain == "":
                waiting += self._before(node)
            for user, place in value.uses():
                waiting += self._behind(user, place)

    def _before(self, node: ir.Node) -> list[ir.Value]:
        if node.op_type == "QuantizeLinear":
            self._quantize[node] = None
        if not _is_within(node):
            return []
        operands = node.inputs if node.op_type == "Concat" else node.inputs[:1]
        if node.op_type == "Concat":
            self._concat[node] = None
        return [v for v in operands if v is not None]

    def _behind(self, node: ir.Node, place: int) -> list[ir.Value]:
        if node.domain != "" or (place != 0 and node.op_type != "Concat"):
            return []
        if node.op_type == "DequantizeLinear":
            self._dequantize[node] = None
        if node.op_type == "Concat":
            self._concat[node] = None
        return list(node.outputs) if _is_within(node) else []

    def apply(self) -> list[Refusal]:
        """Lets QuantizeLinear and DequantizeLinear at its ends have scale 1, and arithmetic the scale.

        x / scale is rounded, and (integer - zero point) * scale computed, in float32 as before.
        """
        refusals: list[Refusal] = []
        for node in (*self._quantize, *self._dequantize):
            parameters = parameters_of(node)
            if isinstance(parameters, Refusal):
                refusals.append(parameters)
            elif (parameters.scale != 1).any():
                self._rescale(node, parameters)
        for node in self._concat:
            self._join(node)
        return refusals

    def _rescale(self, node: ir.Node, parameters: Parameters) -> None:
        output = node.outputs[0]
        scale = self.edit.constant(f"{output.name}/scale", np.asarray(parameters.scale))
        zero_point = compact(parameters.zero_point)
        one = np.ones(zero_point.size if zero_point.ndim else (), np.float32)
        node.replace_input_with(1, self.edit.constant(f"{output.name}/one", one))
        if zero_point.ndim == 0 and len(node.inputs) > 2 and node.inputs[2] is not None:
            dtype = node.inputs[2].dtype or ir.DataType.UINT8
            zero = zero_point.astype(np.int64).astype(dtype.numpy())
            node.replace_input_with(2, self.edit.constant(f"{output.name}/zero_point", np.asarray(zero)))
        node.attributes.pop("block_size", None)
        x = node.inputs[0]
        if node.op_type == "QuantizeLinear":
            divided = self.edit.node("Div", [x, scale], f"{output.name}/divided", like=x)
            self.edit.insert(divided, before=node)
            node.replace_input_with(0, divided.outputs[0])
            return
        product = self.edit.node("Mul", [output, scale], f"{output.name}/scaled", like=output)
        self.edit.insert(product, after=node)
        self.edit.replace(output, product.outputs[0], suffix="integers")
        product.replace_input_with(0, output)

    def _join(self, node: ir.Node) -> None:
        """Lets a Concat of integers with one zero point join real numbers of scale 1 instead."""
        zeros = [None if v is None else _zero_point(v) for v in node.inputs]
        output, dtype = node.outputs[0], node.outputs[0].dtype
        if dtype is None or zeros[0] is None or any(z != zeros[0] for z in zeros):
            return
        one = self.edit.constant(f"{output.name}/one", np.ones((), np.float32))
        zero = self.edit.constant(f"{output.name}/zero_point", np.asarray(zeros[0]).astype(dtype.numpy()))
        parts = [
            self.edit.node("DequantizeLinear", [v, one, zero], f"{v.name}/real", like=v)
            for v in node.inputs
            if v is not None
        ]
        joined = self.edit.node(
            "Concat", [p.outputs[0] for p in parts], f"{output.name}/real", like=output, attributes=node.attributes
        )
        last = self.edit.node("QuantizeLinear", [joined.outputs[0], one, zero], f"{output.name}/joined", like=output)
        for made in (*parts, joined):
            made.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        self.edit.replace(output, [*parts, joined, last])


def _zero_point(integers: ir.Value) -> float | None:
    """The zero point with which integers were quantised, if it is one."""
    node = integers.producer()
    while node is not None and is_movement(node) and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    parameters = parameters_of(node) if node is not None and node.op_type == "QuantizeLinear" else None
    if not isinstance(parameters, Parameters) or compact(parameters.zero_point).ndim:
        return None
    return float(compact(parameters.zero_point))
