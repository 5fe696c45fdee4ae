"""lockstep: a hub model node by node beside its source, each node fed with the source's own values.

Every tensor that was recorded in the source is compared with what the model makes of the source's own values one step
before, and then replaced by the source's. So no departure hides another, and no rounding tie in one layer moves those
behind it. A quantiser reads the very numbers that the source's read, and must give the very numbers that the source's
gave, bit for bit. What lies between two recorded tensors may be off by float error, see
`anybit.frontends.comparison.float_error`; where an unrecorded quantiser stands between them, it may fall to the other
side where its exact input lies within that error of a half step.

A tie is an element on which the model's own sum, which is exact but for one rounding, falls to the other side of a
half step than the source's float32 sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import FrontEndError, UnsupportedError
from anybit.frontends.comparison.float_error import (
    CHOOSING,
    SINGLE_OPERATIONS,
    Error,
    errors_of,
    is_exact,
    roundoff,
)
from anybit.graph.attributes import values_of_attributes
from anybit.graph.walk import label, last_reads
from anybit.ops.calls import operator_of, traits_of
from anybit.ops.evaluate import EVALUATION_ERRORS
from anybit.ops.operator import Operator
from anybit.ops.standard.kernel import Kernel, is_float, widened
from anybit.ops.standard.kernels import compile_node

_ROUNDING = frozenset(("Ceil", "Floor", "Round", "Sign"))
_RECIPROCAL_ROUNDINGS = 3.0  # of the reciprocal, of the product, and of the division
_SAME = 2.0**-20  # share of an element: below it two float32 results have no step between them


@dataclass(frozen=True)
class Recording:
    """What the source computed for the same inputs.

    Attributes:
        tensors: Its tensors, by the model's names, in the model's layout; constants too.
        layers: Where in the source a tensor is made, by the model's names.
        single: Tensors that the source makes by the one operation of IEEE 754 that the model has there.
        divided: Quantisers that divide by the scale where the source multiplies by its reciprocal.
        attributes: Attributes that the nodes of the model must have, by their first output.
        steps: The tensors of each step of a loop, in the order of the steps, by the name of the loop's node.
    """

    tensors: Mapping[str, Array]
    layers: Mapping[str, str] = field(default_factory=dict[str, str])
    single: frozenset[str] = frozenset()
    divided: frozenset[str] = frozenset()
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    steps: Mapping[str, Sequence[Mapping[str, Array]]] = field(default_factory=dict[str, Sequence[Mapping[str, Array]]])


@dataclass(frozen=True)
class TensorAgreement:
    """One tensor of the model against the source's.

    Attributes:
        name: Its name in the model.
        layer: Where in the source it is made; empty where that is not known.
        elements: Number of elements that were compared.
        departing: How many are off by more than float error explains.
        ties: How many fall to the other side of a half step when the model sums up by itself.
        largest: Largest difference, of what the model makes of the source's own values one step before.
    """

    name: str
    layer: str
    elements: int
    departing: int
    ties: int
    largest: float

    def plus(self, other: TensorAgreement) -> TensorAgreement:
        """Both, of the same tensor on different samples, together."""
        return replace(
            self,
            elements=self.elements + other.elements,
            departing=self.departing + other.departing,
            ties=self.ties + other.ties,
            largest=max(self.largest, other.largest),
        )


@dataclass(frozen=True)
class _Tracked:
    """A tensor of the run: its value, how far the source's may be from it, and what the model makes by itself.

    Where the model has it in float64, its value is no wider than it is.
    """

    value: Any
    error: Error = 0.0
    own: Any = None
    rounded: bool = False
    double: bool = False

    @property
    def narrow(self) -> Any:
        """Its value in the model's own type."""
        return self.value if self.double else _single(self.value)

    @property
    def alone(self) -> Any:
        return self.narrow if self.own is None else self.own


