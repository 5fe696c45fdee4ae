"""mutated: a model with a few things wrong in it, the same for the same seed.

Most changes are made to the protobuf message, by what its fields mean; some to the bytes of the file.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx import AttributeProto, TensorProto, numpy_helper

_MOST_CHANGES = 4
_LARGE_SEED = 4096  # bytes: what a change finds does not grow with the model, what its calls cost does
_LARGE_AGAIN = 0.75  # how often another seed is drawn instead of a large one
_INTEGERS = (
    -(2**63),
    -(2**31),
    -4,
    -2,
    -1,
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    16,
    127,
    255,
    1000,
    2**20,
    2**31 - 1,
    2**40,
    2**63 - 1,
)
_FLOATS = (float("nan"), float("inf"), -float("inf"), -0.0, 0.0, 1e-45, 0.5, -1.0, 1e38, 1e308, 2.5)
_TEXTS = (
    "",
    " ",
    "x",
    "y",
    "w",
    "é\u202e",
    "a" * 300,
    "../up",
    "\x1b[31m",
    "ai.onnx",
    "com.microsoft",
    "INT4",
    "NHWC",
    "-->",
)
_INTEGER_TYPES = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_FLOAT_TYPES = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
_KINDS: dict[int, Callable[[AttributeProto, random.Random], object]] = {
    AttributeProto.INT: lambda a, rng: setattr(a, "i", rng.choice(_INTEGERS)),
    AttributeProto.FLOAT: lambda a, rng: setattr(a, "f", rng.choice(_FLOATS[:9])),
    AttributeProto.STRING: lambda a, rng: setattr(
        a, "s", rng.choice((b"", b"\xff", b"SAME_UPPER", b"linear", b"FLOOR"))
    ),
    AttributeProto.INTS: lambda a, rng: a.ints.extend(rng.choices(_INTEGERS, k=rng.randrange(6))),
    AttributeProto.FLOATS: lambda a, rng: a.floats.extend(rng.choices(_FLOATS[:9], k=rng.randrange(4))),
    AttributeProto.STRINGS: lambda a, rng: a.strings.extend(rng.choices((b"", b"a", b"\xff"), k=rng.randrange(3))),
    AttributeProto.TENSOR: lambda a, rng: a.t.CopyFrom(
        numpy_helper.from_array(np.ones(rng.randrange(4), np.float32), "t")
    ),
    AttributeProto.GRAPH: lambda a, _: setattr(a.g, "name", "empty"),
}
_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.training")


def mutated(seeds: Sequence[bytes], key: str) -> bytes:
    """A damaged copy of one of the seeds.

    Args:
        seeds: Serialised models.
        key: What decides which one, and how it is changed.
    """
    rng = random.Random(key)  # noqa: S311  (it is meant to be predictable)
    data = rng.choice(seeds)
    if len(data) > _LARGE_SEED and rng.random() < _LARGE_AGAIN:
        data = rng.choice(seeds)
    if rng.random() < 0.05:
        return damaged(data, rng)
    proto = onnx.ModelProto.FromString(data)
    donor = onnx.ModelProto.FromString(rng.choice(seeds))
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        _CHANGES[rng.randrange(len(_CHANGES))](proto, rng, donor)
    try:
        changed = proto.SerializeToString(deterministic=True)
    except (EncodeError, DecodeError, ValueError):  # nested too deep, or text that is none
        changed = data
    return damaged(changed, rng) if rng.random() < 0.03 else changed


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled, or put in."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(max(len(changed), 1))
        match rng.randrange(5):
            case 0 | 1:
                changed[start : start + 1] = bytes((rng.randrange(256),))
            case 2:
                del changed[start : start + rng.randint(1, 16)]
            case 3:
                changed[start:start] = changed[start : start + rng.randint(1, 64)]
            case _:
                changed[start:] = b"" if rng.random() < 0.3 else bytes(rng.randrange(256) for _ in range(3))
    return bytes(changed)


def _graphs(proto: onnx.ModelProto) -> list[Any]:
    """Everything with nodes: the graph, those inside its nodes, and functions."""
    found: list[Any] = []
    waiting: list[Any] = [proto.graph, *proto.functions]
    while waiting:
        graph = waiting.pop()
        found.append(graph)
        waiting += [a.g for n in graph.node for a in n.attribute if a.HasField("g")]
    return found


def _nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for graph in _graphs(proto) for node in graph.node]


def _names(proto: onnx.ModelProto) -> list[str]:
    graphs = _graphs(proto)
    made = [o for g in graphs for n in g.node for o in (*n.output, *n.input)]
    return [*made, *(t.name for g in graphs for t in getattr(g, "initializer", ())), ""]


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)


def _any_field(proto: onnx.ModelProto, rng: random.Random, donor: onnx.ModelProto) -> None:
    """Some field of some message: cleared, doubled, swapped, or with another value."""
    message = rng.choice(list(_messages(proto)))
    fields = list(message.DESCRIPTOR.fields) if rng.random() < 0.2 else [f for f, _ in message.ListFields()]
    if not fields:
        return
    field = rng.choice(fields)
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif field.is_repeated:
        _change_list(getattr(message, field.name), field, rng, proto)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        like = [m for m in _messages(donor) if type(m) is type(getattr(message, field.name))]
        if like:
            getattr(message, field.name).CopyFrom(rng.choice(like))
    else:
        _set(message, field, rng, proto)


def _set(message: Message, field: FieldDescriptor, rng: random.Random, proto: onnx.ModelProto) -> None:
    try:
        setattr(message, field.name, _value(field, rng, proto))
    except (ValueError, TypeError):  # not in the field's range
        setattr(message, field.name, 1)


def _value(field: FieldDescriptor, rng: random.Random, proto: onnx.ModelProto) -> Any:
    if field.enum_type is not None:
        return rng.choice([*(v.number for v in field.enum_type.values), 77])
    if field.cpp_type in _INTEGER_TYPES:
        return rng.choice((*_INTEGERS, rng.randrange(30)))
    if field.cpp_type in _FLOAT_TYPES:
        return rng.choice(_FLOATS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice((b"", b"\xff", b"NOTSET", b"\x00" * rng.randrange(40)))
    return rng.choice((*_TEXTS, *_names(proto)))


def _change_list(values: Any, field: FieldDescriptor, rng: random.Random, proto: onnx.ModelProto) -> None:
    is_message = field.type == FieldDescriptor.TYPE_MESSAGE
    old = [_copy(v) if is_message else v for v in values]
    match rng.randrange(5) if old else 4:
        case 0:
            del old[rng.randrange(len(old))]
        case 1:
            old.insert(rng.randrange(len(old) + 1), rng.choice(old))
        case 2:
            rng.shuffle(old)
        case 3:
            old = old[: rng.randrange(len(old) + 1)]
        case _ if not is_message:
            new = _value(field, rng, proto)
            old[rng.randrange(len(old) + 1) :] = [new, *old[:1]]
        case _:
            return
    before = list(old)
    del values[:]
    try:
        values.extend(before)
    except (ValueError, TypeError):
        del values[:]


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _rewire(proto: onnx.ModelProto, rng: random.Random, _: onnx.ModelProto) -> None:
    """An input or output of a node that is another tensor, left out, or one too many."""
    nodes = _nodes(proto)
    if not nodes:
        return
    node = rng.choice(nodes)
    names = node.output if rng.random() < 0.2 else node.input
    match rng.randrange(4):
        case 0 if names:
            del names[rng.randrange(len(names))]
        case 1:
            names.append(rng.choice(_names(proto)))
        case _ if names:
            names[rng.randrange(len(names))] = rng.choice(_names(proto))
        case _:
            return


def _attribute_kind(proto: onnx.ModelProto, rng: random.Random, _: onnx.ModelProto) -> None:
    """An attribute of another kind, or with another value of its own kind, or none."""
    attributes = [(n, k) for n in _nodes(proto) for k in range(len(n.attribute))]
    if not attributes:
        return
    node, index = rng.choice(attributes)
    attribute = node.attribute[index]
    if rng.random() < 0.2:
        del node.attribute[index]
        return
    name, kind = attribute.name, attribute.type if rng.random() < 0.6 else rng.choice(list(_KINDS))
    if kind not in _KINDS:
        return
    attribute.Clear()
    attribute.name, attribute.type = name, kind
    _KINDS[kind](attribute, rng)


def _size(proto: onnx.ModelProto, rng: random.Random, _: onnx.ModelProto) -> None:
    """A dimension of an input or of what is stated of another tensor."""
    infos = [
        v
        for g in _graphs(proto)
        for f in ("input", "value_info", "output")
        for v in getattr(g, f)
        if hasattr(v, "type")
    ]
    infos = [v for v in infos if v.type.HasField("tensor_type")]
    if not infos:
        return
    dimensions = rng.choice(infos).type.tensor_type.shape.dim
    match rng.randrange(4):
        case 0:
            dimensions.add(dim_value=rng.choice(_INTEGERS))
        case 1 if dimensions:
            del dimensions[rng.randrange(len(dimensions))]
        case 2 if dimensions:
            rng.choice(list(dimensions)).dim_param = rng.choice(("N", "None", "", "x", "-1"))
        case _ if dimensions:
            rng.choice(list(dimensions)).dim_value = rng.choice(_INTEGERS)
        case _:
            return


def _constants(proto: onnx.ModelProto) -> list[TensorProto]:
    return [m for m in _messages(proto) if isinstance(m, TensorProto)]


def _tensor(proto: onnx.ModelProto, rng: random.Random, _: onnx.ModelProto) -> None:
    """A tensor whose type, dimensions and data do not fit each other, or whose values make no sense."""
    tensors = _constants(proto)
    if not tensors:
        return
    tensor = rng.choice(tensors)
    match rng.randrange(7):
        case 0:
            tensor.data_type = rng.choice((*range(28), 99))
        case 1:
            tensor.dims[:] = rng.choices((0, 1, 2, 3, 4, 2**31, -1), k=rng.randrange(4))
        case 2:
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
        case 3:
            tensor.raw_data = bytes(rng.choice((0, 255, 127, 128)) for _ in tensor.raw_data)
        case 4 if tensor.data_type == TensorProto.FLOAT:
            tensor.raw_data = b"\x01\x00\x80\x7f" * (len(tensor.raw_data) // 4)  # a signalling NaN
        case 5:
            _set(
                tensor,
                rng.choice([f for f in tensor.DESCRIPTOR.fields if not f.is_repeated and not f.message_type]),
                rng,
                proto,
            )
        case _:
            _replace_values(tensor, rng)


def _replace_values(tensor: TensorProto, rng: random.Random) -> None:
    """Values of its own or another type, of its own or another rank, which fit."""
    kind = rng.choice((tensor.data_type, 1, 2, 3, 6, 7, 10, 11, 16))
    dims = list(tensor.dims) if rng.random() < 0.6 else rng.choices((0, 1, 2, 3), k=rng.randrange(4))
    count = 1
    for size in dims:
        count *= size
    if not 0 <= count < 1000 or kind not in (1, 2, 3, 6, 7, 10, 11, 16):
        return
    choices = (
        (*_FLOATS[3:8], float("nan"), 1e4)
        if kind in (1, 10, 11, 16)
        else (0, 1, 2, 3, 100)
        if kind == 2
        else (-1, 0, 1, 2, 100)
    )
    values = rng.choices(choices, k=count) if rng.random() < 0.5 else [rng.choice(choices)] * count
    if kind == 7 and rng.random() < 0.3:
        values = rng.choices(_INTEGERS, k=count)
    tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, kind, dims, values))


def _operator(proto: onnx.ModelProto, rng: random.Random, _: onnx.ModelProto) -> None:
    """A node that becomes one of another operator."""
    nodes = _nodes(proto)
    if not nodes:
        return
    node = rng.choice(nodes)
    if rng.random() < 0.3:
        node.domain = rng.choice(
            ("", "qonnx.custom_op.general", "com.microsoft", "own", "ai.onnx.ml", "anybit.inference")
        )
    else:
        node.domain, node.op_type = rng.choice(_operators())


@cache
def _operators() -> tuple[tuple[str, str], ...]:
    names = sorted({(s.domain, s.name) for s in _schemas()})
    own = "Quant IntQuant BipolarQuant Trunc FloatQuant MultiThreshold QuantAvgPool2d Im2Col XnorPopcountMatMul".split()
    microsoft = """QLinearAdd QLinearMul QGemm QLinearConcat QLinearAveragePool QLinearGlobalAveragePool
        QLinearLeakyRelu QLinearSigmoid QLinearSoftmax DynamicQuantizeMatMul MatMulIntegerToFloat QAttention MatMulNBits
        FusedMatMul GatherBlockQuantized QuantizeLinear DequantizeLinear FusedConv BiasGelu""".split()
    return (*names, *(("qonnx.custom_op.general", n) for n in own), *(("com.microsoft", n) for n in microsoft))


def _new_node(proto: onnx.ModelProto, rng: random.Random, _: onnx.ModelProto) -> None:
    """A node of any operator on tensors that are there, its attributes as its schema has them."""
    graph = rng.choice(_graphs(proto))
    schema = rng.choice(_schemas())
    names = _names(proto)
    count = min(rng.randint(schema.min_input, max(schema.min_input, min(schema.max_input, 5))), 6)
    outputs = [f"new_{rng.randrange(1000)}" for _ in range(max(schema.min_output, 1))]
    node = onnx.helper.make_node(schema.name, [rng.choice(names) for _ in range(count)], outputs, domain=schema.domain)
    for name, formal in schema.attributes.items():
        if formal.required or rng.random() < 0.5:
            attribute = node.attribute.add(
                name=name, type=int(formal.type.value) if hasattr(formal.type, "value") else int(formal.type)
            )
            if attribute.type in _KINDS:
                _KINDS[attribute.type](attribute, rng)
    position = rng.randrange(len(graph.node) + 1)
    kept = [_copy(n) for n in graph.node]
    if rng.random() < 0.7 and graph.node:
        reader = rng.choice(kept)
        if reader.input:
            reader.input[rng.randrange(len(reader.input))] = outputs[0]
    kept.insert(position, node)
    del graph.node[:]
    graph.node.extend(kept)


@cache
def _schemas() -> tuple[Any, ...]:
    """The operators of ONNX in a fixed order, without those that are registered later."""
    found = (s for s in onnx.defs.get_all_schemas() if s.domain in _DOMAINS)
    return tuple(sorted(found, key=lambda s: (s.domain, s.name)))


def _opset(proto: onnx.ModelProto, rng: random.Random, _: onnx.ModelProto) -> None:
    """Another version of a domain, none, or two."""
    imports = rng.choice([proto, *proto.functions]).opset_import
    match rng.randrange(4):
        case 0 if imports:
            del imports[rng.randrange(len(imports))]
        case 1:
            imports.add(domain=rng.choice(("", "ai.onnx", "own", "qonnx.custom_op.general")), version=rng.randrange(30))
        case _ if imports:
            rng.choice(list(imports)).version = rng.choice((*range(1, 30), -1, 2**40))
        case _:
            return


def _function(proto: onnx.ModelProto, rng: random.Random, donor: onnx.ModelProto) -> None:
    """A function that calls itself, another one's, one twice, or one made of the graph's own nodes."""
    match rng.randrange(4):
        case 0 if proto.functions:
            function = rng.choice(list(proto.functions))
            call = onnx.helper.make_node(function.name, list(function.input), ["again"], domain=function.domain)
            function.node.append(call)
        case 1 if donor.functions:
            proto.functions.append(rng.choice(list(donor.functions)))
        case 2 if proto.functions:
            proto.functions.append(rng.choice(list(proto.functions)))
        case _ if proto.graph.node:
            node = rng.choice(list(proto.graph.node))
            imports = [_copy(o) for o in proto.opset_import]
            inside = _copy(node)
            inputs = list(dict.fromkeys(n for n in node.input if n))
            proto.functions.append(onnx.helper.make_function("made", "F", inputs, list(node.output), [inside], imports))
            node.domain, node.op_type = "made", "F"
            node.input[:] = inputs
            del node.attribute[:]
            proto.opset_import.add(domain="made", version=1)
        case _:
            return


def _graft(proto: onnx.ModelProto, rng: random.Random, donor: onnx.ModelProto) -> None:
    """Nodes of another model, with or without their constants."""
    nodes = list(donor.graph.node)
    if not nodes:
        return
    start = rng.randrange(len(nodes))
    target = rng.choice(_graphs(proto))
    target.node.extend(nodes[start : start + rng.randint(1, 3)])
    if rng.random() < 0.7:
        proto.graph.initializer.extend(donor.graph.initializer)


def _nested(proto: onnx.ModelProto, rng: random.Random, _: onnx.ModelProto) -> None:
    """Nodes that move into a branch, or a graph that holds itself."""
    if not proto.graph.node:
        return
    index = rng.randrange(len(proto.graph.node))
    node = _copy(proto.graph.node[index])
    branch = onnx.helper.make_graph([node], "branch", [], [onnx.ValueInfoProto(name=o) for o in node.output])
    if rng.random() < 0.3:
        branch.CopyFrom(proto.graph)
    choice = onnx.helper.make_node("If", [rng.choice(_names(proto))], list(node.output), "made_if")
    for name in ("then_branch", "else_branch"):
        choice.attribute.append(onnx.helper.make_attribute(name, branch))
    proto.graph.node[index].CopyFrom(choice)


_CHANGES: tuple[Callable[[onnx.ModelProto, random.Random, onnx.ModelProto], None], ...] = (
    *(_any_field,) * 6,
    *(_rewire,) * 3,
    *(_attribute_kind,) * 4,
    *(_size,) * 2,
    *(_tensor,) * 4,
    *(_operator,) * 2,
    *(_new_node,) * 3,
    _opset,
    _function,
    _graft,
    _nested,
)
