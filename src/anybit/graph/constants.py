"""Numpy arrays as ONNX values and back: the one place that knows how a constant is held in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.names import Names


def constant(value: ir.Value | None) -> Array | None:
    """The numbers behind an initializer that no caller can override, or behind a Constant node; else None.

    Large tensors stay where they are (memory-mapped if external): nothing is copied here.
    """
    if value is None or value.is_graph_input():
        return None
    tensor = value.const_value if value.is_initializer() else None
    producer = value.producer()
    if tensor is None and producer is not None and producer.op_type == "Constant" and producer.domain == "":
        return _constant_node(producer)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return None
    return tensor.numpy()


def set_constant(value: ir.Value, array: Array) -> None:
    """Gives an initializer, or the output of a Constant node, other elements."""
    tensor, producer = ir.tensor(array, name=value.name), value.producer()
    if producer is None:
        value.const_value = tensor
        return
    producer.attributes.clear()
    producer.attributes["value"] = ir.AttrTensor("value", tensor)


def has_default(value: ir.Value) -> bool:
    """Whether the value is an input that need not be fed: an initializer stands for it then."""
    return value.is_graph_input() and value.is_initializer() and value.const_value is not None


def fed_inputs(graph: ir.Graph) -> list[ir.Value]:
    """The inputs that a caller has to feed."""
    return [v for v in graph.inputs if not has_default(v)]


def _constant_node(node: ir.Node) -> Array | None:
    attribute = next(iter(node.attributes.values()), None)
    if attribute is None or attribute.is_ref():
        return None
    match attribute.name, attribute.type:
        case "value", ir.AttributeType.TENSOR:
            tensor = attribute.as_tensor()
            return None if tensor.dtype == ir.DataType.STRING else tensor.numpy()
        case ("value_int", ir.AttributeType.INT) | ("value_ints", ir.AttributeType.INTS):
            return np.asarray(attribute.value, np.int64)
        case ("value_float", ir.AttributeType.FLOAT) | ("value_floats", ir.AttributeType.FLOATS):
            return np.asarray(attribute.value, np.float32)
        case _:
            return None


def new_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Adds an initializer under `name`, or `name` and a number where that is taken."""
    unique, count = name, 0
    while unique in graph.initializers:
        count += 1
        unique = f"{name}_{count}"
    value: Any = ir.Value(
        name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.from_numpy(array.dtype))
    )
    value.const_value = ir.tensor(array, name=unique)
    graph.register_initializer(value)
    return value


def is_replaceable(graph: ir.Graph, output: ir.Value) -> bool:
    """Whether an initializer of `graph`, the outermost one, can stand for a node's output.

    Not for the output of a subgraph, which must be made inside it; nor for an output without a name.
    """
    return bool(output.name) and (not output.is_graph_output() or output.graph is graph)


def replace_by_constant(graph: ir.Graph, output: ir.Value, array: Array, names: Names) -> None:
    """Makes an initializer of the outermost graph stand for a node's output.

    It has the output's name, unless the output belongs to a subgraph: another one may use the same name.
    """
    node = output.producer()
    name = str(output.name)
    output.name = f"{name}/folded"
    value = new_initializer(graph, name if node is None or node.graph is graph else names.fresh(name), array)
    value.meta.update(output.meta)
    output.replace_all_uses_with(value, replace_graph_outputs=True)


def drop_unused(value: ir.Value) -> None:
    """Removes an initializer that nothing reads."""
    graph = value.graph
    unread = value.is_initializer() and not (value.uses() or value.is_graph_output() or value.is_graph_input())
    if graph is not None and unread:
        del graph.initializers[str(value.name)]
