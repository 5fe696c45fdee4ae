"""guard: covers nodes at which onnx's shape inference, C++, ends the process, never returns or takes gigabytes.

All were found by running version 1.23 on every operator with random inputs and attributes. They are covered in the
copy of the model that inference is given, where a covered node is one that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx.defs import OpSchema
from onnx.shape_inference import InferenceContext

from anybit.io.protos import bodies
from anybit.ops.standard_schemas import newest_opset, standard_schema

_DOMAIN = "anybit.inference"
_UNKNOWN = "Unknown"
_NOT_NEGATIVE = "NotNegative"  # a tensor whose negative sizes are unknown ones
_NOT_LONG = "NotLong"  # a tensor whose only size is an unknown one if it is above the attribute `most`
_SAME_SHAPE = "SameShape"  # a tensor of the shape of its input, and of the element type `dtype`
_UNTYPED = frozenset(("DictVectorizer", "LabelEncoder", "TreeEnsemble"))  # of ai.onnx.ml: they read types unseen
# The input that must have no negative size; the shape, of which Expand made an axis for each element before version 13.
_NEEDS = {"Slice": (0, _NOT_NEGATIVE), "GatherND": (1, _NOT_NEGATIVE), "Expand": (1, _NOT_LONG)}
_MOST_AXES = 1 << 10
_TERM = rb"[A-Za-z ]*(\.\.\.[A-Za-z ]*)?"
_EQUATION = re.compile(_TERM + rb"((,|->)" + _TERM + rb")*")
# What propagates data makes a dimension for each element of a vector of known length.
_PROPAGATES = frozenset(
    "Add Cast Concat Div Gather MeanVarianceNormalization Mul Size Slice Squeeze Sub Unsqueeze".split()
)
_SAME_ELEMENTS = frozenset("Cast Identity Squeeze Unsqueeze".split())
LONGEST_VECTOR = 1 << 12
"""Elements of a vector that data is propagated of."""
# Operators that make no shape vector of negative length from sizes and constants.
_VECTORS = frozenset("Add Cast Concat Constant Div Gather Identity Mul Slice Squeeze Sub Unsqueeze".split())


@dataclass(frozen=True)
class _Place:
    """Inputs of a node that are to go through a node of their own.

    Attributes:
        position: That of the node.
        inputs: Which inputs.
        op_type: What is put before them.
        most: Its attribute.
    """

    position: int
    inputs: Sequence[int]
    op_type: str
    most: int


def guard(proto: ModelProto) -> None:
    """Covers, in place, what inference must not meet; some nodes get others in front of them."""
    _register()
    version = next((o.version for o in proto.opset_import if o.domain == ""), 1)
    if _guard(proto.graph.node, {t.name for t in proto.graph.initializer}, version, "graph"):
        proto.opset_import.add(domain=_DOMAIN, version=1)
    for function in proto.functions:
        version = next((o.version for o in function.opset_import if o.domain == ""), version)
        if _guard(function.node, set[str](), version, f"{function.domain}:{function.name}"):
            function.opset_import.add(domain=_DOMAIN, version=1)


def guard_lengths(proto: ModelProto, short: Container[str]) -> None:
    """Covers, in place, the length of every vector of which data would be propagated and which may be long.

    Args:
        proto: Guarded model.
        short: Names of tensors that are known to be no long vectors.
    """
    made = _guard_lengths(proto.graph, short, "long")
    for function in proto.functions:
        if _guard_lengths(function, (), f"long:{function.domain}:{function.name}"):
            function.opset_import.add(domain=_DOMAIN, version=1)
    if made and all(o.domain != _DOMAIN for o in proto.opset_import):
        proto.opset_import.add(domain=_DOMAIN, version=1)


def _guard_lengths(graph: GraphProto | FunctionProto, short: Container[str], where: str) -> bool:
    nodes = graph.node
    initializers = () if isinstance(graph, FunctionProto) else graph.initializer
    vectors, places, covered = {"", *(t.name for t in initializers)}, list[_Place](), False
    counts = set[str]()  # tensors whose elements are lengths of short vectors
    for position, node in enumerate(nodes):
        for body in bodies(node):
            covered |= _guard_lengths(body, short, f"{where}:{position}")
        kind = node.op_type if not node.domain and node.output else ""
        if (kind == "Shape" and all(n in short for n in node.input[:1])) or (
            kind in _SAME_ELEMENTS and counts.issuperset(node.input[:1])
        ):
            counts.update(node.output)
        elif kind == "ConstantOfShape" and not counts.issuperset(node.input) and node.output[0] not in short:
            _cover(node)  # since version 21 its elements are propagated, however many
            covered = True
        is_vector = _makes_vector(node, vectors)
        vectors.update(node.output if is_vector else ())
        if node.op_type in _PROPAGATES and not node.domain and (not is_vector or node.op_type == "Size"):
            long = [k for k, n in enumerate(node.input) if n not in short and n not in vectors]
            places += [_Place(position, long, _NOT_LONG, LONGEST_VECTOR)] if long else []
    for place in reversed(places):
        _put_before(nodes, place, where)
    return covered or bool(places)


def _put_before(nodes: Any, place: _Place, where: str) -> None:
    """Nodes between another one and some of its inputs."""
    node, made = nodes[place.position], list[NodeProto]()
    for index in place.inputs:
        name = f"{_DOMAIN}:{where}:{place.position}:{index}"
        made.append(NodeProto(op_type=place.op_type, domain=_DOMAIN, input=[node.input[index]], output=[name]))
        made[-1].attribute.append(onnx.helper.make_attribute("most", place.most))
        node.input[index] = name
    for new in made:
        nodes.insert(place.position, new)


def cover(proto: ModelProto, outputs: set[str]) -> None:
    """Covers the nodes, in place, that make tensors of these names."""
    if all(o.domain != _DOMAIN for o in proto.opset_import):
        proto.opset_import.add(domain=_DOMAIN, version=1)
    stack = list(proto.graph.node)
    while stack:
        node = stack.pop()
        if not outputs.isdisjoint(node.output):
            _cover(node)
        for graph in bodies(node):
            stack.extend(graph.node)


def _guard(nodes: Any, constants: set[str], version: int, where: str) -> bool:
    """Guards the nodes of a graph and its subgraphs; returns whether there was anything to do."""
    changed = False
    vectors, places = {"", *constants}, list[_Place]()
    for position, node in enumerate(nodes):
        for graph in bodies(node):
            inner = f"{where}:{position}"
            changed |= _guard(graph.node, vectors | {t.name for t in graph.initializer}, version, inner)
        if node.domain == _DOMAIN or (node.domain == "ai.onnx.ml" and node.op_type in _UNTYPED):
            _cover(node)
            changed = True
        if node.domain != "":
            continue
        trouble = _TROUBLES.get(node.op_type)
        if _lacks_inputs(node, version) or (trouble is not None and trouble(node)):
            _cover(node)
            changed = True
        elif node.op_type in ("EyeLike", "RegexFullMatch"):
            _like_its_input(node)
            changed = True
        elif _makes_vector(node, vectors):
            vectors.update(node.output)
        elif node.op_type in _NEEDS and _NEEDS[node.op_type][0] < len(node.input):
            index, op_type = _NEEDS[node.op_type]
            places.append(_Place(position, [index], op_type, _MOST_AXES))
    for place in reversed(places):
        _put_before(nodes, place, where)
    return changed or bool(places)


def _makes_vector(node: NodeProto, vectors: set[str]) -> bool:
    """Whether it computes sizes from sizes and constants."""
    return node.op_type in ("Shape", "Size") or (node.op_type in _VECTORS and vectors.issuperset(node.input))


def _cover(node: NodeProto) -> None:
    node.domain, node.op_type = _DOMAIN, _UNKNOWN


def _like_its_input(node: NodeProto) -> None:
    """Both read the type of their input without asking whether it is known."""
    if node.op_type == "RegexFullMatch":
        node.attribute.append(onnx.helper.make_attribute("dtype", int(TensorProto.BOOL)))
    node.domain, node.op_type = _DOMAIN, _SAME_SHAPE


def _lacks_inputs(node: NodeProto, version: int) -> bool:
    least, needed = _needed(node.op_type, version)
    return len(node.input) < least or ("" in node.input and any(i in needed for i, n in enumerate(node.input) if not n))


@cache
def _needed(op_type: str, version: int) -> tuple[int, frozenset[int]]:
    """The least number of inputs of a standard operator, and which may not be left out."""
    schema = standard_schema(op_type, min(version, newest_opset()))  # onnx takes newer ones for the newest
    if schema is None:
        return 0, frozenset()
    single = OpSchema.FormalParameterOption.Single
    return schema.min_input, frozenset(i for i, formal in enumerate(schema.inputs) if formal.option == single)


def _integer(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _einsum(node: NodeProto) -> bool:
    """Anything but terms of letters and at most one ellipsis: inference never returns."""
    equation = next((a.s for a in node.attribute if a.name == "equation"), b"")
    return _EQUATION.fullmatch(equation) is None


def _layer_normalization(node: NodeProto) -> bool:
    """An axis that an int does not hold."""
    return not -(2**31) <= _integer(node, "axis", -1) < 2**31


def _gather_nd(node: NodeProto) -> bool:
    return _integer(node, "batch_dims", 0) < 0


def _split(node: NodeProto) -> bool:
    """Sizes are stored for `num_outputs`, and read for each output."""
    return _integer(node, "num_outputs", len(node.output)) != len(node.output)


_TROUBLES: dict[str, Callable[[NodeProto], bool]] = {
    "Einsum": _einsum,
    "GatherND": _gather_nd,
    "LayerNormalization": _layer_normalization,
    "Split": _split,
}


def _register() -> None:
    rules = {_NOT_NEGATIVE: _infer_not_negative, _NOT_LONG: _infer_not_long, _SAME_SHAPE: _infer_same_shape}
    for name, infer in rules.items():
        if onnx.defs.has(name, _DOMAIN):
            continue
        schema = OpSchema(
            name,
            _DOMAIN,
            1,
            inputs=[OpSchema.FormalParameter("X", "T")],
            outputs=[OpSchema.FormalParameter("Y", "U")],
            type_constraints=[(t, ["tensor(float)"], "") for t in "TU"],
            attributes=[OpSchema.Attribute(n, OpSchema.AttrType.INT, required=False) for n in ("dtype", "most")],
        )
        schema.set_type_and_shape_inference_function(infer)
        onnx.defs.register_schema(schema)


def _infer_not_negative(context: InferenceContext) -> None:
    known: onnx.TypeProto | None = context.get_input_type(0) if context.has_input(0) else None
    if known is None:
        return
    for dimension in known.tensor_type.shape.dim:
        if dimension.dim_value < 0:
            dimension.ClearField("value")
    context.set_output_type(0, known)


def _infer_not_long(context: InferenceContext) -> None:
    known: onnx.TypeProto | None = context.get_input_type(0) if context.has_input(0) else None
    if known is None:
        return
    most = context.get_attribute("most")
    dimensions = known.tensor_type.shape.dim
    if len(dimensions) == 1 and dimensions[0].dim_value > most.i:
        dimensions[0].ClearField("value")
    context.set_output_type(0, known)


def _infer_same_shape(context: InferenceContext) -> None:
    known: onnx.TypeProto | None = context.get_input_type(0) if context.has_input(0) else None
    if known is None:
        return
    dtype = context.get_attribute("dtype")
    if dtype:  # None where the node has none
        known.tensor_type.elem_type = dtype.i
    context.set_output_type(0, known)
