"""Expander: replaces calls of our operators by their bodies, evaluated as far as the constants go.

The body of an operator (see `Operator.body`) is general: any bit width, any mode, as inputs and attributes. In a
model nearly all of these are constants, so that of some forty nodes four or five remain: Div, Clip, Round, Mul.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array, content
from anybit.errors import InvalidModelError, UnsupportedError
from anybit.graph.attributes import values_of_attributes
from anybit.graph.constants import constant, new_initializer
from anybit.graph.walk import all_nodes, label
from anybit.ops.operator import Operator
from anybit.ops.standard.kernels import Kernel, compile_node

BODY_OPSET = 21
"""Opset of the operators that bodies are written in."""

_Operand = Array | ir.Value
_COMPARISONS = frozenset("And Equal Greater GreaterOrEqual IsNaN Less LessOrEqual Not Or".split())
_BOUNDING = frozenset("Max Min".split())
# (operator, value of its second operand) that leave the first operand as it is, but for the sign of zero.
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}

# What X is cast to before a body, and Y behind it: operators compute float16 in float32 (see `widened`), and integers
# in float64.
_CASTS = {ir.DataType.FLOAT16: (ir.DataType.FLOAT, ir.DataType.FLOAT16)} | {
    ir.DataType[f"{sign}INT{width}"]: (ir.DataType.DOUBLE, ir.DataType.FLOAT)
    for sign in ("", "U")
    for width in (8, 16, 32)
}

_kernels: dict[ir.Node, Kernel] = {}


class Expander:
    """Replaces calls within one model; equal constants of different calls are shared.

    Args:
        graph: The outermost graph, which receives the constants.
        branches: Whether a condition that is computed at run time may become an If.
    """

    def __init__(self, graph: ir.Graph, *, branches: bool = True) -> None:
        self._graph = graph
        self.branches = branches
        self._pool: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self.names = {v.name for n in all_nodes(graph) for v in (*n.inputs, *n.outputs) if v is not None}
        self.names.update(v.name for v in (*graph.inputs, *graph.initializers.values()))

    def expand(self, node: ir.Node, operator: Operator, *, zero_signs: bool = False) -> tuple[ir.Node, ...]:
        """Replaces `node` by operators of opset 21 that compute the same, bit for bit but for the sign of zero.

        Args:
            node: A call of the operator.
            operator: Its record.
            zero_signs: Whether zeros must have the sign that the operator gives them, too.

        Returns:
            The nodes that take its place, in order.

        Raises:
            UnsupportedError: The operator has no body, or needs an If that is not wanted; the node stays.
            InvalidModelError: An input is missing.
        """
        where = label(node)
        if operator.body is None:
            raise UnsupportedError("the operator has no ONNX body", node=where, hint='use engine="reference"')
        present = [v for v in node.inputs if v is not None]
        least = sum(not i.optional for i in operator.inputs)
        is_gapless = all(v is None for v in node.inputs[len(present) :])
        if not is_gapless or not least <= len(present) <= len(operator.inputs):
            names = ", ".join(i.name for i in operator.inputs)
            raise InvalidModelError("inputs", node=where, got=len(node.inputs), expected=names)
        given = values_of_attributes(node)
        attributes = {a.name: given.get(a.name, a.default) for a in operator.attributes}
        inputs: list[_Operand] = [v if (c := constant(v)) is None else c for v in present]
        emitter = _Emitter(self, node.outputs[0].name or operator.name, zero_signs=zero_signs)
        x = inputs[0].dtype
        casts = _CASTS.get(x if isinstance(x, ir.DataType) else ir.DataType.from_numpy(x)) if x is not None else None
        if casts is not None:
            inputs[0] = emitter.cast(inputs[0], casts[0])
        try:
            results = emitter.call(operator.body.function_ir, inputs, attributes)
        except UnsupportedError as error:
            emitter.withdraw()
            raise UnsupportedError(error.diagnosis.problem, node=where, expected="constants") from error
        if casts is not None:
            results = [emitter.cast(r, casts[1]) for r in results]
        _replace(node, emitter, results)
        return tuple(emitter.nodes)

    def constant(self, array: Array) -> ir.Value:
        """An initializer that holds `array`."""
        key = (array.dtype.str, array.shape, content(array))
        if key not in self._pool:
            self._pool[key] = new_initializer(self._graph, f"anybit/constant_{len(self._pool)}", array)
        return self._pool[key]


def _replace(node: ir.Node, emitter: _Emitter, results: Sequence[_Operand]) -> None:
    pairs: list[tuple[ir.Value, ir.Value]] = []
    for old, result in zip(node.outputs, results, strict=False):  # the last may be left out
        taken = [new for _, new in pairs]
        if not isinstance(result, ir.Value) or result.producer() not in emitter.nodes or result in taken:
            result = emitter.emit("Identity", [result])  # noqa: PLW2901  it stands for the output
        result.type, result.shape = old.type, old.shape
        result.meta.update(old.meta)
        name, old.name = old.name, f"{old.name}/replaced"
        result.name = name
        pairs.append((old, result))
    node.prepend(emitter.nodes)
    for old, result in pairs:
        old.replace_all_uses_with(result, replace_graph_outputs=True)
    if node.graph is not None:
        node.graph.remove(node, safe=True)


class _Emitter:
    """Evaluates a function on operands, and collects the nodes for what is not constant."""

    def __init__(self, owner: Expander, prefix: str, *, zero_signs: bool) -> None:
        self.nodes: list[ir.Node] = []
        self._zero_signs = zero_signs
        self._owner = owner
        self._prefix = prefix
        self._count = [0]

    def call(self, function: ir.Function, inputs: Sequence[_Operand], attributes: Mapping[str, Any]) -> list[_Operand]:
        """The function's outputs for these operands."""
        called = _called(function)
        known: dict[ir.Value, _Operand] = dict(zip(function.inputs, inputs, strict=False))  # the last may be left out
        return self._graph(function, known, attributes, called)

    def withdraw(self) -> None:
        """Gives up the nodes that were made."""
        for node in self.nodes:
            _detach(node)

    def _graph(
        self,
        graph: ir.Function | ir.Graph,
        known: dict[ir.Value, _Operand],
        attributes: Mapping[str, Any],
        called: Mapping[ir.OperatorIdentifier, ir.Function],
    ) -> list[_Operand]:
        for node in graph:
            operands = [known[v] for v in node.inputs if v in known]
            given = {k: attributes[str(a.ref_attr_name)] if a.is_ref() else a.value for k, a in node.attributes.items()}
            given = {k: v for k, v in given.items() if v != ()}  # an empty list is a list left out
            if node.op_identifier() in called:
                function = called[node.op_identifier()]
                results = self.call(function, operands, given)
            elif node.op_type == "If":
                results = self._if(node, operands[0], known, attributes, called)
            else:
                results = [self._node(node, operands, given)]
            known.update(zip(node.outputs, results, strict=True))
        return [known[v] for v in graph.outputs]

    def _if(
        self,
        node: ir.Node,
        condition: _Operand,
        known: dict[ir.Value, _Operand],
        attributes: Mapping[str, Any],
        called: Mapping[ir.OperatorIdentifier, ir.Function],
    ) -> list[_Operand]:
        branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
        if not isinstance(condition, ir.Value):
            return self._graph(branches[0 if condition.item() else 1], known, attributes, called)
        if not self._owner.branches:
            raise UnsupportedError("a parameter that decides between formulas is computed at run time")
        graphs: list[ir.Graph] = []
        for branch in branches:
            inner = _Emitter(self._owner, self._prefix, zero_signs=self._zero_signs)
            inner._count = self._count
            results = inner._graph(branch, dict(known), attributes, called)
            outputs = [inner.emit("Identity", [r]) for r in results]
            graphs.append(ir.Graph([], outputs, nodes=inner.nodes, name=branch.name or "branch"))
        made = ir.node(
            "If", [condition], {"then_branch": graphs[0], "else_branch": graphs[1]}, num_outputs=len(node.outputs)
        )
        for value, like in zip(made.outputs, graphs[0].outputs, strict=True):
            self._name(value)
            value.type = like.type
        self.nodes.append(made)
        return list(made.outputs)

    def _node(self, node: ir.Node, operands: Sequence[_Operand], attributes: Mapping[str, Any]) -> _Operand:
        if node.op_type == "Constant":
            return _constant(attributes)
        if node.op_type == "CastLike":
            return self._cast_like(operands[0], operands[1])
        constants = [o for o in operands if not isinstance(o, ir.Value)]
        if len(constants) == len(operands):
            kernel = _kernels.get(node) or _kernels.setdefault(node, compile_node(node, BODY_OPSET))
            return np.asarray(kernel(constants)[0])
        return self._simplified(node.op_type, operands, attributes)

    def _simplified(self, op_type: str, operands: Sequence[_Operand], attributes: Mapping[str, Any]) -> _Operand:
        if op_type == "Identity":
            return operands[0]
        if op_type == "Cast":
            return self.cast(operands[0], ir.DataType(attributes["to"]))
        second = operands[1] if len(operands) > 1 else None
        if op_type in _NEUTRAL and isinstance(second, np.ndarray) and second.size == 1 and second == _NEUTRAL[op_type]:
            if not self._zero_signs or op_type in ("Mul", "Div") or np.signbit(second).item() == (op_type == "Add"):
                return operands[0]
            return self.emit("Sum", [operands[0], np.abs(second)])  # x + 0; optimisers take an Add of 0 away
        if op_type == "Min" and self._can_clip(operands):
            upper, maximum = operands[1], self.nodes.pop()
            operand, lower = cast("Sequence[ir.Value]", maximum.inputs)
            _detach(maximum)
            return self.emit("Clip", [operand, lower, upper])
        return self.emit(op_type, operands, attributes)

    def _can_clip(self, operands: Sequence[_Operand]) -> bool:
        """Whether Min(Max(x, lo), hi), with scalars lo and hi, was about to be made; Max is then the last node."""
        first, second = operands
        if not self.nodes or not isinstance(first, ir.Value) or isinstance(second, ir.Value) or second.ndim:
            return False
        last = self.nodes[-1]
        if last.op_type != "Max" or first is not last.outputs[0]:
            return False
        lower = constant(last.inputs[1])
        return lower is not None and not lower.ndim

    def _cast_like(self, operand: _Operand, target: _Operand) -> _Operand:
        dtype = target.dtype if isinstance(target, ir.Value) else ir.DataType.from_numpy(target.dtype)
        if dtype is None:
            return self.emit("CastLike", [operand, target])
        return self.cast(operand, dtype)

    def cast(self, operand: _Operand, dtype: ir.DataType) -> _Operand:
        """The operand in another type; constants are cast now."""
        if not isinstance(operand, ir.Value):
            return operand.astype(dtype.numpy())
        return operand if operand.dtype == dtype else self.emit("Cast", [operand], {"to": dtype.value})

    def emit(self, op_type: str, operands: Sequence[_Operand], attributes: Mapping[str, Any] | None = None) -> ir.Value:
        """Adds a node and returns its output."""
        if op_type in _BOUNDING:  # -0 as a bound makes -0 of what is below it
            operands = [o if isinstance(o, ir.Value) else o + np.zeros((), o.dtype) for o in operands]
        inputs = [o if isinstance(o, ir.Value) else self._owner.constant(o) for o in operands]
        node = ir.node(op_type, inputs, attributes)
        output = node.outputs[0]
        self._name(output)
        dtype = _result_dtype(op_type, inputs, attributes or {})
        output.type = None if dtype is None else ir.TensorType(dtype)
        self.nodes.append(node)
        return output

    def _name(self, value: ir.Value) -> None:
        name = None
        while name is None or name in self._owner.names:
            self._count[0] += 1
            name = f"{self._prefix}/{self._count[0]}"
        value.name = name


