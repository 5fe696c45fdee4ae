"""infer_shapes: onnx's shape inference on an onnx_ir model, large weights left out, linear in nodes and weights.

Like ``onnx_ir.passes.common.ShapeInferencePass``, whose search of the inputs is quadratic in the initializers, and
which makes a second model of the result.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from anybit.ops.schemas import register_schemas

_SMALL = 1024  # tensors up to this many bytes go along: inference reads targets of Reshape, axes and pads


def infer_shapes(model: ir.Model, *, data_propagation: bool) -> bool:
    """Sets the types and shapes that onnx infers, in subgraphs too.

    Returns:
        Whether anything changed. Nothing does where the model contradicts itself.
    """
    register_schemas()
    try:
        inferred = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=data_propagation)
    except (InferenceError, ValidationError, RuntimeError, ValueError, TypeError, ir.serde.SerdeError):
        return False
    return _merge(model.graph, inferred.graph)


def discard_false_shapes(model: ir.Model) -> list[tuple[ir.Value, ir.Shape, ir.Shape]]:
    """Replaces shapes of the file that its operators contradict by those that follow from the inputs.

    Returns:
        The values of the outermost graph concerned, with the stated and the true shape.
    """
    stated = {o: o.shape for node in model.graph for o in node.outputs if o.shape is not None}
    for value in stated:
        value.shape = None
    infer_shapes(model, data_propagation=True)
    false: list[tuple[ir.Value, ir.Shape, ir.Shape]] = []
    for value, shape in stated.items():
        if value.shape is not None and _contradict(shape, value.shape):
            false.append((value, shape, value.shape))
        else:
            value.shape = shape
    return false


def _contradict(a: ir.Shape, b: ir.Shape) -> bool:
    if len(a) != len(b):
        return True
    return any(isinstance(x, int) and isinstance(y, int) and x != y for x, y in zip(a, b, strict=True))


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    """The model with large initializers as inputs, of which inference needs only type and shape.

    Defaults of inputs are left out: a caller may feed another value.
    """
    graph = model.graph
    initializers, inputs = list(graph.initializers.items()), len(graph.inputs)
    try:
        for name, value in initializers:
            tensor = value.const_value
            if value.is_graph_input():
                del graph.initializers[name]
                continue
            if tensor is None:
                continue
            value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape.numpy())
            if tensor.nbytes <= _SMALL:
                continue
            del graph.initializers[name]
            graph.inputs.append(value)
        return ir.to_proto(model)
    finally:
        kept = graph.inputs[:inputs]
        graph.inputs.clear()
        graph.inputs.extend(kept)
        graph.initializers.clear()
        for _, value in initializers:
            graph.register_initializer(value)


def _merge(graph: ir.Graph, proto: onnx.GraphProto) -> bool:
    values = {o.name: o for node in graph for o in node.outputs} | {v.name: v for v in graph.inputs}
    modified = False
    for info in (*proto.input, *proto.value_info, *proto.output):
        value = values.get(info.name)
        if value is None:
            continue
        shape = ir.serde.deserialize_type_proto_for_shape(info.type)
        if shape is not None and value.shape != shape:
            value.shape, modified = shape, True
        kind = ir.serde.deserialize_type_proto_for_type(info.type)
        if kind is not None and value.type != kind:
            value.type, modified = kind, True
    for node, node_proto in zip(graph, proto.node, strict=True):
        for attribute in node_proto.attribute:
            if attribute.HasField("g"):
                modified |= _merge(node.attributes[attribute.name].as_graph(), attribute.g)
    return modified
