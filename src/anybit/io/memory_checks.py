"""memory_findings: what is wrong with the parts of a model in memory that one read from a file cannot have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import onnx_ir as ir

from anybit.errors import Finding
from anybit.io.tensor_checks import tensor_findings
from anybit.io.tensors import replace_tensors
from anybit.ops.nodes import label

_KINDS: Mapping[ir.AttributeType, Any] = {
    ir.AttributeType.INT: Integral,
    ir.AttributeType.FLOAT: Real,
    ir.AttributeType.STRING: str | bytes,
    ir.AttributeType.TENSOR: ir.TensorProtocol,
    ir.AttributeType.GRAPH: ir.Graph,
    ir.AttributeType.TYPE_PROTO: ir.TypeAndShape,
}
_LISTS: Mapping[ir.AttributeType, Any] = {
    ir.AttributeType.INTS: Integral,
    ir.AttributeType.FLOATS: Real,
    ir.AttributeType.STRINGS: str,
    ir.AttributeType.TENSORS: ir.TensorProtocol,
    ir.AttributeType.GRAPHS: ir.Graph,
    ir.AttributeType.TYPE_PROTOS: ir.TypeAndShape,
}


def memory_findings(model: ir.Model) -> list[Finding]:
    """Texts that are none, attributes whose values are not of their type, tensors without their data."""
    roots = [model.graph, *(f.graph for f in model.functions.values())]
    found = [*_attributes(model, roots), *_texts(roots)]
    if found:  # what follows walks through them
        return found

    def judge(where: str, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        found.extend(_tensor(where, tensor))
        return tensor

    replace_tensors(model, judge)
    for root in roots:
        for graph in (root, *root.subgraphs()):
            for value in graph.initializers.values():
                if value.const_value is None:
                    node = f"initializer '{value.name}'"
                    found.append(Finding(rule="tensor", problem="an initializer without values", node=node))
    return found


def _attributes(model: ir.Model, roots: Iterable[ir.Graph]) -> Iterator[Finding]:
    owners = [(label(n), n.attributes.values()) for root in roots for n in root.all_nodes()]
    owners += [(f"function '{f.name}'", f.attributes.values()) for f in model.functions.values()]
    for where, attributes in owners:
        for attribute in attributes:
            if not attribute.is_ref() and not _is_sound(attribute):
                yield Finding(
                    rule="attribute",
                    problem=f"value of attribute '{attribute.name}'",
                    node=where,
                    got=type(attribute.value).__name__,
                    expected=attribute.type.name,
                )


def _is_sound(attribute: ir.Attr) -> bool:
    value = attribute.value
    if attribute.type in _KINDS:
        return isinstance(value, _KINDS[attribute.type])
    if attribute.type in _LISTS:
        kind = _LISTS[attribute.type]
        return isinstance(value, tuple | list) and all(isinstance(v, kind) for v in value)
    return value is None  # a parameter of a function that has no default


def _texts(roots: Iterable[ir.Graph]) -> Iterator[Finding]:
    for root in roots:
        for node in root.all_nodes():
            texts = (node.op_type, node.domain, node.name, *(v.name for v in (*node.inputs, *node.outputs) if v))
            if not all(text is None or isinstance(text, str) for text in texts):
                yield Finding(rule="text", problem="a name is no text", node=f"a node {node.op_type!r}")
            elif not node.op_type:
                yield Finding(rule="operator", problem="a node without an operator", node=label(node))
        for graph in (root, *root.subgraphs()):
            values = (*graph.inputs, *graph.outputs, *graph.initializers.values())
            if not all(value.name is None or isinstance(value.name, str) for value in values):
                yield Finding(rule="text", problem="a name is no text", node=f"graph {graph.name!r}")


def _tensor(where: str, tensor: ir.TensorProtocol) -> Iterator[Finding]:
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        yield from tensor_findings(tensor.raw)
    elif isinstance(tensor, ir.ExternalTensor | ir.StringTensor):
        dims = tensor.shape.numpy() if tensor.shape.is_static() else (-1,)
        if any(d < 0 for d in dims):
            yield Finding(rule="tensor", problem="a tensor of negative size", node=where, got=str(tensor.shape))
        elif isinstance(tensor, ir.ExternalTensor) and tensor.dtype == ir.DataType.STRING:
            yield Finding(rule="tensor", problem="text in another file", node=where)
        elif isinstance(tensor, ir.StringTensor) and len(tensor.string_data()) != tensor.size:
            got, expected = str(len(tensor.string_data())), f"{tensor.size} for {list(dims)}"
            yield Finding(rule="tensor", problem="data does not fill the shape", node=where, got=got, expected=expected)
