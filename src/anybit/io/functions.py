"""Bodies of our operators as model-local functions: how they are made, and how a model's own are recognised.

A function stands under the name of its operator, so that the calls are ordinary nodes of the hub. Which function an
operator gets depends on the element type: operators compute float16 in float32 (see `Operator.body`), therefore the
function for float16 casts before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from anybit.errors import Finding, Severity, UsageError
from anybit.graph.walk import all_nodes, label
from anybit.io.opset import NEWEST
from anybit.io.shapes import infer_shapes
from anybit.ops.calls import findings_of, operator_of
from anybit.ops.operator import Operator
from anybit.ops.registry import find_operator
from anybit.rounding import Rounding

OLDEST_BODY_OPSET = 19  # from here on Equal compares strings, as bodies do to choose the rounding
HELPER_VERSION = 1
"""Version of the domains of functions that bodies call."""
INLINING_ERRORS = (ir.passes.PassError, ir.passes.PreconditionError, ValueError)
"""What onnx-ir says of a function that it cannot inline: one of another opset, or with graphs as attributes."""
_HALF = "float16"  # ends the names of the tensors that are float16


def body_functions(
    operator: Operator, identifier: ir.OperatorIdentifier, *, half: bool, opset: int
) -> dict[ir.OperatorIdentifier, ir.Function]:
    """The operator's body as a function under the name of its calls, and the functions that it calls.

    Args:
        operator: Operator with a body.
        identifier: Domain and name of the calls; an operator may be called by an alias.
        half: Whether X is float16.
        opset: Version of the standard operators, from 19 up.
    """
    protos = _protos(operator, identifier, half=half, opset=opset)
    return {f.identifier(): f for f in map(ir.serde.deserialize_function, protos)}


def calls(model: ir.Model) -> Iterator[tuple[ir.Node, Operator]]:
    """The nodes that our operators give their meaning to, those inside functions included."""
    yield from _calls(model.graph, model.opset_imports, model)
    for function in model.functions.values():
        yield from _calls(function, function.opset_imports, model)


def inlined(model: ir.Model) -> ir.Model:
    """A copy without functions, in which every element type is known that can be.

    Raises:
        INLINING_ERRORS: A function cannot be inlined.
    """
    copy = model.clone()
    InlinePass()(copy)
    infer_shapes(copy, data_propagation=False)
    return copy


def obstacles(node: ir.Node, operator: Operator) -> Iterator[Finding]:
    """Why a body may not do what the operator means: the call is wrong, or its mode is spelled in another way."""
    yield from (f for f in findings_of(node, operator) if f.severity is Severity.ERROR)
    mode = node.attributes.get("rounding_mode")
    if mode is not None and not _is_plain(mode):
        yield Finding(
            rule="rounding-mode",
            problem="rounding_mode",
            node=label(node),
            got=str(mode.value),
            expected=", ".join(m.value for m in Rounding),
            hint="bodies know no other spelling",
        )
    if node.inputs and node.inputs[0] is not None and node.inputs[0].dtype is None:
        yield Finding(
            rule="element-type", problem="type of X", node=label(node), got="unknown", expected="a float type"
        )


def drop_embedded(model: ir.Model) -> None:
    """Removes the functions that say what anybit's operators mean anyway; all others stay, and keep their meaning."""
    ours = embedded(model)
    if not ours:
        return
    domains = {domain for domain, _, _ in ours}
    for identifier in ours:
        del model.functions[identifier]
    used = {n.domain for n in _nodes(model)} | {f.domain for f in model.functions.values()}
    for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
        for domain in domains - used:
            imports.pop(domain, None)


def embedded(model: ir.Model) -> frozenset[ir.OperatorIdentifier]:
    """The functions of a model that `body_functions` could have made, and that change nothing about their calls.

    They are compared by content. A function of an operator's name with another content is not among them; nor is one
    that its calls do not fit, such as the function for float16 where X is float64.
    """
    halves = {key: half for key in model.functions for half in _variants(model, key)}
    if not halves:
        return frozenset()
    try:
        rest = model.clone()
        for key in halves:
            del rest.functions[key]
        rest = inlined(rest)
    except (*INLINING_ERRORS, RuntimeError):  # RuntimeError: it cannot be copied
        return frozenset()
    for node in all_nodes(rest.graph):
        key = node.op_identifier()
        if key in halves and not _fits(node, rest.opset_imports, half=halves[key]):
            del halves[key]
    helpers = {k for key in halves for k in _contents_of(model, key, half=halves[key])} - halves.keys()
    kept = [f for key, f in model.functions.items() if key not in halves and key not in helpers]
    needed = {n.op_identifier() for graph in (model.graph, *kept) for n in all_nodes(graph)}
    return frozenset(halves.keys() | (helpers - needed))


def _variants(model: ir.Model, key: ir.OperatorIdentifier) -> Iterator[bool]:
    """For float16 or not: which of the two the model's function is, if it is one, as are the functions it calls."""
    for half in (False, True):
        contents = _contents_of(model, key, half=half)
        present = {k: model.functions[k] for k in contents if k in model.functions}
        if contents and len(present) == len(contents) and all(_same(present[k], c) for k, c in contents.items()):
            yield half


