"""memory_findings: what is wrong with the parts of a model in memory that one read from a file cannot have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import onnx_ir as ir

from anybit.errors import Finding
from anybit.graph.annotations import ANNOTATIONS
from anybit.graph.walk import label
from anybit.io.checks.tensors import tensor_findings
from anybit.io.checks.text import are_text
from anybit.ops.broken import error_of

_KINDS: Mapping[ir.AttributeType, Any] = {
    ir.AttributeType.INT: Integral,
    ir.AttributeType.FLOAT: Real,
    ir.AttributeType.STRING: str | bytes,
    ir.AttributeType.GRAPH: ir.Graph,
    ir.AttributeType.TYPE_PROTO: ir.TypeAndShape,
}
_LISTS: Mapping[ir.AttributeType, Any] = {
    ir.AttributeType.INTS: Integral,
    ir.AttributeType.FLOATS: Real,
    ir.AttributeType.STRINGS: str,
    ir.AttributeType.GRAPHS: ir.Graph,
    ir.AttributeType.TYPE_PROTOS: ir.TypeAndShape,
}


def memory_findings(model: ir.Model) -> Iterator[Finding]:
    """Texts that are none, attributes whose values are not of their type, tensors without their data."""
    texts = (model.producer_name, model.producer_version, model.domain, model.doc_string)
    if not _are_texts((*texts, *_entries(model.metadata_props), *model.opset_imports)):
        yield Finding(rule="text", problem="the metadata is no text", node="the model")
    yield from _graph(model.graph)
    for function in model.functions.values():
        if not _are_texts((function.domain, function.name, function.overload, *function.opset_imports)):
            yield Finding(rule="text", problem="a name is no text", node=f"function {function.name!r}")
        for attribute in function.attributes.values():
            if attribute.type is not ir.AttributeType.UNDEFINED:  # a parameter without a default
                yield from _attribute(attribute, f"function '{function.name}'")
        yield from _graph(function.graph)


def refuse_unwritable(model: ir.Model) -> None:
    """Refuses a model in memory that cannot be written.

    Raises:
        InvalidModelError: The first of its findings.
    """
    for finding in memory_findings(model):
        raise error_of(finding)


def _graph(graph: ir.Graph) -> Iterator[Finding]:
    names: list[object] = [graph.name, graph.doc_string, *_entries(graph.metadata_props)]
    values = dict.fromkeys((*graph.inputs, *graph.outputs, *graph.initializers.values()))
    for value in graph.initializers.values():
        if value.const_value is None:
            yield Finding(rule="tensor", problem="an initializer without values", node=f"initializer '{value.name}'")
        else:
            yield from _tensor(value.const_value, f"initializer '{value.name}'")
    for node in graph:
        names += (node.name, node.overload, node.doc_string, *_entries(node.metadata_props), *node.attributes)
        values |= dict.fromkeys((*(v for v in node.inputs if v is not None), *node.outputs))
        if not node.op_type or not _are_texts((node.op_type, node.domain)):
            yield Finding(rule="operator", problem="a node without an operator", node=f"node {node.name!r}")
        elif node.attributes:
            for attribute in node.attributes.values():
                names += (attribute.doc_string, attribute.ref_attr_name)
                yield from _attribute(attribute, label(node))
    for value in values:
        stated = value.meta.get(ANNOTATIONS) or {}
        names += (value.name, value.doc_string, *_entries(value.metadata_props), *_entries(stated))
    if not _are_texts(names):
        yield Finding(rule="text", problem="a name is no text", node=f"graph {graph.name!r}")


def _entries(texts: Mapping[str, str]) -> tuple[object, ...]:
    return (*texts, *texts.values())


def _are_texts(names: Iterable[object]) -> bool:
    """Whether all of them are text, or absent."""
    return are_text(name for name in names if name is not None)


def _attribute(attribute: ir.Attr, where: str) -> Iterator[Finding]:
    if attribute.is_ref():
        return
    if not _is_sound(attribute):
        yield Finding(
            rule="attribute",
            problem=f"value of attribute '{attribute.name}'",
            node=where,
            got=type(attribute.value).__name__,
            expected=attribute.type.name,
        )
        return
    match attribute.type:
        case ir.AttributeType.TENSOR:
            yield from _tensor(attribute.value, where)
        case ir.AttributeType.TENSORS:
            for tensor in attribute.value:
                yield from _tensor(tensor, where)
        case ir.AttributeType.GRAPH:
            yield from _graph(attribute.value)
        case ir.AttributeType.GRAPHS:
            for graph in attribute.value:
                yield from _graph(graph)
        case _:
            return


def _is_sound(attribute: ir.Attr) -> bool:
    value = attribute.value
    if attribute.type is ir.AttributeType.TENSOR:
        return _is_tensor(value)
    if attribute.type is ir.AttributeType.TENSORS:
        return isinstance(value, tuple | list) and all(map(_is_tensor, value))
    if attribute.type in _KINDS:
        return isinstance(value, _KINDS[attribute.type])
    if attribute.type in _LISTS:
        kind = _LISTS[attribute.type]
        return isinstance(value, tuple | list) and all(isinstance(v, kind) for v in value)
    return False


def _is_tensor(value: object) -> bool:
    """By its class: to ask an instance whether it follows the protocol computes its size, which may raise."""
    return callable(getattr(type(value), "numpy", None))


def _tensor(tensor: ir.TensorProtocol, where: str) -> Iterator[Finding]:
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
