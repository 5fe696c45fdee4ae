"""infer_shapes: the types and shapes that follow from a model's inputs by onnx's inference, in linear time.

What a file states of its inner tensors is no evidence: someone may have changed the batch of the input and nothing
else. So inference is never shown it, and a statement stays only where inference knows less:

- Of what an operator makes that onnx does not know, the stated element type and rank are all that there is, and are
  believed. Sizes stay there, and further on, if no statement of the file is false, and if the shape names each free
  dimension of the inputs (that is what a stale one lacks). They serve what only describes a model; `Inference.proven`
  is without them, and is what decides about values.
- Of what known operators make where inference gives nothing, such as a Loop, the rank stays. Sizes would not be
  harmless: ONNX Runtime, too, folds Shape of what a file states.

Unlike ``onnx_ir.passes.common.ShapeInferencePass`` this searches no lists and makes no second model of the result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import TensorProto
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from anybit.graph.walk import all_nodes, dimension_text, graphs_of, inner_graphs, numbered_type
from anybit.io.inference_forms import write_inference_forms
from anybit.io.inference_guard import LONGEST_VECTOR, cover, guard, guard_lengths
from anybit.io.protos import bodies
from anybit.ops.schemas import register_schemas

_SMALL = 1024  # tensors up to this many bytes go along: inference reads targets of Reshape, axes and pads
_NAMELESS = "anybit:"  # begins the names that free dimensions without one have while shapes are inferred
_ROUNDS = 8  # of inference without the nodes that gave a negative size


@dataclass(frozen=True)
class FalseStatement:
    """A type or shape of the file that the operators contradict.

    Attributes:
        value: The tensor.
        what: "shape" or "type".
        stated: What the file says.
        true: What follows from the inputs.
    """

    value: ir.Value
    what: str
    stated: str
    true: str


@dataclass(frozen=True)
class Inference:
    """What `infer_shapes` did.

    Attributes:
        modified: Whether any type or shape changed.
        false: Statements of the file that were replaced.
        unproven: What is proven of tensors whose shape holds more than that: a shape, or nothing.
    """

    modified: bool
    false: tuple[FalseStatement, ...]
    unproven: Mapping[ir.Value, ir.Shape | None]

    def proven(self, value: ir.Value) -> ir.Shape | None:
        """The shape as far as it follows from the inputs."""
        return self.unproven.get(value, value.shape)


_TypeAndShape = tuple[ir.TypeProtocol | None, ir.Shape | None]
_Types = dict[ir.Value, _TypeAndShape]
_Read = dict[bytes, _TypeAndShape | None]


def infer_shapes(model: ir.Model, *, data_propagation: bool) -> Inference:
    """Sets the types and shapes that follow from the inputs, in subgraphs too; what only the file states: see above."""
    register_schemas({domain for scope in (model.graph, *model.functions.values()) for domain in scope.opset_imports})
    derived: _Types = {}
    read: _Read = {}
    try:
        inferred = _inferred(_without_weights(model), data_propagation=data_propagation)
    except (InferenceError, ValidationError, RuntimeError, ValueError, TypeError, ir.serde.SerdeError):
        inferred = ()  # the model contradicts itself: nothing is known
    for result in inferred:
        _collect(model.graph, result.graph, derived, read)
    return _settle(model, derived)


def _inferred(proto: onnx.ModelProto, *, data_propagation: bool) -> Sequence[onnx.ModelProto]:
    """What onnx's inference gives, without and with propagation of data, of which the second may lack long vectors."""
    guard(proto)
    write_inference_forms(proto)
    _forget(proto.graph, {(f.domain, f.name) for f in proto.functions})
    _name_free(proto.graph)
    plain = _positive(proto, data_propagation=False)
    if plain is None:
        return ()
    names = {dimension.dim_param for info in proto.graph.input for dimension in _dimensions(info)} - {""}
    if not data_propagation or _is_complete(plain.graph, names):
        return (plain,)
    guard_lengths(proto, {info.name for info in (*plain.graph.input, *_infos(plain.graph)) if _is_short(info)})
    propagated = _positive(proto, data_propagation=True)
    return (plain,) if propagated is None else (plain, propagated)


def _is_complete(graph: onnx.GraphProto, names: Collection[str]) -> bool:
    """Whether the shape of everything that nodes make is known in numbers and names: nothing can be added to it."""
    known = {i.name for i in (*graph.value_info, *graph.output) if _is_in_terms_of(names, i.type.tensor_type)}
    made = (output for node in graph.node for output in node.output if output)
    return known.issuperset(made) and all(_is_complete(g, names) for node in graph.node for g in bodies(node))


