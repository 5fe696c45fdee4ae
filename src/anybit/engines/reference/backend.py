"""The reference engine: every operator by its numpy reference, one after the other. Slow, and right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.engines.reference.environment import Environment
from anybit.errors import InputError, InvalidModelError, UnsupportedError
from anybit.graph.attributes import values_of_attributes
from anybit.graph.walk import label, last_reads
from anybit.ops.calls import operator_of
from anybit.ops.contributed.kernels import compile_contributed
from anybit.ops.evaluate import EVALUATION_ERRORS
from anybit.ops.operator import Operator
from anybit.ops.sizes import require_memory
from anybit.ops.standard.kernels import compile_node

_Step = Callable[[Environment], None]


class ReferenceBackend:
    """A model compiled to a list of numpy calls.

    Args:
        model: Normalised model without model-local functions; it is only read.
        outputs: Tensors that `run` returns.

    Raises:
        UnsupportedError: An operator has no reference.
    """

    def __init__(self, model: ir.Model, outputs: Sequence[ir.Value]) -> None:
        self._inputs = {str(v.name): v for v in model.graph.inputs}
        self._outputs = tuple(outputs)
        self._constants: dict[ir.Value, Any] = {}
        self._steps = _Compiler(model.opset_imports, self._constants).graph(model.graph)
        kept = set(outputs)
        self._drops = [[v for v in values if v not in kept] for values in last_reads(model.graph)]

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs for these inputs."""
        environment = Environment(self._constants)
        for name, value in self._inputs.items():
            if name in feeds or value not in environment:  # else its default is there already
                environment[value] = feeds[name]
        for step, drops in zip(self._steps, self._drops, strict=True):
            step(environment)
            environment.drop(drops)
        return [environment[v] for v in self._outputs]


@dataclass(frozen=True)
class _Compiler:
    opsets: dict[str, int]
    constants: dict[ir.Value, Any]

    def graph(self, graph: ir.Graph) -> list[_Step]:
        for value in graph.initializers.values():
            if value.const_value is not None:
                self.constants[value] = value.const_value.numpy()
        return [self.node(node) for node in graph]

    def node(self, node: ir.Node) -> _Step:
        where = label(node)
        try:
            run = self._step(node, where)
        except EVALUATION_ERRORS as error:
            raise InvalidModelError(
                "the node cannot be run", node=where, got=error, hint="run `anybit check`"
            ) from error
        inputs = tuple(v for v in node.inputs if v is not None)

        def step(environment: Environment) -> None:
            try:
                run(environment)
            except EVALUATION_ERRORS as error:
                shapes = ", ".join(_describe(environment.get(v)) for v in inputs)
                text = " ".join(str(error).split())
                raise InputError("the operator failed", node=where, got=f"{shapes}: {text}") from error

        return step

    def _step(self, node: ir.Node, where: str) -> _Step:
        match node.domain, node.op_type:
            case "", "If":
                return self._if(node)
            case "", "Loop":
                return self._loop(node)
            case "", "Scan":
                return self._scan(node) if self.opsets[""] > 8 else self._batched_scan(node)
            case "", "SequenceMap":
                return self._sequence_map(node)
            case "", _:
                kernel = compile_node(node, self.opsets[""])
            case _:
                kernel = self._own(node, where)
        inputs, outputs = tuple(node.inputs), tuple(node.outputs)

        def step(environment: Environment) -> None:
            given = [None if v is None else environment[v] for v in inputs]
            require_memory(node, given, environment.held)
            environment.keep(outputs, kernel(given))

        return step

    def _own(self, node: ir.Node, where: str) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
        operator = operator_of(node, self.opsets)
        contributed = compile_contributed(node) if operator is None else None
        if contributed is not None:
            return contributed
        if operator is None:
            raise UnsupportedError(
                "no engine runs this operator",
                node=where,
                got=f"{node.domain}::{node.op_type} version {self.opsets.get(node.domain, 1)}",
                hint="register it as an anybit.Operator",
            )
        return _bound(operator, values_of_attributes(node))

    def _if(self, node: ir.Node) -> _Step:
        branches = [node.attributes[name].as_graph() for name in ("else_branch", "then_branch")]
        steps = [self.graph(branch) for branch in branches]
        (condition,) = node.inputs

        def step(environment: Environment) -> None:
            chosen = int(bool(np.asarray(environment[_required(condition)]).item()))
            for inner in steps[chosen]:
                inner(environment)
            results = [environment[v] for v in branches[chosen].outputs]
            environment.keep(node.outputs, results)

        return step

    def _loop(self, node: ir.Node) -> _Step:
        body = node.attributes["body"].as_graph()
        steps = self.graph(body)
        where = label(node)
        limit, start, *carried = node.inputs
        scans = len(body.outputs) - 1 - len(carried)

        def step(environment: Environment) -> None:
            trips = None if limit is None else int(np.asarray(environment[limit]).item())
            going = True if start is None else bool(np.asarray(environment[start]).item())
            state = [environment[_required(v)] for v in carried]
            rows: list[list[Any]] = [[] for _ in range(scans)]
            count = 0
            while going and (trips is None or count < trips):
                environment.count(where)
                environment.update(
                    zip(body.inputs, [np.asarray(count, np.int64), np.asarray(going), *state], strict=True)
                )
                for inner in steps:
                    inner(environment)
                results = [environment[v] for v in body.outputs]
                going, state = bool(np.asarray(results[0]).item()), results[1 : 1 + len(carried)]
                for row, result in zip(rows, results[1 + len(carried) :], strict=True):
                    environment.hold(result, where)
                    row.append(result)
                count += 1
            environment.release(rows)
            stacked = [_stack(row, v, 0) for row, v in zip(rows, body.outputs[1 + len(carried) :], strict=True)]
            environment.keep(node.outputs, [*state, *stacked])

        return step

    def _scan(self, node: ir.Node) -> _Step:
        body = node.attributes["body"].as_graph()
        steps = self.graph(body)
        count = node.attributes["num_scan_inputs"].as_int()
        states = len(node.inputs) - count
        outputs = len(body.outputs) - states
        in_axes, out_axes = _ints(node, "scan_input_axes", count), _ints(node, "scan_output_axes", outputs)
        in_backward, out_backward = (
            _ints(node, "scan_input_directions", count),
            _ints(node, "scan_output_directions", outputs),
        )

        def step(environment: Environment) -> None:
            sequences = [
                _unstack(environment[_required(v)], axis, backward=bool(back))
                for v, axis, back in zip(node.inputs[states:], in_axes, in_backward, strict=True)
            ]
            state = [environment[_required(v)] for v in node.inputs[:states]]
            state, rows = _scanned(environment, label(node), body, steps, state, sequences)
            stacked = [
                _stack(row[::-1] if back else row, v, axis)
                for row, v, axis, back in zip(rows, body.outputs[states:], out_axes, out_backward, strict=True)
            ]
            environment.keep(node.outputs, [*state, *stacked])

        return step

    def _batched_scan(self, node: ir.Node) -> _Step:
        """Scan of version 8: over axis 1 of each sample of a batch, which may be shorter than the others."""
        body = node.attributes["body"].as_graph()
        steps = self.graph(body)
        count = node.attributes["num_scan_inputs"].as_int()
        states = len(node.inputs) - 1 - count
        backward = _ints(node, "directions", count)

        def step(environment: Environment) -> None:
            lengths = None if node.inputs[0] is None else environment[node.inputs[0]]
            given = [environment[_required(v)] for v in node.inputs[1:]]
            batch, steps_at_most = given[states].shape[:2]
            finals: list[list[Any]] = []
            for sample in range(batch):
                length = steps_at_most if lengths is None else int(lengths[sample])
                sequences = [
                    _unstack(x[sample, :length], 0, backward=bool(back))
                    for x, back in zip(given[states:], backward, strict=True)
                ]
                state, rows = _scanned(
                    environment, label(node), body, steps, [x[sample] for x in given[:states]], sequences
                )
                stacked = [_stack(row, v, 0) for row, v in zip(rows, body.outputs[states:], strict=True)]
                padded = [np.pad(y, [(0, steps_at_most - length)] + [(0, 0)] * (y.ndim - 1)) for y in stacked]
                finals.append([*state, *padded])
            environment.keep(node.outputs, [np.stack(rows) for rows in zip(*finals, strict=True)])

        return step

    def _sequence_map(self, node: ir.Node) -> _Step:
        body = node.attributes["body"].as_graph()
        steps = self.graph(body)

        def step(environment: Environment) -> None:
            first, *rest = [environment[_required(v)] for v in node.inputs]
            each = [x if isinstance(x, list) else [x] * len(first) for x in rest]
            _, rows = _scanned(environment, label(node), body, steps, [], [first, *each])
            environment.keep(node.outputs, rows)

        return step


