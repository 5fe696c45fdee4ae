"""info: what a model is, in one value: inputs, outputs, operators, quantisers, size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.quantizer_kinds import packed_elements, quantizer_kinds
from anybit.analysis.roles import Role, roles_of
from anybit.arguments import checked
from anybit.cleanup.infer_shapes import InferShapes
from anybit.graph.constants import has_default
from anybit.graph.walk import all_graphs, all_nodes, dimension_text
from anybit.io.load import ModelSource, load
from anybit.io.repair.normalize import Repair, repairs
from anybit.ops.calls import operator_of
from anybit.records import Record


@dataclass(frozen=True)
class TensorSummary:
    """An input or output of a model, as text that a person reads.

    Attributes:
        name: Its name.
        type: Element type.
        shape: Dimensions.
        optional: Whether it is an input with a default, which need not be fed.
    """

    name: str
    type: str
    shape: str
    optional: bool = False


@dataclass(frozen=True)
class QuantizerCount:
    """Quantisers of one kind: operator, number format, and whether they quantise weights or activations.

    An operator that holds quantised weights and quantises its output too is in two kinds.
    """

    operator: str
    number_format: str
    weights: bool
    count: int


@dataclass(frozen=True)
class Summary(Record):
    """What a model is.

    Attributes:
        producer: Tool that wrote the file, with its version.
        ir_version: Version of the file format.
        opsets: Version by domain.
        inputs: Inputs that a caller feeds.
        outputs: Outputs.
        operators: Number of nodes by operator, most frequent first; functions and subgraphs included.
        quantizers: Quantisers by kind.
        parameters: Number of elements of all initializers and Constant nodes; functions and subgraphs included.
        weight_bytes: Their size as stored.
        functions: Names of the model-local functions.
        repairs: What `load` put right.
    """

    producer: str
    ir_version: int
    opsets: dict[str, int]
    inputs: tuple[TensorSummary, ...]
    outputs: tuple[TensorSummary, ...]
    operators: dict[str, int]
    quantizers: tuple[QuantizerCount, ...]
    parameters: int
    weight_bytes: int
    functions: tuple[str, ...]
    repairs: tuple[Repair, ...]


@checked
def info(model: ModelSource) -> Summary:
    """Reads a model and says what it is.

    Raises:
        ModelFileError: The model cannot be read.
    """
    read = load(model)
    InferShapes()(read)
    nodes = [*all_nodes(read.graph), *(n for f in read.functions.values() for n in all_nodes(f))]
    operators = Counter(f"{n.domain}::{n.op_type}" if n.domain else n.op_type for n in nodes)
    packed = dict(pair for n in nodes for pair in packed_elements(n))
    sizes = [(packed.get(value, size), nbytes) for value, size, nbytes in _constants(read)]
    return Summary(
        producer=" ".join(filter(None, (read.producer_name, read.producer_version))) or "unknown",
        ir_version=read.ir_version,
        opsets=dict(read.opset_imports),
        inputs=tuple(_tensor(v) for v in read.graph.inputs),
        outputs=tuple(_tensor(v) for v in read.graph.outputs),
        operators=dict(operators.most_common()),
        quantizers=_quantizers(read, nodes),
        parameters=sum(size for size, _ in sizes),
        weight_bytes=sum(nbytes for _, nbytes in sizes),
        functions=tuple(f"{domain}::{name}" for domain, name, _ in read.functions),
        repairs=repairs(read),
    )


def _constants(model: ir.Model) -> Iterator[tuple[ir.Value, int, int]]:
    """Every constant that the model holds, with its number of elements and of bytes."""
    for root in (model.graph, *(f.graph for f in model.functions.values())):
        for graph in all_graphs(root):
            tensors = ((v, v.const_value) for v in graph.initializers.values())
            yield from ((v, t.size, t.nbytes) for v, t in tensors if t is not None)
        for node in all_nodes(root):
            if (node.domain, node.op_type) == ("", "Constant"):
                yield from ((node.outputs[0], *_size_of(a)) for a in node.attributes.values() if not a.is_ref())


def _size_of(attribute: ir.Attr) -> tuple[int, int]:
    match attribute.type:
        case ir.AttributeType.TENSOR:
            tensor = attribute.as_tensor()
            return tensor.size, tensor.nbytes
        case ir.AttributeType.INT | ir.AttributeType.FLOAT:
            return 1, 8 if attribute.type == ir.AttributeType.INT else 4
        case ir.AttributeType.INTS | ir.AttributeType.FLOATS:
            return len(attribute.value), len(attribute.value) * (8 if attribute.type == ir.AttributeType.INTS else 4)
        case _:
            return 0, 0


def _tensor(value: ir.Value) -> TensorSummary:
    kind = "?" if value.dtype is None else value.dtype.name.lower()
    shape = "?"
    if value.shape is not None:
        shape = f"[{', '.join(map(dimension_text, value.shape))}]"
    return TensorSummary(str(value.name), kind, shape, has_default(value))


def _quantizers(model: ir.Model, nodes: list[ir.Node]) -> tuple[QuantizerCount, ...]:
    roles = roles_of(model)

    def is_weight(value: ir.Value) -> bool:
        role = roles.get(value)
        return role in (Role.INITIALIZER, Role.CONSTANT) if role is not None else _is_constant(value)

    counts: Counter[tuple[str, str, bool]] = Counter()
    for node in nodes:
        own = operator_of(node, model.opset_imports)
        name = node.op_type if own is None else own.name
        for number_format, weights in quantizer_kinds(node, model.opset_imports, is_weight):
            counts[name, number_format, weights] += 1
    return tuple(QuantizerCount(*kind, count) for kind, count in counts.most_common())


def _is_constant(value: ir.Value | None) -> bool:
    """Whether a value of a function depends on no input: made from constants by operators of one input."""
    while value is not None and not value.is_initializer():
        producer = value.producer()
        if producer is None or value.is_graph_input():
            return False
        if producer.op_type == "Constant":
            return True
        value = producer.inputs[0] if producer.inputs else None
    return value is not None
