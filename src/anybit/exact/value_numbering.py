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

from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array, is_power_of_two
from anybit.errors import Refusal
from anybit.exact.enclosures import around, between, decided, error_of_mean
from anybit.exact.integer_functions import (
    NO_AXIS,
    Enclosure,
    Function,
    Kernel,
    Key,
    Number,
    Root,
    digest,
    function_on,
    kernel_of,
    with_runs,
)
from anybit.exact.integer_layers import PRODUCTS, IntegerProduct, read_product
from anybit.exact.monotone import direction, is_elementwise
from anybit.exact.node_identity import (
    MOVES,
    PAIRWISE,
    REARRANGEMENTS,
    Ranges,
    attributes_of,
    bodies_of,
    channels_behind,
    geometry_of,
    is_identity,
    is_neutral,
    keeps_shape,
    laid_anew,
    parts_of,
    slice_of,
    stripped,
)
from anybit.exact.runs import compressed
from anybit.exact.step_function import rising_in_floats, too_large, without_domain
from anybit.exact.windows import MEANS, Windows, pads, windows_of, windows_of_mean
from anybit.graph.walk import shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.evaluate import EVALUATION_ERRORS, compiled, evaluate_node, known_value
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.quant import QUANT
from anybit.ops.quantizer_parameters import integer_bounds
from anybit.ops.registry import QUANTIZERS
from anybit.ops.zero_sign import ZeroSign, zero_sign
from anybit.rounding import Rounding

NUMBERED_BY_RUNS = (*QUANTIZERS, MULTI_THRESHOLD)
"""Operators whose outputs are numbered by their runs."""
_COMMUTATIVE = frozenset(("Add", "Mul"))
_MOST_PAIRS = 1 << 22
_MOST_LEVELS = 1 << 16
_LONGEST = 256  # nodes that one function is composed of
_SAME_SCALE = 2.0**-40  # share by which two ways to compute a scale in float64 may be apart
_WIDEST = 24  # bits whose integers float32 holds
_DEEPEST = 4  # bodies inside bodies, each of which is numbered once for each kind of key
_NOTHING = Root(b"", np.zeros(1), np.zeros(1))


class _Kind(enum.Enum):
    """The keys of a tensor, see `Number`."""

    NUMBERS = enum.auto()
    STRUCTURE = enum.auto()
    BITS = enum.auto()