def _scanned(
    environment: Environment,
    where: str,
    body: ir.Graph,
    steps: Sequence[_Step],
    state: list[Any],
    sequences: Sequence[list[Any]],
) -> tuple[list[Any], list[list[Any]]]:
    """The last state, and what the body gives besides it at each element of the sequences."""
    rows: list[list[Any]] = [[] for _ in body.outputs[len(state) :]]
    for elements in zip(*sequences, strict=True):
        environment.count(where)
        environment.update(zip(body.inputs, [*state, *elements], strict=True))
        for inner in steps:
            inner(environment)
        results = [environment[v] for v in body.outputs]
        for row, result in zip(rows, results[len(state) :], strict=True):
            environment.hold(result, where)
            row.append(result)
        state = results[: len(state)]
    environment.release(rows)
    return state, rows


def _bound(operator: Operator, attributes: Mapping[str, Any]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    return lambda inputs: operator.results(inputs, attributes)


def _required(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise InputError("a control-flow operator lacks an input")
    return value


def _ints(node: ir.Node, name: str, count: int) -> Sequence[int]:
    attribute = node.attributes.get(name)
    return (0,) * count if attribute is None else attribute.as_ints()


def _unstack(array: Any, axis: int, *, backward: bool) -> list[Any]:
    parts = list(np.moveaxis(array, axis, 0))
    return parts[::-1] if backward else parts


def _stack(row: Sequence[Any], like: ir.Value, axis: int) -> Any:
    if row:
        return np.stack(row, axis=axis)
    dtype = np.float32 if like.dtype is None else like.dtype.numpy()
    shape = [] if like.shape is None else [d if isinstance(d, int) else 0 for d in like.shape]
    return np.empty((0, *shape), dtype)


def _describe(argument: Any) -> str:
    return f"{argument.dtype}{list(argument.shape)}" if isinstance(argument, np.ndarray) else type(argument).__name__