def _is_in_terms_of(names: Collection[str], kind: onnx.TypeProto.Tensor) -> bool:
    is_typed = kind.HasField("shape") and kind.elem_type != TensorProto.UNDEFINED
    return is_typed and all(d.HasField("dim_value") or d.dim_param in names for d in kind.shape.dim)


def _is_short(info: onnx.ValueInfoProto) -> bool:
    """Whether it is known to be no long vector."""
    kind = info.type.tensor_type
    sizes = kind.shape.dim
    return kind.HasField("shape") and (len(sizes) != 1 or 0 < sizes[0].dim_value <= LONGEST_VECTOR)


def _positive(proto: onnx.ModelProto, *, data_propagation: bool) -> onnx.ModelProto | None:
    """The result of onnx's inference; None if it gives negative sizes whatever is left out."""
    for _ in range(_ROUNDS):
        result = onnx.shape_inference.infer_shapes(proto, data_prop=data_propagation)
        negative = {info.name for info in _infos(result.graph) if _is_negative(info)}
        if not negative:
            return result
        cover(proto, negative)  # -4 times -4 would be a size further on
    return None


def _forget(graph: onnx.GraphProto, functions: set[tuple[str, str]]) -> None:
    """Removes what is stated of inner tensors; of outputs of unknown operators the element type and the rank stay."""
    unknown = set[str]()
    for node in graph.node:
        call = (node.domain, node.op_type)
        if node.domain and call not in functions and not onnx.defs.has(node.op_type, node.domain):
            unknown.update(node.output)
        for inner in bodies(node):
            _forget(inner, functions)
            for info in inner.input:
                if info.type.HasField("tensor_type"):
                    info.type.tensor_type.ClearField("shape")
    believed = [_copy(info) for info in graph.value_info if info.name in unknown]
    graph.ClearField("value_info")
    graph.value_info.extend(believed)
    for info in graph.output:
        if info.name not in unknown:
            info.ClearField("type")
    for info in (*graph.value_info, *graph.output):
        for dimension in _dimensions(info):
            dimension.Clear()


