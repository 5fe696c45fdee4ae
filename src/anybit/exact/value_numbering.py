"""Numbering of a hub model's tensors: two tensors that get one key hold the same numbers, whichever model they are in.

A tensor that is computed element by element from integers (a quantised tensor, the sums of a product, a pair of
quantised tensors) is numbered by the function itself, found by trying all integers or by bisection of its steps; any
other one by its operator, attributes and inputs. Integers have no -0: where an operator tells it from +0, two inputs
count as one only if their zeros are known to have the same sign.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from anybit.exact.integer_functions import (
    MOST_LEVELS,
    Key,
    Number,
    digest,
    function_on,
    with_runs,
)
from anybit.exact.node_functions import NodeFunctions
from anybit.exact.node_identity import (
    PAIRWISE,
    attributes_of,
    bodies_of,
    is_identity,
    is_neutral,
    keeps_shape,
    laid_anew,
    parts_of,
    stripped,
)
from anybit.exact.step_function import too_large, without_domain
from anybit.exact.tensor_numbers import TensorNumbers, output_key, without_zero_signs
from anybit.graph.walk import shape_of
from anybit.ops.zero_sign import ZeroSign

_COMMUTATIVE = frozenset(("Add", "Mul"))
_DEEPEST = 4  # bodies inside bodies, each of which is numbered once for each kind of key


class _Kind(enum.Enum):
    """The keys of a tensor, see `Number`."""

    NUMBERS = enum.auto()
    STRUCTURE = enum.auto()
    BITS = enum.auto()


@dataclass
class Numbering(TensorNumbers):
    """Numbers the tensors of one hub model.

    Attributes:
        tabulate: Whether a function of integers that is not quantised is evaluated for all of them where it goes into
            an operator that is no function of them, so that two ways to compute the same numbers get one key.
    """

    tabulate: bool = False
    _scopes: dict[ir.Node, Key] = field(default_factory=dict[ir.Node, Key], init=False)
    _alike: Counter[Key] = field(default_factory=Counter[Key], init=False)
    _depth: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        graph = self.values.model.graph
        for position, value in enumerate(graph.inputs):
            key = digest("input", position, str(value.dtype), (shape_of(value) or ("unknown",))[1:])
            self.numbers[value] = self._input(value, key)
        with np.errstate(all="ignore"):  # overflow and NaN have defined results
            for node in graph:
                self._node(node)

    def _input(self, value: ir.Value, key: Key) -> Number:
        """An input; where its number format is stated, its elements are a function of the format's integers."""
        grid, rank = self.values[value].grid, shape_of(value)
        if value.dtype != ir.DataType.FLOAT or grid is None or rank is None or not grid.is_centred:
            return Number(key, key, key)
        scale = grid.scale.reshape(-1)
        root = self.root(digest("levels", key), grid.lo.reshape(-1), grid.hi.reshape(-1))
        if scale.size > 1 or root.lo.size > 1 or grid.hi.max() - grid.lo.min() >= MOST_LEVELS:
            return Number(key, key, key)
        levels = with_runs(
            function_on(root, lambda q: (q * scale).astype(np.float32), rank=len(rank), rising=np.ones(1))
        )
        return Number(levels.content() or key, key, key, levels)

    def _node(self, node: ir.Node) -> None:
        if node.op_type == "Constant" and node.domain == "":
            return
        constants = [self.constant(v) for v in node.inputs]
        if node.inputs and all(c is not None for c, v in zip(constants, node.inputs, strict=True) if v is not None):
            return  # `of` evaluates it
        if is_identity(node):
            self.numbers[node.outputs[0]] = self.of(node.inputs[0])
            return
        is_split = node.op_type == "Split" and node.domain == ""
        if not (is_split and self._split(node)):
            self._operator(node)

    def _operator(self, node: ir.Node) -> None:
        """Numbers the outputs of a node that computes something of what is not constant."""
        # It is not kept, as it refers to this object: a circle would hold the constants until garbage is collected.
        function, enclosure = NodeFunctions(self).followed(node)
        structure = self._structure(node, _Kind.STRUCTURE)
        if function is not None:
            self.functions.setdefault(structure, function)
        elif len(node.outputs) == 1:
            function = self.functions.get(structure)
        if function is None and self.tabulate:
            self._tabulate(node.inputs)
        key, bits = (self._structure(node, kind) for kind in (_Kind.NUMBERS, _Kind.BITS))
        for index, output in enumerate(node.outputs):
            keys = output_key(key, index), output_key(structure, index), output_key(bits, index)
            self.numbers[output] = Number(*keys, node=node, enclosure=enclosure)
        if not node.outputs:
            return
        own, unchanged = self.numbers[node.outputs[0]], self._unchanged(node)
        if unchanged is not None:
            same = self.of(unchanged)
            numbered = replace(own, key=same.key, function=same.function, enclosure=same.enclosure)
            self.numbers[node.outputs[0]] = numbered
        elif function is not None:
            self.numbers[node.outputs[0]] = replace(own, function=function, key=function.content() or own.key)

    def _unchanged(self, node: ir.Node) -> ir.Value | None:
        """The input whose numbers a node with a neutral operand gives; None for other nodes."""
        if len(node.inputs) != 2 or node.outputs[0].dtype != ir.DataType.FLOAT:
            return None
        operands = [self.constant(v) for v in node.inputs]
        places = [i for i, o in enumerate(operands) if o is not None and is_neutral(node, 1 - i, o)]
        return node.inputs[1 - places[0]] if places else None

    def _tabulate(self, inputs: Sequence[ir.Value | None]) -> None:
        """Keys by all their values for functions of integers that are not known as runs."""
        for value in inputs:
            function = self.of(value).function
            if value is None or function is None or function.runs is not None or without_domain(function.steps):
                continue
            if too_large(function.steps) is None:
                values = without_zero_signs(function.steps(function.steps.every()))
                axis = function.axis if function.channels > 1 else 0
                self.numbers[value] = replace(self.of(value), key=digest("table", function.root.key, axis, values))

    def _structure(self, node: ir.Node, kind: _Kind) -> Key:
        """Operator, attributes and inputs; unique where they do not say what the node computes."""
        attributes = attributes_of(node, self.opsets)
        bodies = bodies_of(node)
        if attributes is None or (bodies and self._depth == _DEEPEST):
            return digest("opaque", id(self), id(node))
        if bodies:
            inner = [self._body(node, name, graph, kind) for name, graph in bodies]
            return digest(node.domain, node.op_type, attributes, *(self._key(v, kind) for v in node.inputs), *inner)
        keys = [self._key_of_input(node, place, kind) for place in range(len(node.inputs))]
        elementwise = node.op_type in PAIRWISE and node.domain == ""
        if elementwise:
            arrays = [self.constant(v) for v in node.inputs]
            plain = stripped if keeps_shape(node) else np.asarray
            keys = [k if a is None else digest("broadcast", plain(a)) for k, a in zip(keys, arrays, strict=True)]
        if elementwise and node.op_type in _COMMUTATIVE:
            keys.sort()
        bias = self.constant(node.inputs[2]) if node.op_type == "Gemm" and len(keys) > 2 and not node.domain else None
        if bias is not None:
            keys[2] = digest("broadcast", stripped(bias))
        laid = laid_anew(node, self._is_quantized)
        if laid is not None:
            return digest(*laid[1], self._key(laid[0], kind))
        ranges = NodeFunctions(self).slice_ranges(node)
        if ranges is not None:
            return digest("slice", ranges, keys[0])
        return digest(node.domain, node.op_type, attributes, *keys)

    def _is_quantized(self, value: ir.Value) -> bool:
        function = self.of(value).function
        return function is not None and function.runs is not None

    def _body(self, node: ir.Node, name: str, graph: ir.Graph, kind: _Kind) -> Key:
        """The outputs of a graph inside a node, as functions of its inputs and of the tensors around it.

        The inputs of two bodies count as equal: they are so in every iteration if the nodes begin with equal numbers
        and the outputs of the bodies follow from equal inputs in the same way. As numbers they may differ in the sign
        of zeros, and a body that tells it has no counterpart.
        """
        scope = self._scopes.get(node)
        if scope is None:  # nodes that begin alike may go on differently: each has inputs of its own
            begin = digest("scope", node.op_type, *(self.of(v).key for v in node.inputs))
            self._alike[begin] += 1
            scope = self._scopes[node] = digest(begin, self._alike[begin])
        for position, value in enumerate(graph.inputs):
            key = digest("state", scope, name, position)
            bits = digest(key, id(self)) if kind is _Kind.NUMBERS else key
            self.numbers[value] = Number(key, key, bits)
        self._depth += 1
        for inner in graph:
            self._node(inner)
        self._depth -= 1
        return digest("body", name, *(self._key(v, kind) for v in graph.outputs))

    def _key(self, value: ir.Value | None, kind: _Kind) -> Key:
        number = self.of(value)
        match kind:
            case _Kind.NUMBERS:
                return number.key
            case _Kind.STRUCTURE:
                return number.structure
            case _Kind.BITS:
                return number.bits

    def _key_of_input(self, node: ir.Node, place: int, kind: _Kind) -> Key:
        number, sign = self.of(node.inputs[place]), self.zero_sign_of(node, place)
        match kind:
            case _Kind.NUMBERS:
                return number.bits if sign is ZeroSign.TOLD else number.key
            case _Kind.STRUCTURE:
                return digest(number.structure, number.bits) if sign is ZeroSign.TOLD else number.structure
            case _Kind.BITS:
                return number.key if sign is ZeroSign.ENDED else number.bits

    def _split(self, node: ir.Node) -> bool:
        """Numbers the parts of a tensor, each as the slice that it is; False where it is not known which they are."""
        x, parts = node.inputs[0], parts_of(node)
        if x is None or parts is None:
            return False
        for output, ranges in zip(node.outputs, parts, strict=True):
            how = ("slice", ranges)
            made = NodeFunctions(self).moved(x, output, how)
            function = NodeFunctions(self).moved_sums(x, output, how) if made is None else made
            key, structure, bits = (output_key(digest(*how, self._key(x, kind)), 0) for kind in _Kind)
            content = None if function is None else function.content()
            self.numbers[output] = Number(content or key, structure, bits, function, node)
        return True
