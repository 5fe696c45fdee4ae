"""describe: a model, through all analyses, as the value that its page shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from anybit import __version__
from anybit.analysis.check import check
from anybit.analysis.cost.cost import cost_of
from anybit.analysis.ranges import ranges_of
from anybit.analysis.summary import info
from anybit.analysis.types import types_of
from anybit.analysis.values.input_range import InputRanges
from anybit.analysis.values.interpreter import Values, values_of
from anybit.cleanup.flatten import flattened
from anybit.cleanup.fold_shapes import FoldShapes
from anybit.errors import Finding, Severity
from anybit.evaluation.statistics import statistics_of
from anybit.formats.convert import capabilities
from anybit.graph.walk import label
from anybit.io.load import ModelSource, load
from anybit.io.load import read as read_model
from anybit.io.reading import Reading
from anybit.ops.broken import cover_broken, cover_broken_calls
from anybit.quantization import Front, Sensitivity
from anybit.reporting.blocks import Partition, partition
from anybit.reporting.facts import facts
from anybit.reporting.losses import front_of, losses_of
from anybit.reporting.messages import Messages
from anybit.reporting.model import SHARES, Block, Edge, Kind, Report
from anybit.reporting.operations import Operations, cost_of_model, parts_by_node, with_subgraphs
from anybit.reporting.tensors import Tensors, format_text, quantized_bits, shape_text, tensors
from anybit.reporting.text import shown
from anybit.reporting.tools import Planned, native_plan, tools_of
from anybit.runtime.session import Inputs


def describe(
    model: ModelSource,
    data: Inputs | None = None,
    *,
    name: str | None = None,
    input_ranges: InputRanges | None = None,
    sensitivity: Sensitivity | None = None,
    front: Front | None = None,
    targets: bool = True,
) -> Report:
    """Everything that the page of a model shows; the same for the same model, data and version.

    Args:
        model: As for `report`; it stays as it is.
        data: As for `report`.
        name: As for `report`.
        input_ranges: As for `report`.
        sensitivity: As for `report`.
        front: As for `report`.
        targets: Whether formats, tools and the native plan are asked, which takes most of the time.

    Raises:
        ModelFileError: The source is no ONNX model at all.
        InputError: The data does not fit the model.
        UnsupportedError: Data is given, and an operator cannot be run.
    """
    reading = read_model(model)
    if reading.model is None or reading.findings:
        return _findings_alone(reading, _name(model, reading.model) if name is None else name)
    findings, read = check(reading.model), reading.model
    source = read.clone()
    cover_broken_calls(read)
    flat = flattened(read)
    FoldShapes()(flat)
    cover_broken(flat)
    values = values_of(flat, input_ranges=input_ranges)
    counted_on = load(flat)
    costs = cost_of(counted_on, values=values.of_copy(counted_on))
    ranges, counted = ranges_of(values), statistics_of(values, data)
    parts = parts_by_node(values.model, costs)
    boxes = partition(values.model, parts)
    known = tensors(values.model, boxes.roles, types_of(values), ranges, counted)
    operations = Operations(known, parts, dict(zip(values.accumulators, ranges.accumulators, strict=True)))
    drawing = _Drawing(values.model, boxes, known, operations)
    summary = info(read)
    planned = Planned(source)
    messages, by_tensor = Messages(drawing.blocks_by_label()), drawing.blocks_by_tensor()
    return Report(
        name=shown(name or _name(model, read)),
        version=__version__,
        samples=counted.samples,
        cost_samples=costs.samples,
        nodes=sum(summary.operators.values()),
        parameters=summary.parameters,
        facts=facts(summary, macs=costs.macs_expression, bit_operations=costs.bit_operations_expression),
        cost=cost_of_model(costs),
        blocks=drawing.blocks(),
        edges=tuple(drawing.edges()),
        findings=messages.findings((*findings, *costs.findings, *_unfollowed(values))),
        shares=SHARES,
        formats=messages.formats(capabilities(flat)) if targets else (),
        tools=tools_of(source, planned, messages, input_ranges=input_ranges) if targets else (),
        plan=native_plan(planned, messages, by_tensor) if targets else None,
        losses=None if sensitivity is None else losses_of(sensitivity, by_tensor),
        front=() if front is None else front_of(front),
    )


def _findings_alone(reading: Reading, name: str) -> Report:
    """The page of a model that cannot be walked says why."""
    empty = ir.Model(ir.Graph((), (), nodes=(), opset_imports={"": 21}, name="graph"), ir_version=10)
    findings = Messages({}).findings(reading.findings)
    return replace(describe(empty, name=name), facts=(), formats=(), tools=(), plan=None, findings=findings)


def _name(source: ModelSource, read: ir.Model | None) -> str:
    if isinstance(source, str | os.PathLike):
        return Path(source).name
    return "model" if read is None or not read.graph.name else read.graph.name


def _unfollowed(values: Values) -> Iterator[Finding]:
    for node, reason in values.unfollowed.items():
        problem = f"its results have no proven range: {reason}"
        yield Finding(rule="range", problem=problem, node=label(node), severity=Severity.WARNING)


@dataclass(frozen=True)
class _Drawing:
    """Makes blocks and edges: the inputs of the model come first, its outputs last."""

    model: ir.Model
    partition: Partition
    tensors: Tensors
    operations: Operations

    @property
    def _first(self) -> int:
        """Index of the first block that holds nodes."""
        return len(self.model.graph.inputs)

    def blocks(self) -> tuple[Block, ...]:
        """All blocks."""
        count = [0] * len(self.partition.boxes)
        for index in self.partition.box_of.values():
            count[index] += 1
        boxes = (self._block(box, count[i] - len(box)) for i, box in enumerate(self.partition.boxes))
        inputs = (self._end(Kind.INPUT, v) for v in self.model.graph.inputs)
        return (*inputs, *boxes, *(self._end(Kind.OUTPUT, v) for v in self.model.graph.outputs))

    def _end(self, kind: Kind, value: ir.Value) -> Block:
        bits = self.tensors.bits(value)
        return Block(
            kind=kind,
            operations=(),
            ends=self.tensors.shown(value),
            folded=0,
            weight_bits=None,
            input_bits=None,
            output_bits=bits,
            has_weights=False,
            weights_mixed=False,
            inputs_mixed=False,
        )

    def _block(self, box: tuple[ir.Node, ...], folded: int) -> Block:
        shown_nodes = tuple(map(self.operations.shown, box))
        pairs = [f for n in box for f in self.operations.formats(n)]
        weights = [quantized_bits(f.weight) for f in pairs]
        inputs = [quantized_bits(f.activation) for f in pairs]
        return Block(
            kind=Kind.LAYER if any(o.cost for o in shown_nodes) else Kind.OTHER,
            operations=shown_nodes,
            ends=None,
            folded=folded,
            weight_bits=_widest(weights),
            input_bits=_widest(inputs),
            output_bits=self.tensors.bits(box[-1].outputs[0]),
            has_weights=any(o.cost is not None and o.cost.dense.weight_bits != 0 for o in shown_nodes),
            weights_mixed=len(set(weights)) > 1,
            inputs_mixed=len(set(inputs)) > 1,
        )

    def edges(self) -> Iterator[Edge]:
        """A tensor once for each block that reads it, and for each output of the model that it is."""
        ends = {v: i for i, v in enumerate(self.model.graph.inputs)}
        for index, box in enumerate(self.partition.boxes):
            read = dict.fromkeys(v for n in box for v in self.partition.moving(n))
            yield from self._edges_to(self._first + index, read, ends)
        last = self._first + len(self.partition.boxes)
        for index, value in enumerate(self.model.graph.outputs):
            yield from self._edges_to(last + index, (value,), ends)

    def _edges_to(self, target: int, read: Iterable[ir.Value], ends: dict[ir.Value, int]) -> Iterator[Edge]:
        for value in read:
            source = self._source(value, ends)
            if source is not None and source != target:
                known = self.tensors.types.get(str(value.name))
                text = format_text(None if known is None else known.integers or known.format)
                yield Edge(source, target, shown(value.name), text, shape_text(value))

    def _source(self, value: ir.Value, ends: dict[ir.Value, int]) -> int | None:
        producer = value.producer()
        if producer is None:
            return ends.get(value)
        index = self.partition.box_of.get(producer)
        return None if index is None else self._first + index

    def blocks_by_label(self) -> dict[str, int]:
        """Index of the block of each node, those of subgraphs included, by the label that messages give it."""
        found: dict[str, int] = {}
        for node, index in self.partition.box_of.items():
            for inner in with_subgraphs(node):
                found.setdefault(label(inner), self._first + index)
        return found

    def blocks_by_tensor(self) -> dict[str, int]:
        """Index of the block that makes each tensor, or that reads a constant first, by the tensor's name."""
        found = {str(v.name): i for i, v in enumerate(self.model.graph.inputs)}
        for node, index in self.partition.box_of.items():
            for value in (*node.outputs, *(v for v in node.inputs if v is not None and v.is_initializer())):
                found.setdefault(str(value.name), self._first + index)
        return found


def _widest(bits: Sequence[int | None]) -> int | None:
    """The widest of several numbers of bits; None where one of them is not quantised."""
    return None if None in bits else max((b for b in bits if b is not None), default=None)