@dataclass
class Numbering:
    """Numbers the tensors of one hub model.

    Attributes:
        values: Analysis of the model.
        roots: Integers by what they are computed from; shared between the models that are compared.
        functions: Functions of integers by structure, shared likewise: a tensor that one model computes from integers
            is the same function where the other one computes it from floats in the same way.
        tabulate: Whether a function of integers that is not quantised is evaluated for all of them where it goes into
            an operator that is no function of them, so that two ways to compute the same numbers get one key.
    """

    values: Values
    roots: dict[Key, Root]
    functions: dict[Key, Function]
    tabulate: bool = False
    numbers: dict[ir.Value, Number] = field(default_factory=dict[ir.Value, Number])
    constants: dict[ir.Value, Array | None] = field(default_factory=dict[ir.Value, Array | None])
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
        root = self._root(digest("levels", key), grid.lo.reshape(-1), grid.hi.reshape(-1))
        if scale.size > 1 or root.lo.size > 1 or grid.hi.max() - grid.lo.min() >= _MOST_LEVELS:
            return Number(key, key, key)
        levels = with_runs(
            function_on(root, lambda q: (q * scale).astype(np.float32), rank=len(rank), rising=np.ones(1))
        )
        return Number(levels.content() or key, key, key, levels)

    @property
    def opsets(self) -> dict[str, int]:
        """Version by domain."""
        return self.values.model.opset_imports

    def of(self, value: ir.Value | None) -> Number:
        """The number of a tensor."""
        if value is None:
            return Number(b"absent", b"absent", b"absent")
        if value not in self.numbers:
            array = self._constant(value)
            key = bits = digest("unknown", id(self), id(value))
            if array is not None:
                key, bits = digest("constant", _without_zero_signs(array)), digest("bits", array)
            self.numbers[value] = Number(key, key, bits)
        return self.numbers[value]

    def kernel(self, value: ir.Value) -> Kernel | None:
        """The integers of a quantised tensor, all of one zero point; None if it has none."""
        function, grid = self.of(value).function, self.values[value].grid
        return None if function is None or grid is None else kernel_of(function, grid.scale.reshape(-1))

    def operand(self, value: ir.Value) -> Kernel | None:
        """The integers that a product multiplies: those of a quantised tensor, or those that a mean stands for."""
        rounded, grid = self.of(value).enclosure, self.values[value].grid
        if rounded is None or rounded.integers is None:
            return self.kernel(value)
        kernel = kernel_of(rounded.integers, np.ones(1))
        if kernel is None or grid is None or grid.scale.size > 1 or not grid.is_centred:
            return None
        units = kernel.scale * rounded.scale / grid.scale.reshape(-1)  # in which the analysis counts
        factor = np.rint(units)
        if not (np.abs(units / factor - 1) < _SAME_SCALE).all():
            return None
        return replace(kernel, scale=kernel.scale * rounded.scale, factor=int(factor[0]))

    def _constant(self, value: ir.Value | None) -> Array | None:
        if value is None:
            return None
        if value not in self.constants:
            self.constants[value] = known_value(value, self.opsets)
        return self.constants[value]

    def _node(self, node: ir.Node) -> None:
        if node.op_type == "Constant" and node.domain == "":
            return
        constants = [self._constant(v) for v in node.inputs]
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
        function, enclosure = self._followed(node)
        structure = self._structure(node, _Kind.STRUCTURE)
        if function is not None:
            self.functions.setdefault(structure, function)
        elif len(node.outputs) == 1:
            function = self.functions.get(structure)
        if function is None and self.tabulate:
            self._tabulate(node.inputs)
        key, bits = (self._structure(node, kind) for kind in (_Kind.NUMBERS, _Kind.BITS))
        for index, output in enumerate(node.outputs):
            keys = _output(key, index), _output(structure, index), _output(bits, index)
            self.numbers[output] = Number(*keys, node=node, enclosure=enclosure)
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
        operands = [self._constant(v) for v in node.inputs]
        places = [i for i, o in enumerate(operands) if o is not None and is_neutral(node, 1 - i, o)]
        return node.inputs[1 - places[0]] if places else None

    def _tabulate(self, inputs: Sequence[ir.Value | None]) -> None:
        """Keys by all their values for functions of integers that are not known as runs."""
        for value in inputs:
            function = self.of(value).function
            if value is None or function is None or function.runs is not None or without_domain(function.steps):
                continue
            if too_large(function.steps) is None:
                values = _without_zero_signs(function.steps(function.steps.every()))
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
            arrays = [self._constant(v) for v in node.inputs]
            plain = stripped if keeps_shape(node) else np.asarray
            keys = [k if a is None else digest("broadcast", plain(a)) for k, a in zip(keys, arrays, strict=True)]
        if elementwise and node.op_type in _COMMUTATIVE:
            keys.sort()
        bias = self._constant(node.inputs[2]) if node.op_type == "Gemm" and len(keys) > 2 and not node.domain else None
        if bias is not None:
            keys[2] = digest("broadcast", stripped(bias))
        laid = laid_anew(node, self._is_quantized)
        if laid is not None:
            return digest(*laid[1], self._key(laid[0], kind))
        ranges = self._slice(node)
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
            key = digest("state", scope, name, position, str(value.dtype), shape_of(value) or "unknown")
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
        number, sign = self.of(node.inputs[place]), self._zero_sign(node, place)
        match kind:
            case _Kind.NUMBERS:
                return number.bits if sign is ZeroSign.TOLD else number.key
            case _Kind.STRUCTURE:
                return digest(number.structure, number.bits) if sign is ZeroSign.TOLD else number.structure
            case _Kind.BITS:
                return number.key if sign is ZeroSign.ENDED else number.bits

    def _zero_sign(self, node: ir.Node, place: int) -> ZeroSign:
        """What the node makes of the sign of zeros of an input, which may have none."""
        value = node.inputs[place]
        known = None if value is None else self.values.tensors.get(value)
        if known is not None and ((known.lo > 0).all() or (known.hi < 0).all()):
            return ZeroSign.ENDED
        return zero_sign(node, place, self.opsets)

    def _followed(self, node: ir.Node) -> tuple[Function | None, Enclosure | None]:
        """How the elements of the output follow from integers, and between which functions of integers they lie."""
        output, first = node.outputs[0], node.inputs[0] if node.inputs else None
        if output.dtype != ir.DataType.FLOAT or first is None or first.dtype != ir.DataType.FLOAT:
            return None, None
        try:
            return self._function(node), self._enclosure(node)
        except EVALUATION_ERRORS:
            return None, None  # parameters that do not fit the channels

    def _function(self, node: ir.Node) -> Function | None:
        varying = [i for i, v in enumerate(node.inputs) if v is not None and self._constant(v) is None]
        if any(self._zero_sign(node, i) is ZeroSign.TOLD for i in varying):
            return None  # integers do not say which zero it is
        if node.domain == "" and node.op_type in PRODUCTS:
            return self._product(node)
        if node.domain == "" and node.op_type in MOVES:
            return self._first_rows(node) if varying[:1] != [0] else self._moved_by(node)
        if node.domain == "" and node.op_type in MEANS:
            return self._mean(node)
        if len(varying) == 2 == len(node.inputs) and node.domain == "" and node.op_type in PAIRWISE:
            return self._pair(node)
        if len(varying) != 1 or len(node.outputs) != 1:
            return None
        quantizes = is_call(node, *NUMBERED_BY_RUNS)
        if is_call(node, MULTI_THRESHOLD) and varying != [0]:
            return None
        known = decided(*self._ends(node, varying[0])) if quantizes else None
        if known is not None:
            return known
        function = self.of(node.inputs[varying[0]]).function or self._floats(node.inputs[varying[0]])
        made = None if function is None else self._elementwise(node, varying[0], function, quantizes=quantizes)
        if function is not None and function.root.ordinals and quantizes:
            return self._by_level(made) or self._first(node)
        return made

    def _floats(self, value: ir.Value | None) -> Function | None:
        """A tensor that is no function of integers, as the function of the ordinals of its own elements."""
        rank = None if value is None or value.dtype != ir.DataType.FLOAT else shape_of(value)
        if rank is None:
            return None
        steps = rising_in_floats(np.asarray, 1)
        root = self._known(Root(digest("floats", self.of(value).key), steps.lo, steps.hi, ordinals=True))
        return Function(root, steps, len(rank), 1)

    def _by_level(self, function: Function | None) -> Function | None:
        """A quantised function of floats as one of the number of the level, which rises with the float or falls."""
        runs = None if function is None else function.runs
        if function is None or runs is None:
            return None
        count = np.isfinite(runs.starts).sum(axis=0).astype(np.float64)
        axis = function.axis if function.channels > 1 else NO_AXIS
        root = self._root(digest("levels", function.root.key, axis, runs.starts), np.zeros(len(count)), count - 1)
        values = runs.values

        def level(q: Float64s) -> Array:
            return np.take_along_axis(values, np.broadcast_to(q, (len(q), len(count))).astype(np.int64), axis=0)

        direction = function.steps.direction
        made = function_on(
            root, level, rank=function.rank, axis=function.axis, channels=function.channels, rising=direction
        )
        return with_runs(made)

    def _first(self, node: ir.Node) -> Function | None:
        """Levels of a tensor that is no function of integers."""
        if is_call(node, QUANT):
            return self._first_levels(node)
        return self._first_signs(node) if is_call(node, BIPOLAR_QUANT) else None

    def _first_rows(self, node: ir.Node) -> Function | None:
        """Elements of a constant table of levels, chosen by indices."""
        if node.op_type != "Gather":
            return None
        table, grid = self._constant(node.inputs[0]), self.values[node.outputs[0]].grid
        rank = shape_of(node.outputs[0])
        if table is None or not table.size or grid is None or rank is None:
            return None
        if grid.scale.size > 1 or not grid.is_centred:
            return None
        scale = grid.scale.reshape(-1)
        integers = np.rint(table.astype(np.float64) / scale) + 0.0
        if ((integers * scale).astype(table.dtype) != table).any() or np.ptp(integers) >= _MOST_LEVELS:
            return None
        key = digest("rows", attributes_of(node, self.opsets), integers, self.of(node.inputs[1]).key)
        root = self._root(key, np.array([integers.min()]), np.array([integers.max()]))
        return with_runs(function_on(root, lambda q: (q * scale).astype(np.float32), rank=len(rank), rising=np.ones(1)))

    def _first_signs(self, node: ir.Node) -> Function | None:
        x, scale = node.inputs[0], self._constant(node.inputs[1])
        rank = None if x is None else shape_of(x)
        if scale is None or rank is None or scale.size != 1 or not float(scale.reshape(())) > 0:
            return None
        s = np.float32(scale.reshape(()))
        root = self._root(digest("signs", self.of(x).key), np.zeros(1), np.ones(1), 2, -np.ones(1))

        def reals(q: Float64s) -> Array:
            return root.integers(q).astype(np.float32) * s

        return with_runs(function_on(root, reals, rank=len(rank), rising=np.ones(1)))

    def _first_levels(self, node: ir.Node) -> Function | None:
        x, operator = node.inputs[0], operator_of(node, self.opsets)
        rank = None if x is None else shape_of(x)
        if operator is None or rank is None:
            return None
        call = call_of(node, operator)
        parameters = [self._constant(v) for v in node.inputs[1:4]]
        if any(p is None or not p.size for p in parameters):
            return None
        scale, zero, bits = (_uniform(np.asarray(p)) for p in parameters)
        if zero.size > 1 or bits.size > 1 or not (scale > 0).all():
            return None
        channels = channels_behind(node, 0, [None, scale], function_on(_NOTHING, np.asarray, rank=len(rank)))
        z, width = float(zero.reshape(())) + 0.0, float(bits.reshape(()))  # -0 is 0
        if channels is None or z != np.floor(z) or abs(z) >= 1 << _WIDEST or not 1 <= width < _WIDEST or width % 1:
            return None
        signed, narrow = bool(call.attributes["signed"]), bool(call.attributes["narrow"])
        bipolar = signed and width == 1
        low, high = (float(b) for b in integer_bounds(np.asarray(width), signed=signed, narrow=narrow))
        low, high = (-1.0, 1.0) if bipolar else (low, high)
        s = scale.astype(np.float32)
        producer = None if x is None else x.producer()
        if z <= low and producer is not None and (producer.domain, producer.op_type) == ("", "Relu"):
            x = producer.inputs[0]  # what is below zero gets the lowest level anyway
        own = self.of(x).key
        quotient = own if (s == 1).all() else _output(digest("", "Div", {}, own, digest("broadcast", stripped(s))), 0)
        rounding = Rounding.parse(str(call.attributes["rounding_mode"]))
        key = digest("levels", quotient, z, low, high, bipolar, "" if bipolar else rounding.name)
        if bipolar:
            root = self._root(key, np.zeros(1), np.ones(1), 2, np.array([low - z]))
        else:
            root = self._root(key, np.array([low - z]), np.array([high - z]))
        by_channel = s.reshape(-1)
        function = function_on(
            root,
            lambda q: root.integers(q).astype(np.float32) * by_channel,
            rank=len(rank),
            axis=channels[0],
            channels=channels[1],
            rising=np.ones(1),
        )
        return with_runs(function) if high - low < _MOST_LEVELS else function

    def _root(self, key: Key, lo: Float64s, hi: Float64s, step: int = 1, offset: Float64s | None = None) -> Root:
        return self._known(Root(key, lo, hi, step, np.zeros(1) if offset is None else offset))

    def _known(self, root: Root) -> Root:
        """The root of this key that another tensor has already, in either model; else this one."""
        return self.roots.setdefault(root.key, root)

    def _elementwise(self, node: ir.Node, position: int, function: Function, *, quantizes: bool) -> Function | None:
        thresholds = is_call(node, MULTI_THRESHOLD)
        if not keeps_shape(node) or not (thresholds or is_elementwise(node, position, self.opsets)):
            return None
        constants = [self._constant(v) for v in node.inputs]
        placed = channels_behind(node, position, constants, function)
        if placed is None:
            return None
        axis, channels = placed
        before, kernel = replace(function, axis=axis), compiled(node, self.opsets)
        if kernel is None or function.length >= _LONGEST:
            return None

        def apply(array: Array) -> Array:
            if thresholds and array.shape[1] < channels:  # they do not broadcast
                array = np.repeat(array, channels, axis=1)
            (result,) = kernel([before.laid(array) if i == position else c for i, c in enumerate(constants)])
            made = result.reshape(len(array), -1)
            return np.where(np.isnan(array), made.dtype.type(np.nan), made)  # BipolarQuant makes a number of NaN

        step = _slope(node) if thresholds else direction(node, position, self.opsets)
        before_it, runs = function.steps.direction, function.runs
        rising = None if step is None or before_it is None else np.broadcast_to(before_it * step.reshape(-1), channels)
        inner = function.steps.evaluate
        made = function_on(
            function.root,
            lambda q: apply(inner(q)),
            rank=function.rank,
            axis=axis,
            channels=channels,
            rising=rising,
        )
        made = replace(made, length=function.length + 1)
        if runs is not None:
            values = apply(runs.values)
            return replace(made, runs=compressed(np.broadcast_to(runs.starts, values.shape), values, runs.tried))
        return with_runs(made) if quantizes else made

    def _product(self, node: ir.Node) -> Function | None:
        product = read_product(node, self.opsets, self.values)
        x, rank = node.inputs[0], shape_of(node.outputs[0])
        kernel = None if x is None else self.operand(x)
        if isinstance(product, Refusal) or kernel is None or rank is None:
            return None
        is_conv = node.op_type == "Conv"
        by_channel = product.weights if is_conv else product.weights.T
        flat = by_channel.reshape(product.channels, -1).astype(np.int64)
        common = np.maximum(np.gcd.reduce(flat, axis=1), 1)
        first = np.take_along_axis(flat, (flat != 0).argmax(axis=1)[:, None], axis=1)[:, 0]
        common = np.where(first < 0, -common, common)
        geometry = geometry_of(node, product) if is_conv else ("matmul",)
        key = digest("sums", geometry, kernel.key, (flat // common[:, None]).reshape(by_channel.shape))
        # read_product counts in units of the analysis's grid, the kernel in units without a common factor
        factor = common * kernel.factor
        ends = product.lo / factor, product.hi / factor
        step, offset = 1, np.zeros(1)
        if is_conv and (flat == common[:, None]).all():
            totals = self._sums_of_windows(product, kernel, factor)
            if totals is not None:
                return totals
        if kernel.step > 1 and not pads(node):
            step, offset = kernel.step, kernel.lo * (flat // common[:, None]).sum(axis=1) % kernel.step
        lo, hi = (np.minimum(*ends) - offset) / step, (np.maximum(*ends) - offset) / step
        root = self._root(key, np.ceil(lo), np.floor(hi), step, offset)
        axis = 1 if is_conv else len(rank) - 1
        rising = np.sign(product.scale * factor)

        def reals(q: Float64s) -> Array:
            return product.numbers.reals(root.integers(q) * factor)

        return function_on(root, reals, rank=len(rank), axis=axis, channels=product.channels, rising=rising)

    def _enclosure(self, node: ir.Node) -> Enclosure | None:
        """What is known but for an error: the mean of levels whose scale float32 rounds, and what is made of it."""
        varying = [i for i, v in enumerate(node.inputs) if v is not None and self._constant(v) is None]
        if len(varying) != 1 or len(node.outputs) != 1 or self._zero_sign(node, varying[0]) is ZeroSign.TOLD:
            return None
        if node.domain == "" and node.op_type in MEANS:
            return self._enclosed_mean(node)
        if node.domain == "" and node.op_type in MOVES:
            return self._moved_enclosure(node)
        return None if is_call(node, *NUMBERED_BY_RUNS) else between(*self._ends(node, varying[0]))

    def _ends(self, node: ir.Node, position: int) -> tuple[Function | None, Function | None]:
        """What an element-wise node makes of both ends of what encloses its input."""
        before = self.of(node.inputs[position]).enclosure
        if before is None:
            return None, None
        quantizes = is_call(node, *NUMBERED_BY_RUNS)
        one, other = (self._elementwise(node, position, f, quantizes=quantizes) for f in (before.lower, before.upper))
        return one, other

    def _moved_by(self, node: ir.Node) -> Function | None:
        x, y, how = node.inputs[0], node.outputs[0], self._movement(node)
        if x is None or how is None:
            return None
        made = self._moved(x, y, how)
        return self._moved_sums(x, y, how) if made is None and node.op_type in REARRANGEMENTS else made

    def _moved(self, x: ir.Value, y: ir.Value, how: tuple[object, ...]) -> Function | None:
        kernel, rank = self.kernel(x), shape_of(y)
        root = None if kernel is None else self._moved_root(kernel, how)
        if kernel is None or root is None or rank is None:
            return None
        scale = kernel.scale

        def reals(q: Float64s) -> Array:
            return (root.integers(q) * scale).astype(np.float32)

        function = function_on(root, reals, rank=len(rank), rising=np.ones(1))
        return with_runs(function) if kernel.hi - kernel.lo < _MOST_LEVELS else None

    def _moved_enclosure(self, node: ir.Node) -> Enclosure | None:
        before, rank, how = self.of(node.inputs[0]).enclosure, shape_of(node.outputs[0]), self._movement(node)
        kernel = None if before is None or before.integers is None else kernel_of(before.integers, np.ones(1))
        root = None if kernel is None or how is None else self._moved_root(kernel, how)
        if before is None or kernel is None or root is None or rank is None:
            return None
        return around(root, float(kernel.scale[0]) * before.scale, before.error, rank=len(rank))

    def _moved_root(self, kernel: Kernel, how: tuple[object, ...]) -> Root | None:
        """The integers of a tensor whose elements are moved, if one scale holds for all of them."""
        if kernel.scale.size > 1:
            return None
        lo, hi = np.array([0.0]), np.array([(kernel.hi - kernel.lo) / kernel.step])
        return self._root(digest("moved", how, kernel.key), lo, hi, kernel.step, np.array([kernel.lo]))

    def _moved_sums(self, x: ir.Value, y: ir.Value, how: tuple[object, ...]) -> Function | None:
        """Moved elements of a tensor that is no quantised one: the same function of the moved integers."""
        before, rank = self.of(x).function, shape_of(y)
        if before is None or before.runs is not None or rank is None:
            return None
        root = self._known(replace(before.root, key=digest("moved sums", how, before.axis, before.root.key)))
        return Function(root, before.steps, len(rank), NO_AXIS if before.channels > 1 else 1)

    def _split(self, node: ir.Node) -> bool:
        """Numbers the parts of a tensor, each as the slice that it is; False where it is not known which they are."""
        x, parts = node.inputs[0], parts_of(node)
        if x is None or parts is None:
            return False
        for output, ranges in zip(node.outputs, parts, strict=True):
            how = ("slice", ranges)
            made = self._moved(x, output, how)
            function = self._moved_sums(x, output, how) if made is None and output.dtype == ir.DataType.FLOAT else made
            key, structure, bits = (_output(digest(*how, self._key(x, kind)), 0) for kind in _Kind)
            content = None if function is None else function.content()
            self.numbers[output] = Number(content or key, structure, bits, function, node)
        return True

    def _slice(self, node: ir.Node) -> Ranges | None:
        is_slice = node.op_type == "Slice" and node.domain == ""
        return slice_of(node, [self._constant(v) for v in node.inputs]) if is_slice else None

    def _movement(self, node: ir.Node) -> tuple[object, ...] | None:
        """What decides where a node moves elements; None if its attributes do not say it."""
        attributes = attributes_of(node, self.opsets)
        if attributes is None:
            return None
        laid, ranges = laid_anew(node, lambda _: True), self._slice(node)
        if laid is not None or ranges is not None:
            return ("slice", ranges) if laid is None else laid[1]
        return (node.op_type, attributes, *(self.of(v).key for v in node.inputs[1:]))

    def _mean(self, node: ir.Node) -> Function | None:
        """The mean over windows: the sum of their integers, divided by their number.

        The scale is a power of two, so that float32 holds each level and each sum, in whatever order they are added up.
        """
        rank, kernel, windows = shape_of(node.outputs[0]), *self._averaged(node)
        if kernel is None or windows is None or rank is None or not is_power_of_two(kernel.scale).all():
            return None
        root, scale, count = self._totals(windows, kernel), kernel.scale, windows.elements

        def reals(q: Float64s) -> Array:
            return (root.integers(q) * scale / count).astype(np.float32)

        made = function_on(root, reals, rank=len(rank), rising=np.ones(1))
        return with_runs(made) if root.hi[0] < _MOST_LEVELS else made

    def _enclosed_mean(self, node: ir.Node) -> Enclosure | None:
        """The same of levels with another scale, which is known but for an error."""
        rank, kernel, windows = shape_of(node.outputs[0]), *self._averaged(node)
        if kernel is None or windows is None or rank is None or is_power_of_two(kernel.scale).all():
            return None
        error = error_of_mean(kernel)
        share = float(kernel.scale[0]) / windows.elements
        return None if error is None else around(self._totals(windows, kernel), share, error, rank=len(rank))

    def _averaged(self, node: ir.Node) -> tuple[Kernel | None, Windows | None]:
        """The integers of which a node takes means, and over which windows; None where float32 does not add them up."""
        x, axes = (*node.inputs, None)[:2]
        shape, kernel = (None, None) if x is None else (shape_of(x), self.kernel(x))
        windows = None if shape is None else windows_of_mean(node, shape, self._constant(axes))
        if kernel is None or windows is None or kernel.scale.size > 1:
            return None, None
        exact = 0 < windows.elements * max(abs(kernel.lo), abs(kernel.hi)) <= 1 << _WIDEST
        return (kernel, windows) if exact else (None, None)

    def _totals(self, windows: Windows, kernel: Kernel) -> Root:
        """What the integers of each window of a channel add up to."""
        count = windows.elements
        return self._root(
            digest("total", windows, kernel.key),
            np.zeros(1),
            np.array([count * (kernel.hi - kernel.lo) / kernel.step]),
            kernel.step,
            np.array([count * kernel.lo]),
        )

    def _sums_of_windows(self, product: IntegerProduct, kernel: Kernel, factor: Float64s) -> Function | None:
        """A convolution that adds up the elements of each window of a channel, as a mean does before it divides."""
        node, weights = product.product, product.weights
        x = node.inputs[0]
        shape = None if x is None else shape_of(x)
        if shape is None or shape[1] != product.channels or weights.shape[1] != 1 or kernel.scale.size > 1:
            return None
        if (factor != factor[0]).any() or (product.scale != product.scale[0]).any() or product.bias is not None:
            return None
        windows = windows_of(node, weights.shape[2:], shape[2:])
        if windows is None:
            return None
        root = self._totals(windows, kernel)

        def reals(q: Float64s) -> Array:
            return product.numbers.reals(root.integers(q) * factor)[:, :1]

        made = function_on(root, reals, rank=len(shape), rising=np.sign(product.scale[:1] * factor[:1]))
        return with_runs(made) if root.hi[0] < _MOST_LEVELS else made

    def _pair(self, node: ir.Node) -> Function | None:
        """An element-wise function of two quantised tensors: of the number of a pair of integers."""
        first, second = (None if v is None else self.kernel(v) for v in node.inputs)
        rank = shape_of(node.outputs[0])
        if first is None or second is None or rank is None or first.scale.size + second.scale.size > 2:
            return None
        lower, upper = (first, second) if first.key <= second.key else (second, first)
        count = (upper.hi - upper.lo) // upper.step + 1
        pairs = ((lower.hi - lower.lo) // lower.step + 1) * count
        if pairs > _MOST_PAIRS:
            return None

        def evaluate(q: Float64s) -> Array:
            of_pair = {lower: lower.lo + lower.step * (q // count), upper: upper.lo + upper.step * (q % count)}
            arrays = [(of_pair[k] * k.scale).astype(np.float32) for k in (first, second)]
            results = evaluate_node(node, arrays, self.opsets)
            if results is None:
                raise ValueError(f"{node.op_type} has no reference")
            return results[0]

        root = self._root(digest("pair", lower.key, upper.key), np.zeros(1), np.array([pairs - 1]))
        return function_on(root, evaluate, rank=len(rank))


def _without_zero_signs(array: Array) -> Array:
    """The same numbers, with +0 in place of -0."""
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        return array + np.zeros((), array.dtype) if array.dtype.kind == "f" else array


def _slope(node: ir.Node) -> Float64s | None:
    """The direction of MultiThreshold, whose count of thresholds never falls."""
    scale = node.attributes.get_float("out_scale", 1.0)
    return np.sign(np.asarray(scale)) if np.isfinite(scale) and scale != 0 else None


def _output(key: Key, index: int) -> Key:
    """The key of one output of a node."""
    return digest(key, index)


def _uniform(array: Array) -> Array:
    """One number in place of many equal ones."""
    first = array.reshape(-1)[0]
    return np.asarray(first) if (array == first).all() else array
