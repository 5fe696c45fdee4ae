"""file_findings: what is wrong with the protobuf of a model, before anything is made of it.

What passes can be read by onnx-ir without loss: every name is text and unique where it must be, attributes hold what
their type says, tensors have their data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx
import onnx_ir as ir

from anybit.errors import Finding
from anybit.io.protos import graphs, nodes, tensors
from anybit.io.tensor_checks import tensor_findings

_KINDS = frozenset(int(t) for t in ir.DataType)
_MESSAGES = {
    onnx.AttributeProto.TENSOR: "t",
    onnx.AttributeProto.GRAPH: "g",
    onnx.AttributeProto.TYPE_PROTO: "tp",
    onnx.AttributeProto.SPARSE_TENSOR: "sparse_tensor",
}
"""The field of an attribute that is a message, by its type: it has no default."""


def file_findings(proto: onnx.ModelProto, where: str, *, elsewhere: Mapping[str, int]) -> Iterator[Finding]:
    """All findings, each with the tensor, node or function at fault.

    Args:
        proto: Model as it was parsed.
        where: How messages name the model.
        elsewhere: Initializers whose data was left in the file, with its size in bytes.
    """
    broken = next(_no_text(proto, where), None)
    if broken is not None:  # what follows compares names
        yield broken
        return
    for graph in graphs(proto):
        yield from _graph(graph, f"graph '{graph.name}'")
    for function in proto.functions:
        yield from _function(function)
    yield from _repeated([(f.domain, f.name, f.overload) for f in proto.functions], "function", "", "function")
    for imports in (proto.opset_import, *(f.opset_import for f in proto.functions)):
        yield from _versions(imports, where)
    for node in nodes(proto):
        yield from _node(node, where)
    for tensor in tensors(proto):
        yield from tensor_findings(tensor, elsewhere.get(tensor.name))


def repeated(names: Iterable[str]) -> list[str]:
    """The names that stand more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def tensor_name(name: str) -> Finding:
    """The finding that a graph makes two tensors of one name."""
    return Finding(
        rule="tensor-name", problem="two tensors have this name", node=f"tensor '{name}'", hint="rename one of them"
    )


def nameless(kind: str, where: str) -> Finding:
    """The finding that what needs a name has none."""
    return Finding(rule="tensor-name", problem=f"an {kind} without a name", node=where, expected="a name")


def _no_text(proto: onnx.ModelProto, where: str) -> Iterator[Finding]:
    """Names that are bytes: protobuf hands over bytes where text was expected and is none."""
    for graph in graphs(proto):
        names = [v.name for v in (*graph.input, *graph.output, *graph.value_info, *graph.initializer)]
        names += [t for a in graph.quantization_annotation for t in _annotation_texts(a)]
        names += [t for v in (*graph.input, *graph.output, *graph.value_info) for t in _type_texts(v.type)]
        if not _are_text((graph.name, graph.doc_string, *names, *_metadata(graph))):
            yield Finding(rule="text", problem="a name is no text", node=where, expected="UTF-8")
    for function in proto.functions:
        texts = (function.domain, function.name, function.overload, *function.input, *function.output)
        others = (*function.attribute, *_metadata(function), *(o.domain for o in function.opset_import))
        if not _are_text((*texts, *others, *(v.name for v in function.value_info))):
            yield Finding(rule="text", problem="a name is no text", node=f"a function of {where}", expected="UTF-8")
    for node in nodes(proto):
        texts = (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output, *_metadata(node))
        texts += tuple(t for a in node.attribute for t in (a.name, a.ref_attr_name, *_type_texts(a.tp)))
        if not _are_text(texts):
            yield Finding(
                rule="text",
                problem="a name is no text",
                node=f"a node of {where}",
                got=repr(node.op_type),
                expected="UTF-8",
            )
    texts = (proto.producer_name, proto.producer_version, proto.domain, *(o.domain for o in proto.opset_import))
    if not _are_text((*texts, *_metadata(proto))):
        yield Finding(rule="text", problem="the metadata is no text", node=where, expected="UTF-8")
    for tensor in tensors(proto):
        external = (t for e in tensor.external_data for t in (e.key, e.value))
        if not _are_text((tensor.name, *external, *_metadata(tensor))):
            yield Finding(rule="text", problem="a name is no text", node=f"a tensor of {where}", expected="UTF-8")


def _annotation_texts(annotation: onnx.TensorAnnotation) -> Iterator[object]:
    yield annotation.tensor_name
    for entry in annotation.quant_parameter_tensor_names:
        yield from (entry.key, entry.value)


def _type_texts(kind: onnx.TypeProto) -> Iterator[object]:
    yield from (d.dim_param for d in kind.tensor_type.shape.dim)