def _contents_of(model: ir.Model, key: ir.OperatorIdentifier, *, half: bool) -> Mapping[ir.OperatorIdentifier, bytes]:
    domain, name, _ = key
    operator = find_operator(domain, name, model.opset_imports.get(domain, 1))
    return {} if operator is None or operator.body is None else _contents(operator, key, half=half)


def _fits(node: ir.Node, imports: dict[str, int], *, half: bool) -> bool:
    operator = operator_of(node, imports)
    if operator is None or any(obstacles(node, operator)):
        return False
    unfit = ir.DataType.DOUBLE if half else ir.DataType.FLOAT16
    return node.inputs[0] is not None and node.inputs[0].dtype != unfit


def _same(function: ir.Function, content: bytes) -> bool:
    version = function.opset_imports.get("")
    return (
        version is not None
        and OLDEST_BODY_OPSET <= version <= NEWEST
        and _content(ir.serde.serialize_function(function)) == content
    )


@cache
def _contents(
    operator: Operator, identifier: ir.OperatorIdentifier, *, half: bool
) -> Mapping[ir.OperatorIdentifier, bytes]:
    functions = body_functions(operator, identifier, half=half, opset=OLDEST_BODY_OPSET)
    return {key: _content(ir.serde.serialize_function(f)) for key, f in functions.items()}


def _content(function: onnx.FunctionProto) -> bytes:
    """What a function computes: no documentation, no names of nodes, no version (bodies mean the same in all)."""
    plain = onnx.FunctionProto()
    plain.CopyFrom(function)
    others = sorted((o.domain, o.version) for o in plain.opset_import if o.domain != "")
    for name in ("doc_string", "metadata_props", "value_info", "opset_import"):
        plain.ClearField(name)
    plain.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in others)
    _strip(plain.node)
    return plain.SerializeToString(deterministic=True)


def _strip(nodes: Any) -> None:
    for node in nodes:
        for name in ("name", "doc_string", "metadata_props"):
            node.ClearField(name)
        attributes = sorted(node.attribute, key=lambda a: a.name)
        for attribute in attributes:
            attribute.ClearField("doc_string")
            if attribute.HasField("g"):
                for name in ("name", "doc_string", "metadata_props", "value_info"):
                    attribute.g.ClearField(name)
                _strip(attribute.g.node)
        copies = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in attributes]
        node.ClearField("attribute")
        node.attribute.extend(copies)


def _protos(
    operator: Operator, identifier: ir.OperatorIdentifier, *, half: bool, opset: int
) -> list[onnx.FunctionProto]:
    if operator.body is None:
        raise UsageError("an operator without a body", node=f"{operator.domain}::{operator.name}")
    body = operator.body.to_function_proto()
    body.domain, body.name, _ = identifier
    _drop_empty_defaults(body)
    if half:
        _wrap_for_float16(body)
    protos = [body]
    waiting: list[tuple[onnx.FunctionProto, Any]] = [(body, operator.body.function_ir)]
    while waiting:
        proto, traced = waiting.pop()
        called = _called(traced)
        made = [c.to_function_proto() for c in called]
        imports = {"": opset} | {f.domain: HELPER_VERSION for f in made}
        proto.ClearField("opset_import")
        proto.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in imports.items())
        known = {(f.domain, f.name) for f in protos}
        new = [(f, c.function_ir) for f, c in zip(made, called, strict=True) if (f.domain, f.name) not in known]
        protos += [f for f, _ in new]
        waiting += new
    return protos


def _drop_empty_defaults(function: onnx.FunctionProto) -> None:
    """Makes an attribute whose default is an empty list one without default: where a call has none, nor has its body.

    An empty list is not what a standard operator takes for one that is missing.
    """
    kept = [a for a in function.attribute_proto if a.type != onnx.AttributeProto.INTS or len(a.ints)]
    function.attribute.extend(a.name for a in function.attribute_proto if a not in kept)
    function.ClearField("attribute_proto")
    function.attribute_proto.extend(kept)


def _called(function: Any) -> list[Any]:
    """The functions that a traced body calls."""
    getter = getattr(function, "get_called_functions", None)
    return [] if getter is None else list(getter().values())


def _wrap_for_float16(body: onnx.FunctionProto) -> None:
    """X is cast to float32 before the body, and its result back after."""
    x, y = body.input[0], body.output[0]
    body.input[0], body.output[0] = f"{x}_{_HALF}", f"{y}_{_HALF}"
    nodes = [
        onnx.helper.make_node("Cast", [body.input[0]], [x], f"{x}_float", to=onnx.TensorProto.FLOAT),
        *(onnx.NodeProto.FromString(n.SerializeToString()) for n in body.node),
        onnx.helper.make_node("CastLike", [y, body.input[0]], [body.output[0]], f"{y}_{_HALF}"),
    ]
    body.ClearField("node")
    body.node.extend(nodes)


def _calls(
    graph: ir.Graph | ir.Function, imports: dict[str, int], model: ir.Model
) -> Iterator[tuple[ir.Node, Operator]]:
    for node in all_nodes(graph):
        operator = None if node.op_identifier() in model.functions else operator_of(node, imports)
        if operator is not None:
            yield node, operator


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    for graph in (model.graph, *model.functions.values()):
        yield from all_nodes(graph)


def _is_plain(mode: ir.Attr) -> bool:
    return mode.is_ref() or mode.value in {m.value for m in Rounding}
