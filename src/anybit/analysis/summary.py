"""summarise: what a model is, in one value: inputs, outputs, operators, quantisers, size."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from anybit.datatypes import DataType
from anybit.io.load import ModelSource, load
from anybit.io.normalize import Repair, repairs
from anybit.ops.nodes import call_of, operator_of
from anybit.passes.infer_shapes import InferShapes


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model, as text that a person reads."""

    name: str
    type: str
    shape: str


@dataclass(frozen=True)
class Quantizers:
    """Quantisers of one kind: operator, number format, and whether they quantise weights or activations."""

    operator: str
    number_format: str
    weights: bool
    count: int


@dataclass(frozen=True)
class Summary:
    """What a model is.

    Attributes:
        producer: Tool that wrote the file, with its version.
        ir_version: Version of the file format.
        opsets: Version by domain.
        inputs: Inputs that a caller feeds.
        outputs: Outputs.
        operators: Number of nodes by operator, most frequent first; functions and subgraphs included.
        quantizers: Quantisers by kind.
        parameters: Number of elements of all initializers.
        weight_bytes: Their size as stored.
        functions: Names of the model-local functions.
        repairs: What `load` put right.
    """

    producer: str
    ir_version: int
    opsets: dict[str, int]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: dict[str, int]
    quantizers: tuple[Quantizers, ...]
    parameters: int
    weight_bytes: int
    functions: tuple[str, ...]
    repairs: tuple[Repair, ...]


def summarise(model: ModelSource) -> Summary:
    """Reads a model and says what it is.

    Raises:
        ModelFileError: The model cannot be read.
    """
    read = load(model)
    InferShapes()(read)
    nodes = [*read.graph.all_nodes(), *(n for f in read.functions.values() for n in f.all_nodes())]
    operators = Counter(f"{n.domain}::{n.op_type}" if n.domain else n.op_type for n in nodes)
    tensors = [v.const_value for v in read.graph.initializers.values() if v.const_value is not None]
    return Summary(
        producer=" ".join(filter(None, (read.producer_name, read.producer_version))) or "unknown",
        ir_version=read.ir_version,
        opsets=dict(read.opset_imports),
        inputs=tuple(_tensor(v) for v in read.graph.inputs),
        outputs=tuple(_tensor(v) for v in read.graph.outputs),
        operators=dict(operators.most_common()),
        quantizers=_quantizers(nodes, read.opset_imports),
        parameters=sum(t.size for t in tensors),
        weight_bytes=sum(t.nbytes for t in tensors),
        functions=tuple(f"{domain}::{name}" for domain, name, _ in read.functions),
        repairs=repairs(read),
    )


def _tensor(value: ir.Value) -> Tensor:
    kind = "?" if value.dtype is None else value.dtype.name.lower()
    if value.shape is None:
        return Tensor(str(value.name), kind, "?")
    dimensions = [str(d) if isinstance(d, int) else d.value or "?" for d in value.shape]
    return Tensor(str(value.name), kind, f"[{', '.join(dimensions)}]")


def _quantizers(nodes: list[ir.Node], opset_imports: dict[str, int]) -> tuple[Quantizers, ...]:
    counts: Counter[tuple[str, str, bool]] = Counter()
    for node in nodes:
        operator = operator_of(node, opset_imports)
        if operator is not None:
            first = node.inputs[0] if node.inputs else None
            stated: DataType | None = operator.number_format(call_of(node, operator))
            counts[operator.name, str(stated or "mixed"), _is_weight(first)] += 1
    return tuple(Quantizers(*kind, count) for kind, count in counts.most_common())


def _is_weight(value: ir.Value | None) -> bool:
    """Whether a value depends on no input: an initializer, or made from initializers by one-input operators."""
    while value is not None and not value.is_initializer():
        producer = value.producer()
        if producer is None or value.is_graph_input():
            return False
        if producer.op_type == "Constant":
            return True
        value = producer.inputs[0] if producer.inputs else None
    return value is not None