def _detach(node: ir.Node) -> None:
    """Lets a node that is in no graph read nothing: it would still count as a reader."""
    for position in range(len(node.inputs)):
        node.replace_input_with(position, None)


@cache
def _called(function: ir.Function) -> Mapping[ir.OperatorIdentifier, ir.Function]:
    """The functions that a traced body calls."""
    getter = getattr(function, "get_called_functions", None)
    return {} if getter is None else {f.function_ir.identifier(): f.function_ir for f in getter().values()}


def _constant(attributes: Mapping[str, Any]) -> Array:
    ((name, value),) = attributes.items()
    match name:
        case "value_int" | "value_ints":
            return np.asarray(value, np.int64)
        case "value_float" | "value_floats":
            return np.asarray(value, np.float32)
        case "value_string" | "value_strings":
            return np.asarray(value, np.object_)
        case _:
            return value if isinstance(value, np.ndarray) else cast("ir.TensorProtocol", value).numpy()


def _result_dtype(op_type: str, inputs: Sequence[ir.Value], attributes: Mapping[str, Any]) -> ir.DataType | None:
    if op_type in _COMPARISONS:
        return ir.DataType.BOOL
    match op_type:
        case "Cast":
            return ir.DataType(attributes["to"])
        case "Shape" | "Size":
            return ir.DataType.INT64
        case "CastLike" | "Where":
            return inputs[1].dtype
        case _:
            return inputs[0].dtype
