"""Segments: a graph in stretches of nodes, each run by ONNX Runtime on what the stretches before it made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from anybit.engines.onnxruntime.backend import OrtBackend
from anybit.engines.onnxruntime.lower import lower
from anybit.graph.walk import all_nodes, reads, subgraphs
from anybit.quantization.layers import Layer, layers_of

_IR_VERSION = 10


@dataclass(frozen=True)
class Segment:
    """Nodes that stand behind each other, run as one model.

    Attributes:
        nodes: They, in order; the first one may be a layer.
        inputs: Tensors from before that they read, apart from constants.
        outputs: Tensors that later segments read, or that the model returns.
        layers: The products with constant weights among them that are to be quantised, all of the first node.
        model: The model they belong to.
    """

    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    layers: tuple[Layer, ...]
    model: ir.Model

    def backend(self, *, fed: Collection[ir.Value] = ()) -> OrtBackend:
        """What runs the segment; some of its constants may be fed as its inputs are."""
        view = ir.GraphView(
            (*self.inputs, *fed),
            self.outputs,
            nodes=self.nodes,
            initializers=[v for v in self._constants if v not in fed],
            name="segment",
            opset_imports=self.model.graph.opset_imports,
        )
        graph = view.clone()
        model = ir.Model(graph, ir_version=_IR_VERSION)
        return OrtBackend(lower(model, integer=False, layers=False), [str(v.name) for v in self.outputs], threads=1)

    @cached_property
    def _constants(self) -> tuple[ir.Value, ...]:
        read = {v: None for node in self.nodes for v in reads(node) if v.is_initializer()}
        return tuple(v for v in read if v not in self.inputs)


def segments_of(model: ir.Model, cuts: Collection[ir.Value], wanted: Collection[ir.Node]) -> list[Segment]:
    """The nodes of the outermost graph in segments.

    A segment ends before a node of `wanted`, and before one that reads a tensor of `cuts` that it makes itself.

    Args:
        model: Sorted model; its constants are initializers.
        cuts: Tensors that are quantised.
        wanted: Nodes whose weights are quantised.
    """
    runs: list[list[ir.Node]] = []
    made: set[ir.Value] = set()
    place: dict[ir.Node, int] = {}
    for node in model.graph:
        if not runs or node in wanted or any(v in made and v in cuts for v in reads(node)):
            runs.append([])
            made = set()
        runs[-1].append(node)
        made.update(node.outputs)
        for inner in (node, *(n for graph in subgraphs(node) for n in all_nodes(graph))):
            place[inner] = len(runs)
    return [_segment(model, run, wanted, place) for run in runs]


def _segment(
    model: ir.Model, run: Sequence[ir.Node], wanted: Collection[ir.Node], place: Mapping[ir.Node, int]
) -> Segment:
    inner = {v for node in run for v in node.outputs}
    inputs = {v: None for node in run for v in reads(node) if v not in inner and _moves(v, model.graph)}
    here = place[run[0]]
    outputs = [
        v
        for node in run
        for v in node.outputs
        if v.is_graph_output() or any(place.get(user) != here for user, _ in v.uses())
    ]
    layers = layers_of(run[0]) if run[0] in wanted else []
    return Segment(tuple(run), tuple(inputs), tuple(outputs), tuple(layers), model)


def _moves(value: ir.Value, graph: ir.Graph) -> bool:
    """Whether the tensor is one of the outermost graph that is fed or computed."""
    producer = value.producer()
    if producer is not None:
        return producer.graph is graph
    return value.is_graph_input() and value.graph is graph and not value.is_initializer()
