"""Packed weights: constant integers, and the standard nodes that make floats of them, w = (Cast(q) - z) * s.

Cast, Sub and Mul, not DequantizeLinear: they broadcast as our operators do, so that a quantiser's own scale and zero
point serve as s and z, whatever their shapes; and engines only fold them. With DequantizeLinear in front of a MatMul
ONNX Runtime departs by 1e-3 at its defaults, is plainly wrong for 2 bits, and has no kernel at opset 28.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import UsageError
from anybit.graph.constants import constant, new_initializer
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes

PACKED = "anybit/packed"
"""Key of the metadata of a node that makes packed weights; what it says is checked by the nodes themselves."""

_IR_VERSION = 10  # from here on nodes have metadata
_LARGE = 1 << 20  # floats of more bytes than this are made when they are asked for, each time anew
_INTEGERS = frozenset(ir.DataType[f"{sign}INT{bits}"] for sign in ("", "U") for bits in (2, 4, 8, 16))
_FLOATS = frozenset((ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE))


@dataclass(frozen=True)
class Packed:
    """Weights as integers: w = (q - zero_point) * scale, computed in the type of w.

    Attributes:
        integers: q, in an integer type of up to 16 bits.
        scale: Broadcasts to q.
        zero_point: Broadcasts to q; None for 0.
        dtype: Type of w, and of scale and zero point.
    """

    integers: ir.TensorProtocol
    scale: ir.TensorProtocol
    zero_point: ir.TensorProtocol | None
    dtype: ir.DataType

    def floats(self) -> Array:
        """w."""
        values = self.integers.numpy().astype(self.dtype.numpy())
        with np.errstate(all="ignore"):
            if self.zero_point is not None:
                values -= self.zero_point.numpy()
            values *= self.scale.numpy()
        return values

    def tensor(self, name: str) -> ir.TensorProtocol:
        """w as a tensor; a large one is computed each time its values are asked for."""
        shape = ir.Shape(self.integers.shape.numpy())
        if self.integers.size * self.dtype.itemsize < _LARGE:
            return ir.tensor(self.floats(), dtype=self.dtype, name=name)
        return ir.LazyTensor(lambda: ir.tensor(self.floats(), dtype=self.dtype), self.dtype, shape, name=name)


class Packer:
    """Replaces weights by integers and the nodes that make floats of them, which come first in their graph."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._names = Names.of_tensors(model)
        self._node_names = Names({n.name for n in all_nodes(model.graph) if n.name})
        self._first: dict[ir.Graph, ir.Node] = {}

    def write(self, old: ir.Value, integers: Array, scale: ir.Value, zero_point: ir.Value | None) -> None:
        """Replaces the constant `old`, which is in a graph; see `Packed` for the rest."""
        graph, array = graph_of(old), constant(old)
        if not isinstance(graph, ir.Graph) or array is None:
            raise UsageError("no constant of a graph", node=f"tensor '{old.name}'")
        name = str(old.name)
        dtype = ir.DataType.from_numpy(array.dtype)
        old.type, old.shape = ir.TensorType(dtype), ir.Shape(array.shape)
        value = new_initializer(graph, self._names.fresh(f"{name}_packed"), integers)
        steps = [self._node("Cast", [value], old, to=dtype.value)]
        if zero_point is not None:
            steps.append(self._node("Sub", [steps[-1].outputs[0], self._parameter(zero_point, graph)], old))
        steps.append(self._node("Mul", [steps[-1].outputs[0], self._parameter(scale, graph)], old))
        steps[-1].metadata_props[PACKED] = "integers"
        first, producer = self._first.setdefault(graph, graph[0]), old.producer()
        graph.insert_before(producer or first, steps)
        if producer is first:  # it is about to be removed
            self._first[graph] = steps[0]
        self._replace(old, steps[-1].outputs[0], graph)
        self._model.ir_version = max(self._model.ir_version, _IR_VERSION)

    def _node(self, op_type: str, inputs: Sequence[ir.Value], like: ir.Value, **attributes: int) -> ir.Node:
        node = ir.node(op_type, inputs, attributes, name=self._node_names.fresh(f"{like.name}/{op_type}"))
        (output,) = node.outputs
        output.name = self._names.fresh(f"{like.name}_{op_type.lower()}")
        output.type, output.shape = like.type, None if like.shape is None else like.shape.copy()
        return node

    def _parameter(self, value: ir.Value, graph: ir.Graph) -> ir.Value:
        """The value itself where it is an initializer of the graph; else one, since its node may come later."""
        array = constant(value)
        if (value.is_initializer() and value.graph is graph) or array is None:
            return value
        return new_initializer(graph, self._names.fresh(f"{value.name}_packed"), array)

    def _replace(self, old: ir.Value, new: ir.Value, graph: ir.Graph) -> None:
        name, producer = str(old.name), old.producer()
        if producer is None:
            del graph.initializers[name]
        old.name, new.name = new.name, name
        new.meta.update(old.meta)
        new.metadata_props.update(old.metadata_props)
        old.replace_all_uses_with(new)
        if producer is not None:
            graph.remove(producer, safe=True)


