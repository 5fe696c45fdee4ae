"""file_findings: what is wrong with the protobuf of a model, before anything is made of it.

What passes is read by onnx-ir without loss, if it reads it at all: every name is unique where it must be, attributes
hold what their type says, tensors have their data. Each look at a message takes its time, and this is part of every
`load`: so the nodes of the graph are looked at in the model that onnx-ir makes, by `attribute_findings` and
`structure_findings`; where it makes none, `refusal_findings` say why. All of them take for granted that the texts are
UTF-8 (`anybit.io.checks.text`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import onnx
import onnx_ir as ir
from onnx import AttributeProto

from anybit.errors import Finding
from anybit.io.checks.tensors import is_sound, tensor_findings
from anybit.io.checks.text import no_text
from anybit.io.protos import graphs, node_label

_Name = TypeVar("_Name", bound=Hashable)
_KINDS = frozenset(int(t) for t in ir.DataType)
_MESSAGES = {
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
}
"""The field of an attribute that is a message, by its type: it has no default."""
_PLAIN = frozenset(getattr(AttributeProto, name) for name in ("INT", "INTS", "FLOAT", "FLOATS", "STRING"))


def file_findings(proto: onnx.ModelProto, where: str, *, elsewhere: Mapping[str, int]) -> Iterator[Finding]:
    """All findings but those about nodes and types, each with the tensor or function at fault.

    Args:
        proto: Model as it was parsed.
        where: How messages name the model.
        elsewhere: Initializers whose data was left in the file, with its size in bytes.
    """
    yield from _versions(proto.opset_import, where)
    yield from _graph(proto.graph, elsewhere)
    for function in proto.functions:
        yield from _function(function, where)
    for key in repeated((f.domain, f.name, f.overload) for f in proto.functions):
        text = "::".join(map(str, filter(None, key)))
        yield Finding(rule="function", problem="two functions have one name", node=f"function '{text}'")


def repeated(names: Iterable[_Name]) -> list[_Name]:
    """The names that occur more than once, each of them once."""
    listed = list(names)
    return [] if len(set(listed)) == len(listed) else [n for n, count in Counter(listed).items() if count > 1]


def tensor_name(name: str) -> Finding:
    """The finding that a graph makes two tensors of one name."""
    return Finding(
        rule="tensor-name", problem="two tensors have this name", node=f"tensor '{name}'", hint="rename one of them"
    )


def nameless(kind: str, where: str) -> Finding:
    """The finding that what needs a name has none."""
    return Finding(rule="tensor-name", problem=f"an {kind} without a name", node=where, expected="a name")


def _graph(graph: onnx.GraphProto, elsewhere: Mapping[str, int]) -> Iterator[Finding]:
    sparse = [t.values.name for t in graph.sparse_initializer]
    inputs, outputs = [v.name for v in graph.input], [v.name for v in graph.output]
    initializers = [*(t.name for t in graph.initializer), *sparse]
    for kind, names in (("input", inputs), ("initializer", initializers), ("output", outputs)):
        if not all(names):
            yield nameless(kind, f"graph '{graph.name}'")
    yield from map(tensor_name, repeated(inputs))
    yield from map(tensor_name, repeated(initializers))
    for tensor in graph.initializer:
        if not is_sound(tensor, size := elsewhere.get(tensor.name)):
            yield from tensor_findings(tensor, size)
    for sparse_tensor in graph.sparse_initializer:
        yield from _sparse(sparse_tensor)


def attribute_findings(proto: onnx.ModelProto, model: ir.Model) -> Iterator[Finding]:
    """All findings about attributes of the nodes of the graph; most of them need no look at the message.

    Args:
        proto: Model without findings of `file_findings`.
        model: What onnx-ir made of it, in the same order.
    """
    for message, node in zip(proto.graph.node, model.graph, strict=True):
        attributes, known = message.attribute, node.attributes.data
        if len(attributes) != len(known) or not all(map(_is_plain, known.values())):
            yield from _attributes(attributes, message)


def _is_plain(attribute: ir.Attr) -> bool:
    """Whether it has a name, and its value is numbers or a text of its own."""
    name = attribute.name
    if attribute.type not in _PLAIN or attribute.is_ref() or attribute.doc_string:
        return False
    return bool(name) and type(name) is str


def refusal_findings(proto: onnx.ModelProto, where: str) -> Iterator[Finding]:
    """All findings about nodes and types, those in subgraphs included: onnx-ir refuses a model that has any.

    Args:
        proto: Model without findings of `file_findings`.
        where: How messages name the model.
    """
    for node in proto.graph.node:
        yield from _attributes(node.attribute, node)
    for graph in graphs(proto):
        made = [*{*(v.name for v in graph.input), *(t.name for t in graph.initializer)}]
        yield from _operators(graph.node, where)
        yield from map(tensor_name, repeated(filter(None, (*made, *(o for node in graph.node for o in node.output)))))
        yield from _types((*graph.input, *graph.output, *graph.value_info))


def _function(function: onnx.FunctionProto, where: str) -> Iterator[Finding]:
    label = f"function '{function.domain}::{function.name}'"
    if not function.name:
        yield Finding(rule="function", problem="a function without a name", node=label)
    yield from _operators(function.node, where)
    made = [*function.input, *(o for node in function.node for o in node.output)]
    for node in function.node:
        yield from _attributes(node.attribute, node)
    for name in repeated(filter(None, made)):
        yield Finding(rule="function", problem="two tensors have one name", node=label, got=repr(name))
    known = set(made)
    for name in function.output:
        if name not in known:
            yield Finding(rule="undefined", problem=f"output '{name}' comes from nowhere", node=label)
    for name in repeated([*function.attribute, *(a.name for a in function.attribute_proto)]):
        yield Finding(rule="function", problem="two attributes have one name", node=label, got=repr(name))
    yield from _versions(function.opset_import, label)
    yield from _types(function.value_info)
    for attribute in function.attribute_proto:
        yield from _attribute(attribute, label)


def _versions(imports: Iterable[onnx.OperatorSetIdProto], where: str) -> Iterator[Finding]:
    versions: dict[str, int] = {}
    for entry in imports:
        known = versions.setdefault(entry.domain, entry.version)
        if known != entry.version:
            yield Finding(
                rule="opset",
                problem=f"two versions of the domain '{entry.domain}'",
                node=where,
                got=f"{known} and {entry.version}",
                expected="one",
            )


def _operators(nodes: Iterable[onnx.NodeProto], where: str) -> Iterator[Finding]:
    for node in nodes:
        if not node.op_type:
            yield Finding(rule="operator", problem="a node without an operator", node=where, got=repr(node.name))


def _attributes(attributes: Sequence[AttributeProto], node: onnx.NodeProto) -> Iterator[Finding]:
    names: list[str] = []
    for attribute in attributes:
        name = attribute.name
        names.append(name)
        if attribute.type not in _PLAIN or not name or attribute.ref_attr_name or attribute.doc_string:
            yield from _attribute(attribute, node_label(node))
    if len(set(names)) < len(names):
        for name in repeated(names):
            problem = "two attributes have one name"
            yield Finding(rule="attribute", problem=problem, node=node_label(node), got=repr(name))


def _attribute(attribute: AttributeProto, label: str) -> Iterator[Finding]:
    name, kind = attribute.name, attribute.type
    if not name:
        yield Finding(rule="attribute", problem="an attribute without a name", node=label)
        return
    if attribute.ref_attr_name:
        return
    field = _MESSAGES.get(kind)
    if field is not None and not attribute.HasField(field):
        expected = AttributeProto.AttributeType.Name(kind)
        yield Finding(rule="attribute", problem=f"attribute '{name}' is empty", node=label, expected=expected)
    elif kind == AttributeProto.UNDEFINED:
        yield Finding(rule="attribute", problem=f"attribute '{name}' has no type", node=label)
    elif kind == AttributeProto.STRINGS and not all(map(_is_utf8, attribute.strings)):
        yield no_text(f"attribute '{name}'", label)
    else:
        yield from _content(attribute, label)


def _content(attribute: AttributeProto, label: str) -> Iterator[Finding]:
    """What is wrong with the tensors, graphs and types inside an attribute."""
    is_tensor, is_graph = attribute.type == AttributeProto.TENSOR, attribute.type == AttributeProto.GRAPH
    for tensor in (attribute.t,) if is_tensor else attribute.tensors:
        yield from tensor_findings(tensor)
    if attribute.type == AttributeProto.SPARSE_TENSOR:
        yield from _sparse(attribute.sparse_tensor)
    for graph in (attribute.g,) if is_graph else attribute.graphs:
        yield from _graph(graph, {})
        for node in graph.node:
            yield from _attributes(node.attribute, node)
    for kind in (attribute.tp,) if attribute.type == AttributeProto.TYPE_PROTO else attribute.type_protos:
        yield from _element_types(kind, label, f"attribute '{attribute.name}': unknown element type")


def _sparse(tensor: onnx.SparseTensorProto) -> Iterator[Finding]:
    for part in (tensor.values, tensor.indices):
        yield from tensor_findings(part)


def _types(infos: Iterable[onnx.ValueInfoProto]) -> Iterator[Finding]:
    """Findings about the types of tensors; one look at each type."""
    sound = set[bytes]()
    for info in infos:
        kind = info.type.SerializePartialToString()
        if kind not in sound:
            findings = list(_element_types(info.type, f"tensor '{info.name}'", "unknown element type"))
            yield from findings
            if not findings:
                sound.add(kind)


def _element_types(kind: onnx.TypeProto, where: str, problem: str) -> Iterator[Finding]:
    tensor = kind.tensor_type
    if kind.WhichOneof("value") == "tensor_type" and tensor.elem_type in _KINDS:
        return
    while kind.HasField("sequence_type") or kind.HasField("optional_type"):
        kind = kind.sequence_type.elem_type if kind.HasField("sequence_type") else kind.optional_type.elem_type
    for number in (kind.tensor_type.elem_type, kind.sparse_tensor_type.elem_type):
        if number not in _KINDS:
            yield Finding(rule="element-type", problem=problem, node=where, got=str(number))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
