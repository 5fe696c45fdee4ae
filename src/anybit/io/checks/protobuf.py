"""file_findings: what is wrong with the protobuf of a model, before anything is made of it.

What passes is read by onnx-ir without loss, if it reads it at all: every name is text and unique where it must be,
attributes hold what their type says, tensors have their data. Each look at a message takes its time, and this is part
of every `load`: so the nodes of the graph are looked at in the model that onnx-ir makes, by `attribute_findings` and
`structure_findings`; where it makes none, or not all names are text, `node_findings` says what is wrong with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

import onnx
import onnx_ir as ir
from onnx import AttributeProto

from anybit.errors import Finding
from anybit.io.checks.tensors import is_sound, tensor_findings
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
    """All findings but those about the nodes of the graph, each with the tensor, node or function at fault.

    Args:
        proto: Model as it was parsed.
        where: How messages name the model.
        elsewhere: Initializers whose data was left in the file, with its size in bytes.
    """
    texts = (proto.producer_name, proto.producer_version, proto.domain, proto.doc_string, *_metadata(proto))
    if not are_text((*texts, *(o.domain for o in proto.opset_import))):
        yield no_text("the metadata", where)
        return
    yield from _versions(proto.opset_import, where)
    yield from _graph(proto.graph, where, elsewhere)
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


def no_text(what: str, where: str) -> Finding:
    """The finding that bytes which are no text are there where protobuf should hand over text."""
    return Finding(rule="text", problem=f"{what} is no text", node=where, expected="UTF-8")


def are_text(texts: Iterable[object]) -> bool:
    """Whether all of them are text, of a class of its own or not."""
    return all(issubclass(kind, str) for kind in set(map(type, texts)))


def _metadata(
    message: onnx.ModelProto | onnx.GraphProto | onnx.FunctionProto | onnx.NodeProto | onnx.TensorProto,
) -> Iterator[object]:
    for entry in message.metadata_props:
        yield from (entry.key, entry.value)


def _graph(graph: onnx.GraphProto, where: str, elsewhere: Mapping[str, int]) -> Iterator[Finding]:
    sparse = [t.values.name for t in graph.sparse_initializer]
    infos = (*graph.input, *graph.output, *graph.value_info)
    inputs, outputs = [v.name for v in graph.input], [v.name for v in graph.output]
    initializers = [*(t.name for t in graph.initializer), *sparse]
    texts = [graph.name, graph.doc_string, *inputs, *outputs, *initializers, *_metadata(graph)]
    texts += [t for v in infos for t in (v.name, v.doc_string)]
    texts += chain.from_iterable(map(_annotation_texts, graph.quantization_annotation))
    if not are_text(texts):
        yield no_text("a name", where)
        return
    for kind, names in (("input", inputs), ("initializer", initializers), ("output", outputs)):
        if not all(names):
            yield nameless(kind, f"graph '{graph.name}'")
    yield from map(tensor_name, repeated(inputs))
    yield from map(tensor_name, repeated(initializers))
    yield from _types(infos)
    for tensor in graph.initializer:
        yield from _tensor(tensor, where, elsewhere.get(tensor.name))
    for tensor in (part for t in graph.sparse_initializer for part in (t.values, t.indices)):
        yield from _tensor(tensor, where)


def attribute_findings(proto: onnx.ModelProto, model: ir.Model, where: str) -> Iterator[Finding]:
    """All findings about attributes of the nodes of the graph; most of them need no look at the message.

    Args:
        proto: Model without findings of `file_findings`.
        model: What onnx-ir made of it, in the same order.
        where: How messages name the model.
    """
    for message, node in zip(proto.graph.node, model.graph, strict=True):
        attributes, known = message.attribute, node.attributes.data
        if len(attributes) != len(known) or not all(map(_is_plain, known.values())):
            yield from _attributes(attributes, message, where)


def _is_plain(attribute: ir.Attr) -> bool:
    """Whether it has a name, and its value is numbers or a text of its own."""
    name = attribute.name
    if attribute.type not in _PLAIN or attribute.is_ref() or attribute.doc_string:
        return False
    return bool(name) and type(name) is str


def node_findings(proto: onnx.ModelProto, where: str) -> Iterator[Finding]:
    """All findings about the nodes of a model, those in subgraphs included.

    Args:
        proto: Model without findings of `file_findings`.
        where: How messages name the model.
    """
    for node in proto.graph.node:
        yield from _attributes(node.attribute, node, where)
    for graph in graphs(proto):
        made = [*{*(v.name for v in graph.input), *(t.name for t in graph.initializer)}]
        yield from _names(graph.node, made, where)
        yield from map(tensor_name, repeated(filter(None, made)))


def _annotation_texts(annotation: onnx.TensorAnnotation) -> Iterator[object]:
    yield annotation.tensor_name
    for entry in annotation.quant_parameter_tensor_names:
        yield from (entry.key, entry.value)


def _function(function: onnx.FunctionProto, where: str) -> Iterator[Finding]:
    texts = [function.domain, function.name, function.overload, function.doc_string]
    texts += (*function.input, *function.output, *function.attribute)
    domains = (o.domain for o in function.opset_import)
    if not are_text((*texts, *_metadata(function), *domains, *(v.name for v in function.value_info))):
        yield no_text("a name", f"a function of {where}")
        return
    label = f"function '{function.domain}::{function.name}'"
    if not function.name:
        yield Finding(rule="function", problem="a function without a name", node=label)
    made = list(function.input)
    yield from _names(function.node, made, where)
    for node in function.node:
        yield from _attributes(node.attribute, node, where)
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
        yield from _attribute(attribute, label, where)


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


def _names(nodes: Iterable[onnx.NodeProto], made: list[str], where: str) -> Iterator[Finding]:
    """Findings about the names in nodes; those of what they make are added to `made`."""
    texts: list[object] = []
    for node in nodes:
        texts += (node.op_type, node.domain, node.name, node.overload, node.doc_string)
        texts += node.input
        texts += _metadata(node)
        made += node.output
        if not node.op_type:
            yield Finding(rule="operator", problem="a node without an operator", node=where, got=repr(node.name))
    if not are_text(texts) or not are_text(made):
        yield no_text("a name", f"a node of {where}")


def _attributes(attributes: Sequence[AttributeProto], node: onnx.NodeProto, where: str) -> Iterator[Finding]:
    names: list[str] = []
    for attribute in attributes:
        name = attribute.name
        names.append(name)
        if attribute.type not in _PLAIN or not name or attribute.ref_attr_name or attribute.doc_string:
            yield from _attribute(attribute, node_label(node), where)
    if len(set(names)) < len(names):
        for name in repeated(names):
            problem = "two attributes have one name"
            yield Finding(rule="attribute", problem=problem, node=node_label(node), got=repr(name))


def _attribute(attribute: AttributeProto, label: str, where: str) -> Iterator[Finding]:
    name, kind = attribute.name, attribute.type
    if not name or not are_text((name, attribute.doc_string)):
        yield Finding(rule="attribute", problem="an attribute without a name", node=label)
        return
    if attribute.ref_attr_name:
        if type(attribute.ref_attr_name) is not str:
            yield no_text(f"the reference of attribute '{name}'", label)
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
        yield from _content(attribute, label, where)


def _content(attribute: AttributeProto, label: str, where: str) -> Iterator[Finding]:
    """What is wrong with the tensors, graphs and types inside an attribute."""
    sparse = (attribute.sparse_tensor,) if attribute.type == AttributeProto.SPARSE_TENSOR else ()
    is_tensor, is_graph = attribute.type == AttributeProto.TENSOR, attribute.type == AttributeProto.GRAPH
    tensors = (attribute.t,) if is_tensor else attribute.tensors
    for tensor in (*tensors, *(part for s in sparse for part in (s.values, s.indices))):
        yield from _tensor(tensor, where)
    for graph in (attribute.g,) if is_graph else attribute.graphs:
        yield from _graph(graph, where, {})
        for node in graph.node:
            yield from _attributes(node.attribute, node, where)
    for kind in (attribute.tp,) if attribute.type == AttributeProto.TYPE_PROTO else attribute.type_protos:
        yield from _element_types(kind, label, f"attribute '{attribute.name}': unknown element type")


def _tensor(tensor: onnx.TensorProto, where: str, size: int | None = None) -> Iterator[Finding]:
    if is_sound(tensor, size):
        return
    texts = (
        tensor.name,
        tensor.doc_string,
        *_metadata(tensor),
        *(t for e in tensor.external_data for t in (e.key, e.value)),
    )
    if are_text(texts):
        yield from tensor_findings(tensor, size)
    else:
        yield no_text("the name of a tensor", where)


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
    texts: list[object] = [kind.denotation]
    for dimension in tensor.shape.dim:
        texts += (dimension.dim_param, dimension.denotation)
    if not are_text(texts):
        yield no_text("the name of a dimension", where)
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
