"""analyse: abstract interpretation of a model: what every tensor can hold, node by node, in one walk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.accumulator import Accumulator
from anybit.analysis.values.fixpoint import CONTROL_FLOW
from anybit.analysis.values.input_range import InputRanges, of_inputs
from anybit.analysis.values.registry import find_rule
from anybit.analysis.values.stated_formats import of_annotation
from anybit.analysis.values.tensor_values import (
    TensorValues,
    limited,
    of_constant,
    of_dtype,
    summarised,
    unbounded,
    wrapped,
)
from anybit.analysis.values.transfer import NodeContext, NotFollowed
from anybit.arguments import checked_apart
from anybit.arrays import Array
from anybit.budget import current_limits
from anybit.cleanup.flatten import flattened
from anybit.cleanup.fold_shapes import FoldShapes
from anybit.errors import UnknownTensorError
from anybit.graph.constants import constant
from anybit.graph.names import all_values
from anybit.graph.walk import all_graphs, all_nodes, last_reads, shape_of
from anybit.io.load import ModelSource
from anybit.ops.broken import refuse_broken
from anybit.ops.evaluate import EVALUATION_ERRORS

_LARGEST_CONSTANT = 1 << 20  # elements of a computed constant that is larger than what it is computed from


@dataclass(frozen=True)
class Values(Mapping[str, TensorValues]):
    """What every tensor of a model can hold, by name; ``values[v]`` and ``v in values`` take an ``ir.Value`` as well.

    The names are those of the outermost graph of `model`, its inputs and initializers included, and those of tensors
    of subgraphs that no other tensor has: where two branches name a tensor alike, only its ``ir.Value`` tells which
    one is meant. Tensors of model-local functions have the names that they get where the calls are inlined.

    Attributes:
        model: The model that was analysed: without model-local functions, shapes inferred, what they compute folded.
        tensors: What each tensor can hold, those of subgraphs included.
        accumulators: How each multiply-accumulate adds up integers, by node; without those whose operands are not
            both quantised.
        unfollowed: Nodes whose outputs got the widest answer, each with the reason.
    """

    model: ir.Model
    tensors: Mapping[ir.Value, TensorValues]
    accumulators: Mapping[ir.Node, Accumulator]
    unfollowed: Mapping[ir.Node, str]

    def __getitem__(self, key: str | ir.Value) -> TensorValues:
        """What a tensor can hold; nothing is known of one that no run computes, as in a branch that is never taken.

        Raises:
            UnknownTensorError: The model has no such tensor, or several of this name in subgraphs; a ``KeyError``.
        """
        value = self._named.get(key) if isinstance(key, str) else key
        known = self.tensors.get(value) if isinstance(value, ir.Value) else None
        if known is not None:
            return known
        if isinstance(value, ir.Value) and value.graph in self._graphs:
            return unbounded()
        if isinstance(key, str) and key in self._named:
            raise UnknownTensorError(
                "several tensors have this name", got=repr(key), hint="give the ir.Value of a subgraph of `model`"
            )
        raise UnknownTensorError(
            "no such tensor",
            got=repr(key.name if isinstance(key, ir.Value) else key),
            expected="the name of a tensor, or an ir.Value of the model that was analysed",
            hint="`list` of the result has the names, its `model` the tensors; known shapes are folded away",
        )

    def of_copy(self, copy: ir.Model) -> Values:
        """The same of a clone of `model`, which nothing has been changed in: what was found holds for copies."""
        values = dict(zip(all_values(self.model.graph), all_values(copy.graph), strict=True))
        nodes = dict(zip(all_nodes(self.model.graph), all_nodes(copy.graph), strict=True))
        return Values(
            copy,
            {values[v]: known for v, known in self.tensors.items() if v in values},
            {nodes[n]: known for n, known in self.accumulators.items()},
            {nodes[n]: reason for n, reason in self.unfollowed.items()},
        )

    def __contains__(self, key: object) -> bool:
        value = self._named.get(key) if isinstance(key, str) else key
        return isinstance(value, ir.Value) and (value in self.tensors or value.graph in self._graphs)

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self._named.items() if value is not None)

    def __len__(self) -> int:
        return sum(value is not None for value in self._named.values())

    @cached_property
    def _graphs(self) -> frozenset[ir.Graph | ir.Function]:
        return frozenset(all_graphs(self.model.graph))

    @cached_property
    def _named(self) -> Mapping[str, ir.Value | None]:
        """The tensor of each name; None where several tensors of subgraphs share it."""
        graph = self.model.graph
        found: dict[str, ir.Value | None] = {}
        for value in all_values(graph):
            if value.name:
                found[value.name] = None if found.get(value.name, value) is not value else value
        outermost = (*graph.inputs, *graph.initializers.values(), *(o for n in graph for o in n.outputs))
        return found | {v.name: v for v in outermost if v.name}


@checked_apart("input_ranges")
def analyse(model: ModelSource, *, input_ranges: InputRanges | None = None) -> Values:
    """lo <= value <= hi for every tensor, per channel; and value = scale * (integer - zero point) where quantised.

    The bounds hold for all finite inputs in the declared ranges, for every element that is not NaN, in float
    arithmetic of any order of summation; integers are those of exact arithmetic. Cost is linear in nodes and weights.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it stays as it is.
        input_ranges: By input name, the smallest and the largest value that a caller feeds, for all elements or by
            channel (see `InputRange`). An input that is not named holds whatever its annotated number format allows,
            else its element type.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: The graph has a cycle, a tensor that nothing makes, or a node that has no meaning.
        UsageError: A range is empty, does not fit its input, or names no input.
    """
    read = flattened(model)
    FoldShapes()(read)
    refuse_broken(read)
    return values_of(read, input_ranges=input_ranges)


def values_of(model: ir.Model, *, input_ranges: InputRanges | None = None) -> Values:
    """`analyse` of a loaded model without model-local functions whose shapes are inferred; it is only read."""
    walk = _Walk(model.graph, model.opset_imports)
    for value, values in zip(model.graph.inputs, of_inputs(model.graph.inputs, input_ranges), strict=True):
        walk.put(value, values)
    with np.errstate(invalid="ignore"):  # signalling NaN among the constants
        walk.graph(model.graph)
    for value in (*model.graph.initializers.values(), *model.graph.outputs):
        walk.of(value)  # those that no node reads
    tensors = {v: t if t.constant is None else summarised(t, shape_of(v)) for v, t in walk.tensors.items()}
    return Values(model, tensors, walk.accumulators, walk.unfollowed)


@dataclass
class _Walk:
    top: ir.Graph
    opsets: Mapping[str, int]
    tensors: dict[ir.Value, TensorValues] = field(default_factory=dict[ir.Value, TensorValues])
    accumulators: dict[ir.Node, Accumulator] = field(default_factory=dict[ir.Node, Accumulator])
    unfollowed: dict[ir.Node, str] = field(default_factory=dict[ir.Node, str])
    computed: int = 0  # bytes of the constants that nodes made and that a later one reads

    def put(self, value: ir.Value, values: TensorValues) -> None:
        self.tensors[value] = limited(values, shape_of(value))

    def of(self, value: ir.Value | None) -> TensorValues | None:
        if value is None:
            return None
        known = self.tensors.get(value)
        if known is None:  # an initializer when it is first read
            known = self._of_initializer(value)
            self.tensors[value] = known
        return known

    def _of_initializer(self, value: ir.Value) -> TensorValues:
        array = constant(value)
        if array is None:
            return of_dtype(None if value.dtype is None else value.dtype.numpy())
        values = of_constant(array)
        declared = of_annotation(value)
        if values.grid is None and declared is not None and declared.grid is not None:
            values = replace(values, grid=declared.grid)
        return limited(values, array.shape)

    def graph(self, graph: ir.Graph) -> None:
        for node, released in zip(graph, last_reads(graph), strict=True):
            self.node(node)
            for value in released:
                known = self.tensors.get(value) if _is_over(value, graph, top=graph is self.top) else None
                if known is not None and known.constant is not None:
                    self.computed -= 0 if value.producer() is None else known.constant.nbytes
                    self.tensors[value] = summarised(known, shape_of(value))

    def body(self, graph: ir.Graph, inputs: Sequence[TensorValues]) -> list[TensorValues]:
        """What the outputs of a subgraph can hold, for these inputs."""
        for value, values in zip(graph.inputs, inputs, strict=True):
            self.put(value, values)
        self.graph(graph)
        return [self.of(v) or unbounded() for v in graph.outputs]

    def node(self, node: ir.Node) -> None:
        inputs = tuple(self.of(v) for v in node.inputs)
        self.accumulators.pop(node, None)  # of an earlier round, in the body of a loop
        self.unfollowed.pop(node, None)
        try:
            results = self._results(node, inputs)
        except NotFollowed as reason:
            self.unfollowed[node] = str(reason)
            results = ()
        for index, output in enumerate(node.outputs):
            dtype = None if output.dtype in (None, ir.DataType.STRING) else output.dtype.numpy()
            found = results[index] if index < len(results) else of_dtype(dtype)
            self.put(output, found if dtype is None else wrapped(found, dtype))

    def _results(self, node: ir.Node, inputs: tuple[TensorValues | None, ...]) -> Sequence[TensorValues]:
        if node.domain == "" and node.op_type in CONTROL_FLOW:
            return CONTROL_FLOW[node.op_type](node, inputs, self.body)
        site = NodeContext(
            node=node,
            opsets=self.opsets,
            inputs=inputs,
            shapes=tuple(None if v is None else shape_of(v) for v in node.inputs),
            output_shapes=tuple(shape_of(v) for v in node.outputs),
            accumulators=self.accumulators,
        )
        constants = [of_constant(a) for a in self._evaluated(site) or ()]
        rule = find_rule(node, self.opsets)
        if rule is None and constants:
            return constants
        if rule is None:
            raise NotFollowed("no rule for this operator")
        try:
            results = rule(site)
        except (*EVALUATION_ERRORS, NotFollowed) as reason:
            if constants:
                return constants
            raise NotFollowed(" ".join(str(reason).split())) from reason
        results = (results,) if isinstance(results, TensorValues) else tuple(results)
        return [replace(c, grid=r.grid or c.grid) for c, r in zip(constants, results, strict=False)] or results

    def _evaluated(self, site: NodeContext) -> Sequence[Array] | None:
        """The outputs of a node whose inputs are all known."""
        arrays = [None if values is None else values.constant for values in site.inputs]
        if any(a is None and values is not None for a, values in zip(arrays, site.inputs, strict=True)):
            return None
        most = max(_LARGEST_CONSTANT, max((a.size for a in arrays if a is not None), default=0))
        try:
            results = site.evaluate(arrays, most=most)
        except (*EVALUATION_ERRORS, NotFollowed):
            return None  # `check` says what is wrong
        made = self.computed + sum(r.nbytes for r in results)
        if made > current_limits().memory or any(r.size > most for r in results):
            return None
        self.computed = made
        return results


def _is_over(value: ir.Value, graph: ir.Graph, *, top: bool) -> bool:
    """Whether a tensor that no later node of its graph reads is done with; a subgraph may run, and read, again."""
    producer = value.producer()
    return (top and value.is_initializer()) if producer is None else producer.graph is graph
