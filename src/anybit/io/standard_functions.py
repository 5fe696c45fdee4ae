"""decompose: standard operators replaced by the functions that define them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from anybit.graph.walk import all_nodes
from anybit.io.opset import convert_in_place
from anybit.io.shapes import infer_shapes
from anybit.ops.standard_schemas import standard_schema

_DOMAIN = "anybit.standard"  # of the functions while they are inlined
_DEPTH = 8  # of functions that call functions


def decompose(model: ir.Model, wanted: Callable[[ir.Node], bool]) -> None:
    """Puts the standard's own function in the place of nodes of the standard domain that are wanted and have one.

    Args:
        model: Model without model-local functions, types inferred; changed in place.
        wanted: Which nodes, those of earlier functions included.

    Raises:
        UnsupportedError: A function cannot be brought to the opset of the model.
    """
    for _ in range(_DEPTH):
        nodes = [n for n in all_nodes(model.graph) if n.domain == "" and wanted(n)]
        if not sum(_call(model, node, k) for k, node in enumerate(nodes)):
            return
        convert_in_place(model, model.opset_imports[""])
        InlinePass()(model)
        model.opset_imports.pop(_DOMAIN, None)
        infer_shapes(model, data_propagation=False)


def _call(model: ir.Model, node: ir.Node, number: int) -> bool:
    """Makes the node a call of its function; whether it has one."""
    schema: Any = standard_schema(node.op_type, model.opset_imports[""])  # its stubs lack the functions
    proto = None if schema is None else _function(schema, node, model.opset_imports[""])
    if schema is None or proto is None or len(proto.input) < len(node.inputs):
        return False
    for name, formal in schema.attributes.items():
        if name in proto.attribute and name not in node.attributes and formal.default_value.type:
            node.attributes[name] = ir.from_proto(formal.default_value)
    made = {o for n in proto.node for o in n.output}
    for output in proto.output:
        if output not in made:  # one that the node leaves out
            proto.node.append(onnx.helper.make_node("Identity", [proto.input[0]], [output]))
    proto.domain, proto.name = _DOMAIN, f"{node.op_type}_{number}"
    function = ir.serde.deserialize_function(proto)
    node.domain, node.op_type = _DOMAIN, proto.name
    node.resize_outputs(len(proto.output))
    model.functions[function.identifier()] = function
    return True


def _function(schema: Any, node: ir.Node, opset: int) -> onnx.FunctionProto | None:
    versions = [v for v in schema.function_opset_versions if v <= opset]
    if versions:
        return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(max(versions)))
    versions = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
    types = [_type(v) for v in node.inputs]
    if not versions or any(t is None for t in types):
        return None
    data = schema.get_context_dependent_function_with_opset_version(
        max(versions), ir.to_proto(node).SerializeToString(), [t for t in types if t is not None]
    )
    return onnx.FunctionProto.FromString(data) if data else None


def _type(value: ir.Value | None) -> bytes | None:
    """The serialised type of a tensor, empty for one left out; None if it is not known."""
    if value is None:
        return b""
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        return None
    shape = None if value.shape is None else [d if isinstance(d, int) else d.value for d in value.shape]
    return onnx.helper.make_tensor_type_proto(value.dtype.value, shape).SerializeToString()
