"""cost: multiply-accumulates, bit operations, bits of weights and activations."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.cost.expression import Expressions, expressions_of
from anybit.analysis.cost.layer import Layer, Products, Stored, reads_weights
from anybit.analysis.cost.operand import Operand, read_operand
from anybit.analysis.cost.sample import of_one_sample
from anybit.analysis.cost.tally import Tally, tally
from anybit.analysis.values.input_range import InputRanges
from anybit.analysis.values.interpreter import Values, values_of
from anybit.arguments import checked_apart
from anybit.cleanup.flatten import flattened
from anybit.cleanup.fold_constants import FoldConstants
from anybit.cleanup.fold_shapes import FoldShapes
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Finding
from anybit.graph.walk import all_nodes
from anybit.io.load import ModelSource
from anybit.number_formats import NumberFormat
from anybit.ops.broken import refuse_broken
from anybit.records import Record


class BitOperations(enum.Enum):
    """How the bit operations of a multiply-accumulate are counted; a and w are the bits of its operands."""

    PRODUCTS = "products"
    """a*w: the one-bit products (as in Bayesian Bits, van Baalen et al. 2020, and in the existing tool)."""
    ACCUMULATION = "accumulation"
    """a*w + a + w + log2(terms): additions in an accumulator that holds the sum of all terms of an output element
    as well (UNIQ, Baskin et al. 2018, arXiv 1804.10969: m*n*k^2 * (a*w + a + w + log2(n*k^2)) an output position)."""


@dataclass(frozen=True)
class FormatCost:
    """The multiply-accumulates of one pair of number formats.

    Attributes:
        activation: Format of the first operand; of the one that is not constant, where one is.
        weight: Format of the other one.
        macs: Multiply-accumulates.
        bit_operations: Their bit operations.
    """

    activation: NumberFormat
    weight: NumberFormat
    macs: int
    bit_operations: int


@dataclass(frozen=True)
class Figures:
    """What something costs; None stands for a figure that is not known.

    Attributes:
        macs: Multiply-accumulates.
        bit_operations: Bit operations, to the nearest integer.
        weight_bits: Bits of the constants that are multiplied, and of lookup tables; shared ones count once.
        activation_bits: Bits of the tensors that multiply-accumulates read and that depend on an input, each once.
        formats: Multiply-accumulates by pair of number formats, most frequent first.
    """

    macs: int | None
    bit_operations: int | None
    weight_bits: int | None
    activation_bits: int | None
    formats: tuple[FormatCost, ...]


@dataclass(frozen=True)
class PartCost:
    """One layer, or all layers of one operator.

    Attributes:
        name: Name of the node, or the operator.
        operator: Operator.
        dense: Its cost.
        sparse: Its cost without weights that are 0.
    """

    name: str
    operator: str
    dense: Figures
    sparse: Figures


@dataclass(frozen=True)
class OtherNodes:
    """Nodes of an operator that computes, but multiplies no tensors by each other: they are in no figure.

    Attributes:
        operator: Operator.
        nodes: Number of its nodes.
        elements: Elements that they combine: taps of pooling windows, the larger one of input and output otherwise;
            None if not known.
    """

    operator: str
    nodes: int
    elements: int | None


@dataclass(frozen=True)
class Cost(Record):
    """What one run of a model costs.

    Attributes:
        samples: Samples in the run: 1 where the samples of a batch can be told apart, else the batch of the file;
            None where its inputs have no common batch.
        counting: What counts as a bit operation.
        dense: All of it.
        sparse: All of it without weights that are 0: no multiply-accumulate reads them, no memory keeps them.
        layers: Each node that multiplies, or that reads weights, in the order of the graph.
        operators: The same by operator.
        others: What else the model computes, by operator.
        findings: Errors: figures that are not known, and why. Warnings: what a figure rests on.
        macs_expression: Where dimensions stay free, the multiply-accumulates in terms of them, as Python writes it: of
            names, as in "1024*T + 64*T**2", or of input and axis, as in "27*x[2]"; empty where the number is known, or
            does not follow from them.
        bit_operations_expression: The bit operations likewise, where they are counted as products; number formats
            are those that hold for every size.
    """

    samples: int | None
    counting: BitOperations
    dense: Figures
    sparse: Figures
    layers: tuple[PartCost, ...]
    operators: tuple[PartCost, ...]
    others: tuple[OtherNodes, ...]
    findings: tuple[Finding, ...]
    macs_expression: str = ""
    bit_operations_expression: str = ""


@checked_apart("input_ranges")
def cost(
    model: ModelSource,
    *,
    counting: BitOperations = BitOperations.PRODUCTS,
    input_ranges: InputRanges | None = None,
) -> Cost:
    """bit operations = sum of macs * bits of the activation * bits of the weight, over all multiply-accumulates.

    Convolutions, matrix products, recurrent cells and interpolating resizes multiply and accumulate; bodies of Loop
    and Scan count as often as they run, of an If the dearer branch. The figures are those of one sample. Products
    with the zeros of a padding count, additions of a bias do not, and what depends on no input is not computed again.
    A tensor has the format that a quantiser declares, else the smallest one that holds the integers it is proven to
    hold, else that of its element type.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it stays as it is.
        counting: What counts as a bit operation.
        input_ranges: By input name, the smallest and the largest value that is fed (see `analyse`).

    Raises:
        ModelFileError: The model cannot be read.
        UsageError: A range is empty, does not fit its input, or names no input.
        InvalidModelError: The model contradicts itself in a way that has no obvious repair, or a node has no meaning.
    """
    read = flattened(model)
    InferShapes()(read)
    refuse_broken(read)
    return cost_of(read, counting=counting, input_ranges=input_ranges)


def cost_of(
    model: ir.Model,
    *,
    counting: BitOperations = BitOperations.PRODUCTS,
    input_ranges: InputRanges | None = None,
    values: Values | None = None,
) -> Cost:
    """`cost` of a model without model-local functions whose shapes are inferred, broken or not; it is changed.

    Args:
        model: The model.
        counting: As for `cost`.
        input_ranges: As for `cost`.
        values: What the tensors of the model can hold, for these ranges, where that is known already.
    """
    samples, findings, work = work_of(model, input_ranges=input_ranges, values=values)
    is_open = any(layer.products is None for layer in work.layers)
    expressions = expressions_of(model, work.layers) if is_open else Expressions()
    return Cost(
        samples,
        counting,
        _figures(work.layers, counting, sparse=False),
        _figures(work.layers, counting, sparse=True),
        tuple(_part(_name(layer.node), layer.node, [layer], counting) for layer in work.layers),
        _by_operator(work.layers, counting),
        _others(work),
        (*findings, *work.findings),
        expressions.macs,
        expressions.bit_operations if counting is BitOperations.PRODUCTS else "",
    )


def work_of(
    model: ir.Model, *, input_ranges: InputRanges | None = None, values: Values | None = None
) -> tuple[int | None, list[Finding], Tally]:
    """The layers of one run on one sample, as `cost_of` counts them, whose arguments these are; the model is changed.

    Returns:
        The samples of a run, what the figures rest on, and the layers.
    """
    operands = _operands(model, values_of(model, input_ranges=input_ranges) if values is None else values)
    samples, findings = of_one_sample(model)
    FoldShapes()(model)
    FoldConstants(keep_quantizers=False)(model)
    InferShapes()(model)
    return samples, findings, tally(model.graph, operands, model.opset_imports)


def _operands(model: ir.Model, values: Values) -> dict[ir.Node, list[Operand | None]]:
    known: dict[ir.Value, Operand] = {}

    def of(value: ir.Value | None) -> Operand | None:
        if value is not None and value not in known:
            known[value] = read_operand(value, values)
        return None if value is None else known[value]

    return {node: [of(v) for v in node.inputs] for node in all_nodes(model.graph) if reads_weights(node)}


def _part(name: str, node: ir.Node, layers: Sequence[Layer], counting: BitOperations) -> PartCost:
    dense, sparse = (_figures(layers, counting, sparse=s) for s in (False, True))
    return PartCost(name, _operator(node), dense, sparse)


def _name(node: ir.Node) -> str:
    return node.name or (str(node.outputs[0].name) if node.outputs else node.op_type)


def _operator(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _by_operator(layers: Iterable[Layer], counting: BitOperations) -> tuple[PartCost, ...]:
    grouped: dict[str, list[Layer]] = {}
    for layer in layers:
        grouped.setdefault(_operator(layer.node), []).append(layer)
    return tuple(_part(name, group[0].node, group, counting) for name, group in grouped.items())


def _others(work: Tally) -> tuple[OtherNodes, ...]:
    grouped: dict[str, list[int | None]] = {}
    for node, elements in work.others:
        grouped.setdefault(_operator(node), []).append(elements)
    return tuple(OtherNodes(name, len(counts), _sum(counts)) for name, counts in grouped.items())


def _sum(counts: Iterable[int | None]) -> int | None:
    counts = list(counts)
    known = [c for c in counts if c is not None]
    return sum(known) if len(known) == len(counts) else None


def _figures(layers: Sequence[Layer], counting: BitOperations, *, sparse: bool) -> Figures:
    known = all(layer.products is not None for layer in layers)
    products = [p for layer in layers for p in layer.products or ()] if known else []
    formats = _formats(products, counting, sparse=sparse)
    return Figures(
        sum(p.nonzero if sparse else p.macs for p in products) if known else None,
        round(sum(_bit_operations(p, counting, sparse=sparse) for p in products)) if known else None,
        _bits([layer.weights for layer in layers], lambda s: s.nonzero if sparse else s.elements),
        _bits([layer.activations for layer in layers], lambda s: s.elements),
        formats,
    )


def _formats(products: Iterable[Products], counting: BitOperations, *, sparse: bool) -> tuple[FormatCost, ...]:
    grouped: dict[tuple[NumberFormat, NumberFormat], list[Products]] = {}
    for p in products:
        grouped.setdefault(p.formats, []).append(p)
    costs = [
        FormatCost(
            *formats,
            sum(p.nonzero if sparse else p.macs for p in group),
            round(sum(_bit_operations(p, counting, sparse=sparse) for p in group)),
        )
        for formats, group in grouped.items()
    ]
    return tuple(sorted(costs, key=lambda c: -c.macs))


def _bit_operations(products: Products, counting: BitOperations, *, sparse: bool) -> int | float:
    macs = products.nonzero if sparse else products.macs
    a, w = (f.bits for f in products.formats)
    if counting is BitOperations.PRODUCTS or not macs:
        return macs * a * w
    return macs * (a * w + a + w + math.log2(products.terms))


def _bits(tensors: Sequence[tuple[Stored, ...] | None], count: Callable[[Stored], int | None]) -> int | None:
    """Bits of all tensors, each once."""
    if any(t is None for t in tensors):
        return None
    stored = {s.key: s for t in tensors for s in t or ()}
    return _sum(None if (n := count(s)) is None else n * s.bits for s in stored.values())