def _copy(info: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    return copy


def _name_free(graph: onnx.GraphProto) -> None:
    """Names free dimensions of the inputs that have no name, so that they are recognised further on."""
    for info in graph.input:
        for axis, dimension in enumerate(_dimensions(info)):
            if not dimension.HasField("dim_value") and not dimension.dim_param:
                dimension.dim_param = f"{_NAMELESS}{info.name}:{axis}"


def _dimensions(info: onnx.ValueInfoProto) -> Iterable[onnx.TensorShapeProto.Dimension]:
    return info.type.tensor_type.shape.dim if info.type.HasField("tensor_type") else ()


def _infos(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    yield from graph.value_info
    yield from graph.output
    for node in graph.node:
        for inner in bodies(node):
            yield from _infos(inner)


def _is_negative(info: onnx.ValueInfoProto) -> bool:
    return any(dimension.dim_value < 0 for dimension in _dimensions(info))


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


def _collect(graph: ir.Graph, proto: onnx.GraphProto, derived: _Types, read: _Read) -> None:
    """Adds what was inferred of the tensors of a graph and its subgraphs."""
    values = {o.name: o for node in graph for o in node.outputs if o.name} | {v.name: v for v in graph.inputs}
    for info in (*proto.input, *proto.value_info, *proto.output):
        value = values.get(info.name)
        if value is None:
            continue
        content = info.type.SerializeToString()
        if content not in read:  # many tensors have one type, and onnx-ir takes its time to read it
            read[content] = _type_and_shape(info.type) if _is_typed(info.type) else None
        found = read[content]
        if found is not None:
            _, before = derived.get(value, (None, None))
            derived[value] = (found[0], before if _sizes(before) > _sizes(found[1]) else found[1])
    for message in proto.node:
        for attribute in message.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                node = next((values[o].producer() for o in message.output if o in values), None)
                held = None if node is None else node.attributes.get(attribute.name)  # another node in a broken model
                for body in () if held is None else graphs_of(held):
                    _collect(body, attribute.g, derived, read)


def _type_and_shape(kind: onnx.TypeProto) -> _TypeAndShape:
    return ir.serde.deserialize_type_proto_for_type(kind), ir.serde.deserialize_type_proto_for_shape(kind)


def _sizes(shape: ir.Shape | None) -> int:
    return -1 if shape is None else sum(isinstance(d, int) for d in shape)


def _is_typed(kind: onnx.TypeProto) -> bool:
    """Whether it is a type that onnx-ir has: not a map, and nothing without an element type."""
    while kind.HasField("sequence_type") or kind.HasField("optional_type"):
        kind = kind.sequence_type.elem_type if kind.HasField("sequence_type") else kind.optional_type.elem_type
    number = kind.tensor_type.elem_type or kind.sparse_tensor_type.elem_type
    return number != TensorProto.UNDEFINED and numbered_type(number) is not None


def _settle(model: ir.Model, derived: _Types) -> Inference:
    free = {d.value for v in model.graph.inputs if v.shape is not None for d in v.shape if not isinstance(d, int)}
    symbols = {name for name in free if name}
    inner = list(_inner_values(model.graph))
    false = [f for v in inner if v in derived for f in _contradictions(v, *derived[v], symbols)]
    modified = bool(false)
    unproven: dict[ir.Value, ir.Shape | None] = {}
    dark = _behind_unknown(model) if not false else set[ir.Value]()
    for value in inner:
        kind, proven = derived.get(value, (None, None))
        proven = None if proven is None else _nameless_again(proven)
        if kind is not None and value.type != kind:
            value.type, modified = deepcopy(kind), True  # a type can be changed, and many tensors have this one
        shape = proven if value.shape is None else _completed(value.shape, proven, free, sizes=value in dark)
        if shape != proven:
            unproven[value] = proven
        if shape is not None and value.shape != shape:
            value.shape, modified = shape, True
    return Inference(modified, tuple(false), unproven)


def _behind_unknown(model: ir.Model) -> set[ir.Value]:
    """What depends on an operator that onnx does not know."""
    found = set[ir.Value]()
    for node in all_nodes(model.graph):
        known = not node.domain or node.op_identifier() in model.functions or onnx.defs.has(node.op_type, node.domain)
        if not known or any(v in found for v in node.inputs):
            found.update(node.outputs)
    return found


def _inner_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """What nodes make, and the inputs of subgraphs."""
    for node in all_nodes(graph):
        yield from node.outputs
    for inner in inner_graphs(graph):
        yield from inner.inputs


def _contradictions(
    value: ir.Value, kind: ir.TypeProtocol | None, shape: ir.Shape | None, symbols: set[str]
) -> Iterator[FalseStatement]:
    stated = value.shape
    if stated is not None and shape is not None and _contradict(stated, shape, symbols):
        yield FalseStatement(value, "shape", _text(stated), _text(_nameless_again(shape)))
    if kind is not None and value.dtype not in (None, ir.DataType.UNDEFINED) and value.type != kind:
        yield FalseStatement(value, "type", str(value.type), str(kind))


def _text(shape: ir.Shape) -> str:
    return f"[{','.join(map(dimension_text, shape))}]"


def _contradict(stated: ir.Shape, true: ir.Shape, symbols: set[str]) -> bool:
    """Whether a size differs, or is stated where the inputs leave it free."""
    if len(stated) != len(true):
        return True
    pairs = zip(stated, true, strict=True)
    return any(isinstance(x, int) and x != y and (isinstance(y, int) or _is_free(y, symbols)) for x, y in pairs)


def _is_free(dimension: ir.SymbolicDim, symbols: set[str]) -> bool:
    name = dimension.value or ""
    return name in symbols or name.startswith(_NAMELESS)


def _nameless_again(shape: ir.Shape) -> ir.Shape:
    return ir.Shape([d if isinstance(d, int) else _named(d.value) for d in shape])


def _named(name: str | None) -> str | None:
    return None if name is None or name.startswith(_NAMELESS) else name


def _completed(stated: ir.Shape, proven: ir.Shape | None, free: set[str | None], *, sizes: bool) -> ir.Shape:
    """What is proven, and where nothing is, what is stated and may be believed."""
    if proven is not None and len(proven) != len(stated):
        return proven
    names = {d.value for d in stated if not isinstance(d, int)}
    believed = list(stated) if sizes and free <= names else [None] * len(stated)
    if proven is None:
        return ir.Shape(believed)
    pairs = zip(proven, believed, strict=True)
    return ir.Shape([p if _is_known(p, free) or not _says(b) else b for p, b in pairs])


def _is_known(dimension: int | ir.SymbolicDim, free: set[str | None]) -> bool:
    """Whether it is a size or a dimension of an input; other names are those that inference makes up."""
    return isinstance(dimension, int) or (dimension.value is not None and dimension.value in free)


def _says(dimension: int | ir.SymbolicDim | None) -> bool:
    return isinstance(dimension, int) or (dimension is not None and dimension.value is not None)
