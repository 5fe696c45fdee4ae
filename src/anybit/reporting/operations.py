"""Operations: one node of the graph as the page shows it: parameters, results, accumulators, cost."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.cost.cost import Cost as ModelCost
from anybit.analysis.cost.cost import Figures as CostFigures
from anybit.analysis.cost.cost import FormatCost, PartCost
from anybit.analysis.ranges import AccumulatorRange
from anybit.graph.walk import all_nodes, graphs_of, subgraphs
from anybit.reporting.model import Operation
from anybit.reporting.quantities import Accumulator, Bound, Cost, Figures, Pair
from anybit.reporting.tensors import Tensors, quantized_bits
from anybit.reporting.text import TIMES, shown

_LONGEST_ATTRIBUTE = 60
_LARGEST_LIST = 8  # numbers of an attribute that are shown


@dataclass(frozen=True)
class Operations:
    """What the analyses say of each node.

    Attributes:
        tensors: Its tensors.
        parts: What a node costs, those of its subgraphs included.
        accumulators: How it adds up integers, likewise.
    """

    tensors: Tensors
    parts: Mapping[ir.Node, tuple[PartCost, ...]]
    accumulators: Mapping[ir.Node, AccumulatorRange]

    def shown(self, node: ir.Node) -> Operation:
        """A node with all that is known of it."""
        parts = self.parts.get(node, ())
        sums = [self.accumulators[n] for n in with_subgraphs(node) if n in self.accumulators]
        return Operation(
            name=shown(node.name or node.outputs[0].name),
            operator=shown(f"{node.domain}::{node.op_type}" if node.domain else node.op_type, longest=80),
            attributes=", ".join(_attributes(node)),
            parameters=tuple(map(self.tensors.shown, dict.fromkeys(self.tensors.constants(node)))),
            outputs=tuple(self.tensors.shown(o) for o in node.outputs if o.name),
            accumulators=tuple(map(_accumulator, sums)),
            cost=_cost_of_parts(parts) if parts else None,
        )

    def formats(self, node: ir.Node) -> list[FormatCost]:
        """The pairs of number formats that a node multiplies."""
        return [f for part in self.parts.get(node, ()) for f in part.dense.formats]


def with_subgraphs(node: ir.Node) -> Iterator[ir.Node]:
    """A node, and those of its subgraphs."""
    yield node
    for body in subgraphs(node):
        yield from all_nodes(body)


def parts_by_node(model: ir.Model, cost: ModelCost) -> dict[ir.Node, tuple[PartCost, ...]]:
    """The parts of a cost by the top-level node that they belong to.

    The cost is that of another copy of the model, so they meet by name and operator; where several nodes have the
    same ones, in the order of the graph.
    """
    waiting: dict[tuple[str, str], deque[PartCost]] = defaultdict(deque)
    for part in cost.layers:
        waiting[part.name, part.operator].append(part)
    found: dict[ir.Node, tuple[PartCost, ...]] = {}
    for node in model.graph:
        queues = [waiting.get(_key(n)) for n in with_subgraphs(node)]
        parts = tuple(queue.popleft() for queue in queues if queue)
        if parts:
            found[node] = parts
    return found


def _key(node: ir.Node) -> tuple[str, str]:
    name = node.name or (str(node.outputs[0].name) if node.outputs else "")
    return name, f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def cost_of_model(cost: ModelCost) -> Cost:
    """The totals of a model."""
    return Cost(_figures(cost.dense), _figures(cost.sparse), _pairs(cost.dense.formats))


def _cost_of_parts(parts: tuple[PartCost, ...]) -> Cost:
    dense, sparse = _sum(p.dense for p in parts), _sum(p.sparse for p in parts)
    return Cost(dense, sparse, _pairs(f for p in parts for f in p.dense.formats))


def _figures(figures: CostFigures) -> Figures:
    return Figures(figures.macs, figures.bit_operations, figures.weight_bits, figures.activation_bits)


def _sum(figures: Iterable[CostFigures]) -> Figures:
    rows = [(f.macs, f.bit_operations, f.weight_bits, f.activation_bits) for f in figures]
    return Figures(*map(_known_sum, zip(*rows, strict=True)))


def _known_sum(numbers: tuple[int | None, ...]) -> int | None:
    known = [n for n in numbers if n is not None]
    return sum(known) if len(known) == len(numbers) else None


def _pairs(formats: Iterable[FormatCost]) -> tuple[Pair, ...]:
    totals: dict[tuple[str, int | None], int] = {}
    for pair in formats:
        key = f"{pair.activation} {TIMES} {pair.weight}", quantized_bits(pair.weight)
        totals[key] = totals.get(key, 0) + pair.bit_operations
    return tuple(Pair(*key, total) for key, total in totals.items())


def _accumulator(found: AccumulatorRange) -> Accumulator:
    bounds = (Bound(b.bound.value, f"{b.lo:,}", f"{b.hi:,}", b.bits, b.partial_bits) for b in found.bounds)
    return Accumulator(found.terms, (str(found.operands[0]), str(found.operands[1])), tuple(bounds))


def _attributes(node: ir.Node) -> Iterator[str]:
    for name, attribute in sorted(node.attributes.items()):
        if attribute.is_ref():
            continue
        value = _value(attribute)
        if value:
            yield shown(f"{name}={value}", longest=_LONGEST_ATTRIBUTE)


def _value(attribute: ir.Attr) -> str:
    match attribute.type:
        case ir.AttributeType.INT | ir.AttributeType.FLOAT:
            return f"{attribute.value:.6g}"
        case ir.AttributeType.STRING:
            return str(attribute.value)
        case ir.AttributeType.INTS | ir.AttributeType.FLOATS:
            numbers = list(attribute.value)
            text = ", ".join(f"{n:.6g}" for n in numbers[:_LARGEST_LIST])
            return f"[{text}]" if len(numbers) <= _LARGEST_LIST else f"[{text}, … {len(numbers):,}]"
        case ir.AttributeType.GRAPH:
            return f"{sum(1 for body in graphs_of(attribute) for _ in all_nodes(body)):,} nodes"
        case _:
            return ""
