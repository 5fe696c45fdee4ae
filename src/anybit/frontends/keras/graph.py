"""graph: the ONNX graph that layers are written into; it knows which tensors have their channels in front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.infer_shapes import InferShapes
from anybit.frontends.keras.weights import UniformGrid, Weight, compact
from anybit.graph.builder import NodeBuilder
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.operator import DOMAIN
from anybit.ops.quant import QUANT

OPSET = 20
IR_VERSION = 9

Operand = ir.Value | Array | float


@dataclass(frozen=True)
class LayerTensor:
    """A tensor of the Keras model.

    Attributes:
        value: The ONNX tensor.
        shape: The shape in Keras' layout; None where it is free.
        channels_first: Whether the ONNX tensor has Keras' last axis behind the batch, as Conv wants it.
    """

    value: ir.Value
    shape: tuple[int | None, ...]
    channels_first: bool = False

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def axis(self, axis: int) -> int:
        """Where an axis of Keras' layout is in the ONNX tensor."""
        axis %= self.rank
        if not self.channels_first or axis == 0:
            return axis
        return 1 if axis == self.rank - 1 else axis + 1

    def aligned(self, array: Array) -> Array:
        """An array that broadcasts in Keras' layout, as one that broadcasts to the ONNX tensor."""
        array = compact(np.asarray(array))
        if not self.channels_first or not array.ndim:
            return array
        full = array.reshape((1,) * (self.rank - array.ndim) + array.shape)
        return compact(np.moveaxis(full, -1, 1))


class Graph:
    """The graph so far."""

    def __init__(self, name: str) -> None:
        graph = ir.Graph([], [], nodes=[], name=name or "keras", opset_imports={"": OPSET, DOMAIN: 1})
        self.model = ir.Model(graph, ir_version=IR_VERSION, producer_name="anybit")
        self._builder = NodeBuilder(self.model)
        self._weights: dict[tuple[int, str], ir.Value] = {}
        self._turned: dict[tuple[ir.Value, bool], LayerTensor] = {}

    def input(self, name: str, shape: Sequence[int | str], keras_shape: tuple[int | None, ...]) -> LayerTensor:
        """A new graph input of float32."""
        kind = ir.TensorType(ir.DataType.FLOAT)
        value = ir.Value(name=self._builder.name(name), type=kind, shape=ir.Shape(shape))
        self.model.graph.inputs.append(value)
        return LayerTensor(value, keras_shape)

    def output(self, tensor: LayerTensor, name: str) -> None:
        """Makes a tensor, in Keras' layout, a graph output."""
        value = self.channels_last(tensor).value
        if value.is_graph_input() or value.is_graph_output():
            value = self.node("Identity", [value], name)
        else:
            value.name = self._builder.name(name)
        value.type = ir.TensorType(ir.DataType.FLOAT)
        self.model.graph.outputs.append(value)

    def finished(self) -> ir.Model:
        """The model, with types and shapes."""
        InferShapes()(self.model)
        return self.model

    def node(
        self, op_type: str, inputs: Sequence[Operand], wish: str, **attributes: float | str | Sequence[int]
    ) -> ir.Value:
        """A standard node at the end of the graph, its output called as wished; arrays become initializers."""
        values = [v if isinstance(v, ir.Value) else self.constant(f"{wish}/{op_type.lower()}", v) for v in inputs]
        return self._append("", op_type, values, wish, attributes)

    def _append(
        self,
        domain: str,
        op_type: str,
        values: Sequence[ir.Value],
        wish: str,
        attributes: Mapping[str, int | float | str | Sequence[int]],
    ) -> ir.Value:
        listed = {k: list(v) if isinstance(v, (tuple, list)) else v for k, v in attributes.items()}
        given = {a.name: a for a in ir.convenience.convert_attributes(listed)}
        node = self._builder.node(op_type, values, wish, domain=domain, attributes=given)
        self.model.graph.append(node)
        return node.outputs[0]

    def constant(self, wish: str, array: Array | float) -> ir.Value:
        """A new initializer; numbers are float32."""
        kept = array if isinstance(array, np.ndarray) and array.dtype.kind != "f" else np.asarray(array, np.float32)
        return self._builder.constant(wish, kept)

    def elementwise(
        self, op_type: str, tensor: LayerTensor, wish: str, *operands: Array | float, **attributes: float
    ) -> LayerTensor:
        """An operator that keeps shape and layout; operands broadcast in Keras' layout."""
        aligned = [tensor.aligned(np.asarray(o, np.float32)) for o in operands]
        return replace(tensor, value=self.node(op_type, [tensor.value, *aligned], wish, **attributes))

    def quantized(self, tensor: LayerTensor, grid: UniformGrid, wish: str) -> LayerTensor:
        """A quantiser; scale and bits broadcast in Keras' layout."""
        there = replace(grid, scale=tensor.aligned(grid.scale), bits=tensor.aligned(grid.bits))
        return replace(tensor, value=self._quantizer(tensor.value, there, wish))

    def weight(self, owner: object, role: str, wish: str, make: Callable[[], Weight]) -> ir.Value:
        """A parameter behind its quantiser; made once, however often its layer is called."""
        key = (id(owner), role)
        if key not in self._weights:
            weight, name = make(), f"{wish}/{role}"
            value = self.constant(name, weight.array if weight.grid is None else weight.grid(weight.array))
            self._weights[key] = value if weight.grid is None else self._quantizer(value, weight.grid, f"{name}/quant")
        return self._weights[key]

    def _quantizer(self, x: ir.Value, grid: UniformGrid, wish: str) -> ir.Value:
        if grid.bipolar:
            return self._append(DOMAIN, BIPOLAR_QUANT.name, [x, self.constant(f"{wish}/scale", grid.scale)], wish, {})
        parameters = (("scale", grid.scale), ("zero_point", 0.0), ("bits", grid.bits))
        values = [x, *(self.constant(f"{wish}/{key}", array) for key, array in parameters)]
        flags = {"signed": int(grid.signed), "narrow": int(grid.narrow)}
        return self._append(DOMAIN, QUANT.name, values, wish, {**flags, "rounding_mode": grid.rounding.value})

    def channels_first(self, tensor: LayerTensor) -> LayerTensor:
        """The tensor as Conv and pooling take it."""
        return self._turn(tensor, to_front=True)

    def channels_last(self, tensor: LayerTensor) -> LayerTensor:
        """The tensor in Keras' layout."""
        return self._turn(tensor, to_front=False)

    def in_one_layout(self, tensors: Sequence[LayerTensor]) -> list[LayerTensor]:
        """The tensors as they are if their layouts are one, else in Keras' layout."""
        if all(t.channels_first for t in tensors):
            return list(tensors)
        return [self.channels_last(t) for t in tensors]

    def _turn(self, tensor: LayerTensor, *, to_front: bool) -> LayerTensor:
        if tensor.channels_first == to_front or tensor.rank < 3:
            return tensor
        key = (tensor.value, to_front)
        if key not in self._turned:
            last = tensor.rank - 1
            order = [0, last, *range(1, last)] if to_front else [0, *range(2, last + 1), 1]
            wish = f"{tensor.value.name}/channels_{'first' if to_front else 'last'}"
            value = self.node("Transpose", [tensor.value], wish, perm=order)
            self._turned[key] = replace(tensor, value=value, channels_first=to_front)
            self._turned[value, not to_front] = tensor
        return self._turned[key]