def lockstep(
    model: ir.Model, feeds: Mapping[str, Array], recording: Recording, *, tolerance: float = 0.0
) -> list[TensorAgreement]:
    """How each recorded tensor of the model agrees, in the order of the graph; in a loop, over all of its steps.

    Args:
        model: Clean hub model; it is only read.
        feeds: Inputs by name.
        recording: What the source made of them.
        tolerance: Share of a tensor's largest magnitude that elements may differ by beyond float error.

    Raises:
        FrontEndError: A recorded tensor has another shape.
        UnsupportedError: An operator has no reference.
    """
    run = _Run(model.opset_imports, recording, tolerance)
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            run.known[value] = _given(value.const_value.numpy())
            run.compare_constant(name, value.const_value.numpy())
    for value in model.graph.inputs:
        if value.name in feeds:
            run.known[value] = _given(feeds[str(value.name)])
    kept = set(model.graph.outputs)
    for node, drops in zip(model.graph, last_reads(model.graph), strict=True):
        run.node(node)
        for value in drops:
            if value not in kept:
                run.known.pop(value, None)
    return list(run.found.values())


def rounds(node: ir.Node) -> bool:
    """Whether a node rounds to levels: a quantiser, or a standard operator that gives whole numbers."""
    return node.domain != "" or node.op_type in _ROUNDING


