"""analyse: abstract interpretation of a model: what every tensor can hold, node by node, in one walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.accumulator import Accumulator
from anybit.analysis.values.control import CONTROL_FLOW
from anybit.analysis.values.declared import of_annotation
from anybit.analysis.values.registry import find_rule
from anybit.analysis.values.rule import Site, Unfollowed
from anybit.analysis.values.rules.corners import outward
from anybit.analysis.values.tensor import (
    TensorValues,
    bounded,
    integers,
    limited,
    of_constant,
    of_dtype,
    summarised,
    unbounded,
)
from anybit.errors import UsageError
from anybit.io.annotations import annotated_datatype
from anybit.io.load import ModelSource
from anybit.ops.broken import refuse_broken
from anybit.ops.constants import constant
from anybit.ops.evaluate import EVALUATION_ERRORS
from anybit.ops.nodes import last_reads, shape_of
from anybit.ops.operator import Array
from anybit.passes.flatten import flattened
from anybit.passes.fold_shapes import FoldShapes

_LARGEST_CONSTANT = 1 << 20  # elements of a computed constant that is larger than what it is computed from


@dataclass(frozen=True)
class Values:
    """What every tensor of a model can hold.

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

    def __getitem__(self, value: ir.Value) -> TensorValues:
        """What a tensor can hold; nothing is known of one that no run computes, as in a branch that is never taken."""
        return self.tensors.get(value) or unbounded()


def analyse(model: ModelSource, *, input_ranges: Mapping[str, tuple[float, float]] | None = None) -> Values:
    """lo <= value <= hi for every tensor, per channel; and value = scale * (integer - zero point) where quantised.

    The bounds hold for all finite inputs in the declared ranges, for every element that is not NaN, in float
    arithmetic of any order of summation; integers are those of exact arithmetic. Cost is linear in nodes and weights.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it stays as it is.
        input_ranges: By input name, the smallest and the largest value that a caller feeds. An input that is not
            named holds whatever its annotated number format allows, else its element type.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: The graph has a cycle, a tensor that nothing makes, or a node that has no meaning.
        UsageError: A range is empty, or names no input.
    """
    read = flattened(model)
    FoldShapes()(read)
    refuse_broken(read)
    return values_of(read, input_ranges=input_ranges)


def values_of(model: ir.Model, *, input_ranges: Mapping[str, tuple[float, float]] | None = None) -> Values:
    """`analyse` of a loaded model without model-local functions whose shapes are inferred; it is only read."""
    walk = _Walk(model.graph, model.opset_imports)
    ranges = dict(input_ranges or {})
    for value in model.graph.inputs:
        walk.put(value, _of_input(value, ranges.pop(str(value.name), None)))
    if ranges:
        known = ", ".join(str(v.name) for v in model.graph.inputs)
        raise UsageError("range of an unknown input", got=", ".join(ranges), expected=known)
    walk.graph(model.graph)
    for value in (*model.graph.initializers.values(), *model.graph.outputs):
        walk.of(value)  # those that no node reads
    tensors = {v: t if t.constant is None else summarised(t, shape_of(v)) for v, t in walk.tensors.items()}
    return Values(model, tensors, walk.accumulators, walk.unfollowed)


def _of_input(value: ir.Value, limits: tuple[float, float] | None) -> TensorValues:
    dtype = None if value.dtype is None or value.dtype == ir.DataType.STRING else value.dtype.numpy()
    declared = of_annotation(value)
    widest = of_dtype(dtype) if declared is None else declared
    if limits is None:
        return widest
    lo, hi = limits
    if not lo <= hi or lo == np.inf or hi == -np.inf:
        raise UsageError("range of an input", node=f"input '{value.name}'", got=f"{lo}, {hi}", expected="LO <= HI")
    within = _within(widest, dtype, lo, hi)
    if within is None:
        raise UsageError(
            "range of an input without a number that the input can hold",
            node=f"input '{value.name}'",
            got=f"{lo}, {hi}",
            expected=f"numbers of {value.dtype if declared is None else annotated_datatype(value)}",
        )
    return within


def _within(widest: TensorValues, dtype: np.dtype[Any] | None, lo: float, hi: float) -> TensorValues | None:
    """The numbers of an input that are in a range; None where there are none."""
    largest = float(np.finfo(dtype).max) if dtype is not None and dtype.kind == "f" else np.inf
    if (lo > np.minimum(widest.hi, largest)).any() or (hi < np.maximum(widest.lo, -largest)).any():
        return None
    low, high = np.maximum(lo, widest.lo), np.minimum(hi, widest.hi)
    if dtype is not None:  # 0.1 stands for the number that the type has in its place
        low, high = outward(low, dtype, up=False), outward(high, dtype, up=True)
    grid = widest.grid
    if grid is not None:
        first, last = np.ceil(low / grid.scale + grid.zero_point), np.floor(high / grid.scale + grid.zero_point)
        return None if (first > last).any() else bounded(low, high, replace(grid, lo=first, hi=last))
    if dtype is None or dtype.kind not in "iu":
        return bounded(low, high)
    return None if np.ceil(low) > np.floor(high) else integers(np.ceil(low), np.floor(high))


@dataclass
class _Walk:
    top: ir.Graph
    opsets: Mapping[str, int]
    tensors: dict[ir.Value, TensorValues] = field(default_factory=dict[ir.Value, TensorValues])
    accumulators: dict[ir.Node, Accumulator] = field(default_factory=dict[ir.Node, Accumulator])
    unfollowed: dict[ir.Node, str] = field(default_factory=dict[ir.Node, str])

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
        except Unfollowed as reason:
            self.unfollowed[node] = str(reason)
            results = ()
        for index, output in enumerate(node.outputs):
            widest = of_dtype(None if output.dtype in (None, ir.DataType.STRING) else output.dtype.numpy())
            self.put(output, results[index] if index < len(results) else widest)

    def _results(self, node: ir.Node, inputs: tuple[TensorValues | None, ...]) -> Sequence[TensorValues]:
        if node.domain == "" and node.op_type in CONTROL_FLOW:
            return CONTROL_FLOW[node.op_type](node, inputs, self.body)
        site = Site(
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
            raise Unfollowed("no rule for this operator")
        try:
            results = rule(site)
        except (*EVALUATION_ERRORS, Unfollowed) as reason:
            if constants:
                return constants
            raise Unfollowed(" ".join(str(reason).split())) from reason
        results = (results,) if isinstance(results, TensorValues) else tuple(results)
        return [replace(c, grid=r.grid or c.grid) for c, r in zip(constants, results, strict=False)] or results

    def _evaluated(self, site: Site) -> Sequence[Array] | None:
        """The outputs of a node whose inputs are all known."""
        arrays = [None if values is None else values.constant for values in site.inputs]
        if any(a is None and values is not None for a, values in zip(arrays, site.inputs, strict=True)):
            return None
        try:
            results = site.evaluate(arrays)
        except (*EVALUATION_ERRORS, Unfollowed):
            return None  # `check` says what is wrong
        largest = max((a.size for a in arrays if a is not None), default=0)
        return None if any(r.size > max(_LARGEST_CONSTANT, largest) for r in results) else results


def _is_over(value: ir.Value, graph: ir.Graph, *, top: bool) -> bool:
    """Whether a tensor that no later node of its graph reads is done with; a subgraph may run, and read, again."""
    producer = value.producer()
    return (top and value.is_initializer()) if producer is None else producer.graph is graph
