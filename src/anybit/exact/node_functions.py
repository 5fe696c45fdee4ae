"""NodeFunctions: how the output of a node follows from integers, by what is known of its inputs; see `Numbering`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array, is_power_of_two
from anybit.errors import Refusal
from anybit.exact.enclosures import around, between, decided, error_of_mean
from anybit.exact.integer_functions import (
    MOST_LEVELS,
    NO_AXIS,
    WIDEST,
    Enclosure,
    Function,
    Kernel,
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
    channels_behind,
    geometry_of,
    keeps_shape,
    laid_anew,
    slice_of,
    stripped,
)
from anybit.exact.runs import compressed
from anybit.exact.step_function import rising_in_floats
from anybit.exact.tensor_numbers import TensorNumbers, output_key
from anybit.exact.windows import MEANS, Windows, pads, windows_of, windows_of_mean
from anybit.graph.walk import shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.evaluate import EVALUATION_ERRORS, compiled, evaluate_node
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.quant import QUANT
from anybit.ops.quantizer_parameters import integer_bounds
from anybit.ops.registry import QUANTIZERS
from anybit.ops.zero_sign import ZeroSign
from anybit.rounding import Rounding

NUMBERED_BY_RUNS = (*QUANTIZERS, MULTI_THRESHOLD)
"""Operators whose outputs are numbered by their runs."""
_MOST_PAIRS = 1 << 22
_LONGEST = 256  # nodes that one function is composed of
_NOTHING = Root(b"", np.zeros(1), np.zeros(1))


@dataclass
class NodeFunctions:
    """How the outputs of nodes follow from integers.

    Attributes:
        tensors: What is known of their inputs.
    """

    tensors: TensorNumbers

    def followed(self, node: ir.Node) -> tuple[Function | None, Enclosure | None]:
        """How the elements of the output follow from integers, and between which functions of integers they lie."""
        ends = (*node.inputs[:1], *node.outputs[:1])
        if len(ends) < 2 or any(v is None or v.dtype != ir.DataType.FLOAT for v in ends):
            return None, None
        try:
            return self._function(node), self._enclosure(node)
        except EVALUATION_ERRORS:
            return None, None  # parameters that do not fit the channels

    def _function(self, node: ir.Node) -> Function | None:
        varying = [i for i, v in enumerate(node.inputs) if v is not None and self.tensors.constant(v) is None]
        if any(self.tensors.zero_sign_of(node, i) is ZeroSign.TOLD for i in varying):
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
        function = self.tensors.of(node.inputs[varying[0]]).function or self._floats(node.inputs[varying[0]])
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
        root = self.tensors.known_root(
            Root(digest("floats", self.tensors.of(value).key), steps.lo, steps.hi, ordinals=True)
        )
        return Function(root, steps, len(rank), 1)

    def _by_level(self, function: Function | None) -> Function | None:
        """A quantised function of floats as one of the number of the level, which rises with the float or falls."""
        runs = None if function is None else function.runs
        if function is None or runs is None:
            return None
        count = np.isfinite(runs.starts).sum(axis=0).astype(np.float64)
        axis = function.axis if function.channels > 1 else NO_AXIS
        root = self.tensors.root(
            digest("levels", function.root.key, axis, runs.starts), np.zeros(len(count)), count - 1
        )
        values = runs.values

        def level(q: Float64s) -> Array:
            places, table = np.broadcast_arrays(q.astype(np.int64)[None], values[:, None])
            return np.take_along_axis(table, places[:1], axis=0)[0]

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
        table, grid = self.tensors.constant(node.inputs[0]), self.tensors.values[node.outputs[0]].grid
        rank = shape_of(node.outputs[0])
        if table is None or not table.size or grid is None or rank is None:
            return None
        if grid.scale.size > 1 or not grid.is_centred:
            return None
        scale = grid.scale.reshape(-1)
        integers = np.rint(table.astype(np.float64) / scale) + 0.0
        if ((integers * scale).astype(table.dtype) != table).any() or np.ptp(integers) >= MOST_LEVELS:
            return None
        key = digest("rows", attributes_of(node, self.tensors.opsets), integers, self.tensors.of(node.inputs[1]).key)
        root = self.tensors.root(key, np.array([integers.min()]), np.array([integers.max()]))
        return with_runs(function_on(root, lambda q: (q * scale).astype(np.float32), rank=len(rank), rising=np.ones(1)))

    def _first_signs(self, node: ir.Node) -> Function | None:
        x, scale = node.inputs[0], self.tensors.constant(node.inputs[1])
        rank = None if x is None else shape_of(x)
        if scale is None or rank is None or scale.size != 1 or not float(scale.reshape(())) > 0:
            return None
        s = np.float32(scale.reshape(()))
        root = self.tensors.root(digest("signs", self.tensors.of(x).key), np.zeros(1), np.ones(1), 2, -np.ones(1))

        def reals(q: Float64s) -> Array:
            return root.integers(q).astype(np.float32) * s

        return with_runs(function_on(root, reals, rank=len(rank), rising=np.ones(1)))

    def _first_levels(self, node: ir.Node) -> Function | None:
        x, operator = node.inputs[0], operator_of(node, self.tensors.opsets)
        rank = None if x is None else shape_of(x)
        if operator is None or rank is None:
            return None
        call = call_of(node, operator)
        parameters = [self.tensors.constant(v) for v in node.inputs[1:4]]
        if any(p is None or not p.size for p in parameters):
            return None
        scale, zero, bits = (_uniform(np.asarray(p)) for p in parameters)
        if zero.size > 1 or bits.size > 1 or not (scale > 0).all():
            return None
        channels = channels_behind(node, 0, [None, scale], function_on(_NOTHING, np.asarray, rank=len(rank)))
        z, width = float(zero.reshape(())) + 0.0, float(bits.reshape(()))  # -0 is 0
        if channels is None or z != np.floor(z) or abs(z) >= 1 << WIDEST or not 1 <= width < WIDEST or width % 1:
            return None
        signed, narrow = bool(call.attributes["signed"]), bool(call.attributes["narrow"])
        bipolar = signed and width == 1
        low, high = (float(b) for b in integer_bounds(np.asarray(width), signed=signed, narrow=narrow))
        low, high = (-1.0, 1.0) if bipolar else (low, high)
        s = scale.astype(np.float32)
        producer = None if x is None else x.producer()
        if z <= low and producer is not None and (producer.domain, producer.op_type) == ("", "Relu"):
            x = producer.inputs[0]  # what is below zero gets the lowest level anyway
        own = self.tensors.of(x).key
        quotient = (
            own if (s == 1).all() else output_key(digest("", "Div", {}, own, digest("broadcast", stripped(s))), 0)
        )
        rounding = Rounding.parse(str(call.attributes["rounding_mode"]))
        key = digest("levels", quotient, z, low, high, bipolar, "" if bipolar else rounding.name)
        if bipolar:
            root = self.tensors.root(key, np.zeros(1), np.ones(1), 2, np.array([low - z]))
        else:
            root = self.tensors.root(key, np.array([low - z]), np.array([high - z]))
        by_channel = s.reshape(-1)
        function = function_on(
            root,
            lambda q: root.integers(q).astype(np.float32) * by_channel,
            rank=len(rank),
            axis=channels[0],
            channels=channels[1],
            rising=np.ones(1),
        )
        return with_runs(function) if high - low < MOST_LEVELS else function

    def _elementwise(self, node: ir.Node, position: int, function: Function, *, quantizes: bool) -> Function | None:
        thresholds = is_call(node, MULTI_THRESHOLD)
        if not keeps_shape(node) or not (thresholds or is_elementwise(node, position, self.tensors.opsets)):
            return None
        constants = [self.tensors.constant(v) for v in node.inputs]
        placed = channels_behind(node, position, constants, function)
        if placed is None:
            return None
        axis, channels = placed
        before, kernel = replace(function, axis=axis), compiled(node, self.tensors.opsets)
        if kernel is None or function.length >= _LONGEST:
            return None

        def apply(array: Array) -> Array:
            if thresholds and array.shape[1] < channels:  # they do not broadcast
                array = np.repeat(array, channels, axis=1)
            (result,) = kernel([before.laid(array) if i == position else c for i, c in enumerate(constants)])
            made = result.reshape(len(array), -1)
            return np.where(np.isnan(array), made.dtype.type(np.nan), made)  # BipolarQuant makes a number of NaN

        step = _slope(node) if thresholds else direction(node, position, self.tensors.opsets)
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
        product = read_product(node, self.tensors.opsets, self.tensors.values)
        x, rank = node.inputs[0], shape_of(node.outputs[0])
        kernel = None if x is None else self.tensors.operand(x)
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
        root = self.tensors.root(key, np.ceil(lo), np.floor(hi), step, offset)
        axis = 1 if is_conv else len(rank) - 1
        rising = np.sign(product.scale * factor)

        def reals(q: Float64s) -> Array:
            return product.numbers.reals(root.integers(q) * factor)

        return function_on(root, reals, rank=len(rank), axis=axis, channels=product.channels, rising=rising)

    def _enclosure(self, node: ir.Node) -> Enclosure | None:
        """What is known but for an error: the mean of levels whose scale float32 rounds, and what is made of it."""
        varying = [i for i, v in enumerate(node.inputs) if v is not None and self.tensors.constant(v) is None]
        if len(varying) != 1 or len(node.outputs) != 1 or self.tensors.zero_sign_of(node, varying[0]) is ZeroSign.TOLD:
            return None
        if node.domain == "" and node.op_type in MEANS:
            return self._enclosed_mean(node)
        if node.domain == "" and node.op_type in MOVES:
            return self._moved_enclosure(node)
        return None if is_call(node, *NUMBERED_BY_RUNS) else between(*self._ends(node, varying[0]))

    def _ends(self, node: ir.Node, position: int) -> tuple[Function | None, Function | None]:
        """What an element-wise node makes of both ends of what encloses its input."""
        before = self.tensors.of(node.inputs[position]).enclosure
        if before is None:
            return None, None
        quantizes = is_call(node, *NUMBERED_BY_RUNS)
        one, other = (self._elementwise(node, position, f, quantizes=quantizes) for f in (before.lower, before.upper))
        return one, other

    def _moved_by(self, node: ir.Node) -> Function | None:
        x, y, how = node.inputs[0], node.outputs[0], self._movement(node)
        if x is None or how is None:
            return None
        made = self.moved(x, y, how)
        return self.moved_sums(x, y, how) if made is None and node.op_type in REARRANGEMENTS else made

    def moved(self, x: ir.Value, y: ir.Value, how: tuple[object, ...]) -> Function | None:
        """The elements of a quantised tensor, moved: the levels of the moved integers."""
        kernel, rank = self.tensors.kernel(x), shape_of(y)
        root = None if kernel is None else self._moved_root(kernel, how)
        if kernel is None or root is None or rank is None:
            return None
        scale = kernel.scale

        def reals(q: Float64s) -> Array:
            return (root.integers(q) * scale).astype(np.float32)

        function = function_on(root, reals, rank=len(rank), rising=np.ones(1))
        return with_runs(function) if kernel.hi - kernel.lo < MOST_LEVELS else None

    def _moved_enclosure(self, node: ir.Node) -> Enclosure | None:
        before, rank, how = self.tensors.of(node.inputs[0]).enclosure, shape_of(node.outputs[0]), self._movement(node)
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
        return self.tensors.root(digest("moved", how, kernel.key), lo, hi, kernel.step, np.array([kernel.lo]))

    def moved_sums(self, x: ir.Value, y: ir.Value, how: tuple[object, ...]) -> Function | None:
        """Moved elements of a tensor that is no quantised one: the same function of the moved integers."""
        before, rank = self.tensors.of(x).function, shape_of(y)
        if before is None or before.runs is not None or rank is None:
            return None
        root = self.tensors.known_root(
            replace(before.root, key=digest("moved sums", how, before.axis, before.root.key))
        )
        return Function(root, before.steps, len(rank), NO_AXIS if before.channels > 1 else 1)

    def slice_ranges(self, node: ir.Node) -> Ranges | None:
        """Which elements a Slice takes; None where that is not known, and for other nodes."""
        is_slice = node.op_type == "Slice" and node.domain == ""
        return slice_of(node, [self.tensors.constant(v) for v in node.inputs]) if is_slice else None

    def _movement(self, node: ir.Node) -> tuple[object, ...] | None:
        """What decides where a node moves elements; None if its attributes do not say it."""
        attributes = attributes_of(node, self.tensors.opsets)
        if attributes is None:
            return None
        laid, ranges = laid_anew(node, lambda _: True), self.slice_ranges(node)
        if laid is not None or ranges is not None:
            return ("slice", ranges) if laid is None else laid[1]
        return (node.op_type, attributes, *(self.tensors.of(v).key for v in node.inputs[1:]))

    def _mean(self, node: ir.Node) -> Function | None:
        """The mean over windows: the sum of their integers, divided by their number.

        The scale is a power of two, so that float32 holds each level and each sum, in whatever order they are added up.
        """
        rank, averaged = shape_of(node.outputs[0]), self._averaged(node)
        if averaged is None or rank is None or not is_power_of_two(averaged[0].scale).all():
            return None
        kernel, windows = averaged
        root, scale, count = self._totals(windows, kernel), kernel.scale, windows.elements

        def reals(q: Float64s) -> Array:
            return (root.integers(q) * scale / count).astype(np.float32)

        made = function_on(root, reals, rank=len(rank), rising=np.ones(1))
        return with_runs(made) if root.hi[0] < MOST_LEVELS else made

    def _enclosed_mean(self, node: ir.Node) -> Enclosure | None:
        """The same of levels with another scale, which is known but for an error."""
        rank, averaged = shape_of(node.outputs[0]), self._averaged(node)
        if averaged is None or rank is None or is_power_of_two(averaged[0].scale).all():
            return None
        kernel, windows = averaged
        error = error_of_mean(kernel)
        share = float(kernel.scale[0]) / windows.elements
        return None if error is None else around(self._totals(windows, kernel), share, error, rank=len(rank))

    def _averaged(self, node: ir.Node) -> tuple[Kernel, Windows] | None:
        """The integers of which a node takes means, and over which windows; None where float32 does not add them up."""
        x, axes = (*node.inputs, None)[:2]
        shape, kernel = (None, None) if x is None else (shape_of(x), self.tensors.kernel(x))
        windows = None if shape is None else windows_of_mean(node, shape, self.tensors.constant(axes))
        if kernel is None or windows is None or kernel.scale.size > 1:
            return None
        exact = 0 < windows.elements * max(abs(kernel.lo), abs(kernel.hi)) <= 1 << WIDEST
        return (kernel, windows) if exact else None

    def _totals(self, windows: Windows, kernel: Kernel) -> Root:
        """What the integers of each window of a channel add up to."""
        count = windows.elements
        return self.tensors.root(
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
        return with_runs(made) if root.hi[0] < MOST_LEVELS else made

    def _pair(self, node: ir.Node) -> Function | None:
        """An element-wise function of two quantised tensors: of the number of a pair of integers."""
        first, second = (None if v is None else self.tensors.kernel(v) for v in node.inputs)
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
            results = evaluate_node(node, arrays, self.tensors.opsets)
            if results is None:
                raise ValueError(f"{node.op_type} has no reference")
            return results[0]

        root = self.tensors.root(digest("pair", lower.key, upper.key), np.zeros(1), np.array([pairs - 1]))
        return function_on(root, evaluate, rank=len(rank))


def _slope(node: ir.Node) -> Float64s | None:
    """The direction of MultiThreshold, whose count of thresholds never falls."""
    scale = node.attributes.get_float("out_scale", 1.0)
    return np.sign(np.asarray(scale)) if np.isfinite(scale) and scale != 0 else None


def _uniform(array: Array) -> Array:
    """One number in place of many equal ones."""
    first = array.reshape(-1)[0]
    return np.asarray(first) if (array == first).all() else array