@dataclass
class _Run:
    opsets: dict[str, int]
    recording: Recording
    tolerance: float
    known: dict[ir.Value, _Tracked] = field(default_factory=dict[ir.Value, _Tracked])
    found: dict[str, TensorAgreement] = field(default_factory=dict[str, TensorAgreement])
    kernels: dict[ir.Node, Kernel] = field(default_factory=dict[ir.Node, Kernel])
    step: Mapping[str, Array] = field(default_factory=dict[str, Array])

    def node(self, node: ir.Node) -> None:
        """Runs a node, and compares what it makes."""
        self._check_attributes(node)
        control = _CONTROL.get(node.op_type) if node.domain == "" else None
        try:
            results = self.plain(node) if control is None else control(self, node)
        except EVALUATION_ERRORS as error:
            name = str(node.outputs[0].name) if node.outputs else ""
            text = " ".join(str(error).split())
            raise FrontEndError(
                "the converted model departs from its source", node=self.place(name), got=text
            ) from error
        for value, result in zip(node.outputs, results, strict=False):
            self.known[value] = self.compared(value, result)

    def graph(self, graph: ir.Graph, inputs: Sequence[_Tracked]) -> list[_Tracked]:
        """The outputs of the body of a loop, or of a branch."""
        for value in graph.initializers.values():
            if value.const_value is not None:
                self.known[value] = _given(value.const_value.numpy())
        self.known.update(zip(graph.inputs, inputs, strict=True))
        for node in graph:
            self.node(node)
        return [self.known[v] for v in graph.outputs]

    def steps(self, node: ir.Node, count: int) -> Iterator[None]:
        """As often as a loop runs; meanwhile the source's tensors are those of this step, where they were recorded."""
        recorded = self.recording.steps.get(str(node.name))
        if recorded is not None and len(recorded) != count:
            raise FrontEndError(
                "a loop runs more or fewer times than in its source",
                node=label(node),
                got=f"{count} steps",
                expected=len(recorded),
            )
        outer = self.step
        for number in range(count):
            self.step = outer if recorded is None else {**outer, **recorded[number]}
            yield
        self.step = outer

    def kernel(self, node: ir.Node) -> Kernel:
        if node not in self.kernels:
            operator = operator_of(node, self.opsets)
            if operator is not None:
                self.kernels[node] = _bound(operator, values_of_attributes(node))
            elif node.domain == "":
                self.kernels[node] = compile_node(node, self.opsets[""])
            else:
                raise UnsupportedError("no engine runs this operator", node=label(node), got=node.op_type)
        return self.kernels[node]

    def plain(self, node: ir.Node) -> list[_Tracked]:
        kernel, traits = self.kernel(node), traits_of(node, self.opsets)
        given = [None if v is None else self.known[v] for v in node.inputs]
        names = {str(v.name) for v in node.outputs}
        errors: list[Error] = [0.0 if g is None else g.error for g in given]
        values = [None if g is None else g.value for g in given]
        rounding = rounds(node)
        chooses = rounding or traits.movement is not None or node.op_type in CHOOSING
        if names & self.recording.divided:
            near = _RECIPROCAL_ROUNDINGS * roundoff(node) * np.abs(np.asarray(values[0], np.float64))
            errors[0] = near if is_exact(errors[0]) else errors[0] + near
        exact = all(is_exact(e) for e in errors)
        alone = node.op_type in SINGLE_OPERATIONS and bool(names & self.recording.single)
        as_they_are = chooses or alone
        values = [None if g is None else g.narrow if as_they_are else widened(g.value) for g in given]
        outputs = kernel(values)
        if exact and as_they_are:
            bounds: list[Error] = [0.0] * len(outputs)
        else:
            wide = _single_of(kernel) if chooses else kernel
            bounds = errors_of(node, traits, wide, [widened(v) for v in values], errors, outputs)
        follows = chooses or traits.elementwise
        own: Sequence[Any] = [None] * len(outputs)
        if follows and any(g is not None and g.own is not None for g in given):
            own = kernel([None if g is None else g.alone for g in given])
        rounded = rounding or (follows and any(g is not None and g.rounded for g in given))
        double = [v.dtype == ir.DataType.DOUBLE for v in node.outputs[: len(outputs)]]
        return [_Tracked(y, b, o, rounded, d) for y, b, o, d in zip(outputs, bounds, own, double, strict=True)]

    def compared(self, value: ir.Value, made: _Tracked) -> _Tracked:
        """What the source made in the place of what the model did, where it is known."""
        name = str(value.name)
        wanted = self.step.get(name, self.recording.tensors.get(name))
        if wanted is None:
            return made
        given = np.asarray(made.value)
        if given.shape != wanted.shape:
            raise FrontEndError(
                "the converted model departs from its source",
                node=self.place(str(value.name)),
                got=f"shape {list(given.shape)}",
                expected=list(wanted.shape),
            )
        alone = np.asarray(made.alone)
        different = _gap(alone, wanted) > 0
        gap = _gap(given, wanted)
        departing = gap > self._allowed(wanted, made.error)
        ties = 0
        if made.rounded and different.any():
            ties = int((_gap(alone, wanted) > _SAME * np.abs(np.asarray(wanted, np.float64))).sum())
        self._note(str(value.name), wanted.size, int(departing.sum()), ties, float(gap.max(initial=0.0)))
        own = alone if different.any() and not made.rounded else None
        return _Tracked(wanted, own=own, double=made.double)

    def compare_constant(self, name: str, given: Array) -> None:
        wanted = self.recording.tensors.get(name)
        if wanted is None or wanted.size != given.size:
            return
        gap = _gap(given.reshape(-1), wanted.reshape(-1))
        departing = gap > self._allowed(wanted, 0.0)
        self._note(name, wanted.size, int(departing.sum()), 0, float(gap.max(initial=0.0)))

    def _check_attributes(self, node: ir.Node) -> None:
        name = str(node.outputs[0].name) if node.outputs else ""
        for key, wanted in self.recording.attributes.get(name, {}).items():
            given = node.attributes.get(key)
            if given is not None and given.value != wanted:
                raise FrontEndError(
                    f"attribute '{key}' of a quantiser is another one than in its source",
                    node=self.place(name),
                    got=given.value,
                    expected=wanted,
                )

    def _allowed(self, wanted: Array, error: Error) -> Any:
        if not self.tolerance:
            return error
        size = np.abs(np.asarray(wanted, np.float64))
        return np.maximum(error, self.tolerance * size[np.isfinite(size)].max(initial=0.0))

    def _note(self, name: str, elements: int, departing: int, ties: int, largest: float) -> None:
        layer = self.recording.layers.get(name, "")
        new = TensorAgreement(name, layer, elements, departing, ties, largest)
        before = self.found.get(name)
        self.found[name] = new if before is None else before.plus(new)

    def place(self, name: str) -> str:
        layer = self.recording.layers.get(name, "")
        return f"module '{layer}', tensor '{name}'" if layer else f"tensor '{name}'"


def _if(run: _Run, node: ir.Node) -> list[_Tracked]:
    (condition,) = node.inputs
    chosen = "then_branch" if bool(np.asarray(run.known[_required(condition)].value).item()) else "else_branch"
    return run.graph(node.attributes[chosen].as_graph(), [])


def _loop(run: _Run, node: ir.Node) -> list[_Tracked]:
    body = node.attributes["body"].as_graph()
    limit, start, *carried = node.inputs
    trips = None if limit is None else int(np.asarray(run.known[limit].value).item())
    going = True if start is None else bool(np.asarray(run.known[start].value).item())
    state = [run.known[_required(v)] for v in carried]
    rows: list[list[_Tracked]] = [[] for _ in body.outputs[1 + len(state) :]]
    count = 0
    while going and (trips is None or count < trips):
        head = [_Tracked(np.asarray(count, np.int64)), _Tracked(np.asarray(going))]
        condition, *results = run.graph(body, [*head, *state])
        going, state = bool(np.asarray(condition.value).item()), results[: len(state)]
        for row, result in zip(rows, results[len(state) :], strict=True):
            row.append(result)
        count += 1
    return [*state, *(_stacked(row, 0) for row in rows)]