def _metadata(
    message: onnx.ModelProto | onnx.GraphProto | onnx.FunctionProto | onnx.NodeProto | onnx.TensorProto,
) -> Iterator[object]:
    for entry in message.metadata_props:
        yield from (entry.key, entry.value)


def _are_text(names: Iterable[object]) -> bool:
    return all(isinstance(name, str) for name in names)


def _graph(graph: onnx.GraphProto, where: str) -> Iterator[Finding]:
    inputs, made = [v.name for v in graph.input], [o for n in graph.node for o in n.output if o]
    sparse = [t.values.name for t in graph.sparse_initializer]
    initializers = [*(t.name for t in graph.initializer), *sparse]
    for kind, names in (("input", inputs), ("initializer", initializers), ("output", [v.name for v in graph.output])):
        if not all(names):
            yield nameless(kind, where)
    yield from map(tensor_name, repeated(inputs))
    yield from map(tensor_name, repeated(initializers))
    yield from map(tensor_name, repeated([*{*inputs, *initializers}, *made]))
    for info in (*graph.input, *graph.output, *graph.value_info):
        for number in _element_types(info.type):
            if number not in _KINDS:
                yield Finding(
                    rule="element-type", problem="unknown element type", node=f"tensor '{info.name}'", got=str(number)
                )


def _element_types(kind: onnx.TypeProto) -> Iterator[int]:
    while kind.HasField("sequence_type") or kind.HasField("optional_type"):
        kind = kind.sequence_type.elem_type if kind.HasField("sequence_type") else kind.optional_type.elem_type
    yield kind.tensor_type.elem_type
    yield kind.sparse_tensor_type.elem_type


def _function(function: onnx.FunctionProto) -> Iterator[Finding]:
    where = f"function '{function.domain}::{function.name}'"
    made = {o for n in function.node for o in n.output}
    if not function.name:
        yield Finding(rule="function", problem="a function without a name", node=where)
    yield from _repeated([*function.input, *(o for n in function.node for o in n.output if o)], "function", where)
    for name in function.output:
        if name not in made and name not in function.input:
            yield Finding(rule="undefined", problem=f"output '{name}' comes from nowhere", node=where)
    names = [*function.attribute, *(a.name for a in function.attribute_proto)]
    yield from _repeated(names, "function", where, "attribute")
    for attribute in function.attribute_proto:
        yield from _attribute(attribute, where)


def _repeated(names: Sequence[object], rule: str, where: str, what: str = "tensor") -> Iterator[Finding]:
    for name, count in Counter(names).items():
        if count > 1:
            text = "::".join(filter(None, name)) if isinstance(name, tuple) else name
            yield Finding(
                rule=rule, problem=f"two {what}s have one name", node=where or f"{what} '{text}'", got=repr(text)
            )


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


def _node(node: onnx.NodeProto, where: str) -> Iterator[Finding]:
    label = f"{node.op_type} '{node.name or next(iter(node.output), '')}'"
    if not node.op_type:
        yield Finding(rule="operator", problem="a node without an operator", node=where, got=repr(node.name))
    yield from _repeated([a.name for a in node.attribute], "attribute", label, "attribute")
    for attribute in node.attribute:
        yield from _attribute(attribute, label)


def _attribute(attribute: onnx.AttributeProto, where: str) -> Iterator[Finding]:
    if not attribute.name:
        yield Finding(rule="attribute", problem="an attribute without a name", node=where)
    if attribute.ref_attr_name:
        return
    if attribute.type == onnx.AttributeProto.UNDEFINED:
        yield Finding(rule="attribute", problem=f"attribute '{attribute.name}' has no type", node=where)
    field = _MESSAGES.get(attribute.type)
    if field is not None and not attribute.HasField(field):
        kind = onnx.AttributeProto.AttributeType.Name(attribute.type)
        yield Finding(rule="attribute", problem=f"attribute '{attribute.name}' is empty", node=where, expected=kind)
    elif attribute.type == onnx.AttributeProto.STRINGS and not all(map(_is_utf8, attribute.strings)):
        problem = f"attribute '{attribute.name}' is no text"
        yield Finding(rule="attribute", problem=problem, node=where, expected="UTF-8")
    elif attribute.type in (onnx.AttributeProto.TYPE_PROTO, onnx.AttributeProto.TYPE_PROTOS):
        kinds = (attribute.tp,) if attribute.type == onnx.AttributeProto.TYPE_PROTO else attribute.type_protos
        for number in (n for kind in kinds for n in _element_types(kind) if n not in _KINDS):
            problem = f"attribute '{attribute.name}': unknown element type"
            yield Finding(rule="attribute", problem=problem, node=where, got=str(number))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