def unpack(model: ir.Model) -> None:
    """Makes initializers of packed weights, in place; nodes that only look like it stay."""
    for node in list(all_nodes(model.graph)):
        if PACKED not in node.metadata_props or not isinstance(node.graph, ir.Graph):
            continue
        packed = _read(node)
        if packed is not None:
            _unfold(node, node.graph, packed)


def graph_of(value: ir.Value) -> ir.Graph | ir.Function | None:
    """Where an initializer, or the node that makes the value, is."""
    producer = value.producer()
    return value.graph if producer is None else producer.graph


def _read(multiply: ir.Node) -> Packed | None:
    """What the node computes, if it is packed weights."""
    factors, output = _inputs(multiply, "Mul", 2), multiply.outputs[0]
    if factors is None or not output.name or output.is_graph_output() or multiply.graph is None:
        return None
    if output.name in multiply.graph.initializers:
        return None
    zero_point = None
    difference = factors[0].producer()
    if difference is not None and difference.op_type == "Sub":
        terms = _inputs(difference, "Sub", 2)
        if terms is None or (zero_point := _tensor(terms[1])) is None:
            return None
        difference = terms[0].producer()
    operand = None if difference is None else _inputs(difference, "Cast", 1)
    if difference is None or operand is None:
        return None
    integers, scale = _tensor(operand[0]), _tensor(factors[1])
    to = difference.attributes.get("to")
    dtype = next((d for d in _FLOATS if to is not None and not to.is_ref() and d.value == to.value), None)
    if integers is None or scale is None or integers.dtype not in _INTEGERS or dtype is None:
        return None
    parameters = [scale] if zero_point is None else [scale, zero_point]
    if any(p.dtype != dtype or not _broadcasts(p, integers) for p in parameters):
        return None
    return Packed(integers, scale, zero_point, dtype)


def _inputs(node: ir.Node, op_type: str, count: int) -> list[ir.Value] | None:
    """The inputs of a standard node of this type, None if it is none or lacks one."""
    inputs = [v for v in node.inputs if v is not None]
    plain = op_type == "Cast" or not node.attributes  # Mul and Sub of old opsets broadcast by attributes
    return inputs if plain and (node.domain, node.op_type, len(inputs)) == ("", op_type, count) else None


def _tensor(value: ir.Value) -> ir.TensorProtocol | None:
    return value.const_value if value.is_initializer() and not value.is_graph_input() else None


def _broadcasts(parameter: ir.TensorProtocol, integers: ir.TensorProtocol) -> bool:
    """Whether the parameter broadcasts to the integers, and does not widen them."""
    own, full = parameter.shape.numpy(), integers.shape.numpy()
    pairs = zip(reversed(own), reversed(full), strict=False)
    return len(own) <= len(full) and all(p in (1, q) for p, q in pairs)


def _unfold(multiply: ir.Node, graph: ir.Graph, packed: Packed) -> None:
    old = multiply.outputs[0]
    name, old.name = str(old.name), None
    value = ir.Value(name=name, type=ir.TensorType(packed.dtype), shape=ir.Shape(packed.integers.shape.numpy()))
    value.const_value = packed.tensor(name)
    value.meta.update(old.meta)
    value.metadata_props.update(old.metadata_props)
    graph.register_initializer(value)
    old.replace_all_uses_with(value)
    _remove(multiply)


def _remove(node: ir.Node) -> None:
    """Removes a node that nothing reads, and what only it read."""
    inputs = [v for v in node.inputs if v is not None]
    if node.graph is not None:
        node.graph.remove(node, safe=True)
    for value in inputs:
        producer = value.producer()
        if value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        if producer is not None:
            _remove(producer)
        elif value.is_initializer() and value.graph is not None:
            del value.graph.initializers[str(value.name)]