def _scan(run: _Run, node: ir.Node) -> list[_Tracked]:
    body = node.attributes["body"].as_graph()
    count = node.attributes["num_scan_inputs"].as_int()
    states = len(node.inputs) - count
    inputs = [run.known[_required(v)] for v in node.inputs]
    axes = _integers(node, "scan_input_axes", count)
    back = _integers(node, "scan_input_directions", count)
    sequences = [_unstacked(x, axis)[:: -1 if b else 1] for x, axis, b in zip(inputs[states:], axes, back, strict=True)]
    state = inputs[:states]
    rows: list[list[_Tracked]] = [[] for _ in body.outputs[states:]]
    for _, elements in zip(run.steps(node, len(sequences[0])), zip(*sequences, strict=True), strict=True):
        results = run.graph(body, [*state, *elements])
        state = results[:states]
        for row, result in zip(rows, results[states:], strict=True):
            row.append(result)
    axes = _integers(node, "scan_output_axes", len(rows))
    back = _integers(node, "scan_output_directions", len(rows))
    stacked = [_stacked(row[:: -1 if b else 1], axis) for row, axis, b in zip(rows, axes, back, strict=True)]
    return [*state, *stacked]


_CONTROL: dict[str, Callable[[_Run, ir.Node], list[_Tracked]]] = {"If": _if, "Loop": _loop, "Scan": _scan}


def _required(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise UnsupportedError("a control-flow operator lacks an input")
    return value


def _integers(node: ir.Node, name: str, count: int) -> Sequence[int]:
    attribute = node.attributes.get(name)
    return (0,) * count if attribute is None else attribute.as_ints()


def _unstacked(x: _Tracked, axis: int) -> list[_Tracked]:
    values = np.moveaxis(x.value, axis, 0)
    exact = is_exact(x.error)
    errors = [0.0] * len(values) if exact else np.moveaxis(np.broadcast_to(x.error, np.shape(x.value)), axis, 0)
    own = [None] * len(values) if x.own is None else np.moveaxis(np.asarray(x.own), axis, 0)
    return [_Tracked(v, e, o, x.rounded, x.double) for v, e, o in zip(values, errors, own, strict=True)]


def _stacked(row: Sequence[_Tracked], axis: int) -> _Tracked:
    values = np.stack([np.asarray(r.value) for r in row], axis=axis)
    own = None if all(r.own is None for r in row) else np.stack([np.asarray(r.alone) for r in row], axis=axis)
    rounded, double = any(r.rounded for r in row), any(r.double for r in row)
    if all(is_exact(r.error) for r in row):
        return _Tracked(values, own=own, rounded=rounded, double=double)
    errors = [np.broadcast_to(np.asarray(r.error, np.float64), np.shape(r.value)) for r in row]
    return _Tracked(values, np.stack(errors, axis=axis), own, rounded, double)


def _bound(operator: Operator, attributes: Mapping[str, Any]) -> Kernel:
    return lambda inputs: operator.results(inputs, attributes)


def _given(array: Array) -> _Tracked:
    """An input or an initializer of the model, which is compared in its own type."""
    return _Tracked(array, double=array.dtype == np.float64)


def _single(x: Any) -> Any:
    """float64 results, which stand for those of a float32 model before they are rounded, as float32."""
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        with np.errstate(all="ignore"):
            return x.astype(np.float32)
    return x


def _single_of(kernel: Kernel) -> Kernel:
    return lambda inputs: kernel([_single(x) for x in inputs])


def _gap(a: Any, b: Any) -> Array:
    """|a - b|; equal infinities and NaN are equal, all else beside them is infinitely far."""
    if not (is_float(a) or is_float(b)):
        return np.where(np.asarray(a) == np.asarray(b), 0.0, np.inf)
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore"):
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        gap = np.where(same, 0.0, np.abs(left - right))
    return np.where(np.isnan(gap), np.inf, gap)
