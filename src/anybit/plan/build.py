"""plan_of: the integer plan of a model, from its layers and the step functions behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.arguments import checked
from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.set_batch import SetBatch
from anybit.errors import InvalidModelError, Refusal, UnsupportedError
from anybit.exact.chain import Chain, chain_of, is_private, thresholded
from anybit.exact.integer_layers import PRODUCTS, IntegerProduct, read_product
from anybit.exact.monotone import is_elementwise
from anybit.exact.numbers import Floats, Integers
from anybit.exact.thresholds import steps_of
from anybit.formats.convert import to_hub
from anybit.formats.thresholds import moves
from anybit.formats.thresholds.numbers import has_one_sign, inexact, is_scaled_exactly
from anybit.formats.thresholds.rows import SAME, is_open
from anybit.graph.attributes import values_of_attributes
from anybit.graph.walk import label, reads
from anybit.io.load import ModelSource
from anybit.ops.calls import is_call, traits_of
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.registry import QUANTIZERS
from anybit.ops.zero_sign import tensors_of_told_zeros
from anybit.plan import reals
from anybit.plan.epilogues import epilogue_of, float_thresholds
from anybit.plan.finish import finished
from anybit.plan.geometry import Layout, layout_of, moved_index, sample_shape, window_of
from anybit.plan.held import Held, behind, elementwise, function_of, paired
from anybit.plan.plan import (
    Compare,
    Dequantize,
    Element,
    Join,
    LookUp,
    Move,
    PairTable,
    Plan,
    Pool,
    PoolKind,
    Port,
    Product,
    Quantize,
    Requantize,
    Softmax,
    Step,
    Table,
    Tensor,
    Window,
)

_BYTES = 256
_AVERAGES, _MAXIMA = frozenset(("AveragePool", "GlobalAveragePool")), frozenset(("MaxPool", "GlobalMaxPool"))
_NOT_ALL = "not all of the model is carried by integers of a byte"
_MOST_TABLE = 1 << 22  # bytes of a table of pairs
_MOST_NUMBERS = 1 << 20  # of a table of reals
_LARGEST = float((1 << 31) - 1)
_SIGNED = (-128.0, 127.0)
_SOFTMAX_BY_AXIS = 13  # version from which on it is over one axis


@checked
def plan_of(model: ModelSource) -> Plan:
    """The integer plan of a model: of all of it, or of the part between a float head and a float tail.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``, in any dialect that is read.

    Raises:
        UnsupportedError: No layer of it is carried by integers of 8 bits or less.
    """
    hub, _ = to_hub(model)
    InferShapes()(hub)
    SetBatch("batch")(hub)
    return plan_of_prepared(hub)


def plan_of_prepared(model: ir.Model, *, whole: bool = False) -> Plan:
    """The same for a hub model without model-local functions whose shapes are known and whose batch is free.

    Args:
        model: The model.
        whole: Whether nothing is gained unless every node is carried: the search ends at the first that is not.

    Raises:
        UnsupportedError: As `plan_of`; if `whole`, a node is not carried.
    """
    if whole:
        _require_steps(model)
    builder = _Builder(model, values_of(model), whole=whole)
    builder.walk()
    builder.expose_outputs()
    return builder.plan()


def _require_steps(model: ir.Model) -> None:
    """Refuses a model with an operator that no plan carries, which can be told before anything is known of it."""
    known = PRODUCTS | moves.MOVES | _AVERAGES | _MAXIMA | {"Concat", "Softmax"}
    varying: set[ir.Value] = set(model.graph.inputs)
    for node in model.graph:
        if varying.isdisjoint(reads(node)):
            continue
        varying.update(node.outputs)
        positions = [i for i, v in enumerate(node.inputs) if v in varying]
        if node.domain != "" or node.op_type in known or len(positions) == 2:
            continue
        if len(positions) != 1 or not is_elementwise(node, positions[0], model.opset_imports):
            raise UnsupportedError(_NOT_ALL, node=label(node), got=node.op_type)


@dataclass
class _Builder:
    """The walk over a model that follows integers from quantiser to quantiser.

    Attributes:
        model: Hub model.
        values: Its analysis.
        tensors: Tensors of the plan.
        steps: Steps of the plan.
        held: Tensors of the model that the plan holds.
        inputs: Reals that the plan reads, by tensor of the model.
        outputs: Reals that it makes, likewise.
        refusals: Why nodes are no part of it.
        whole: Whether a node that is no part of it ends the walk.
    """

    model: ir.Model
    values: Values
    tensors: list[Tensor] = field(default_factory=list[Tensor])
    steps: list[Step] = field(default_factory=list[Step])
    held: dict[ir.Value, Held] = field(default_factory=dict[ir.Value, Held])
    inputs: dict[ir.Value, Port] = field(default_factory=dict[ir.Value, Port])
    outputs: dict[ir.Value, Port] = field(default_factory=dict[ir.Value, Port])
    refusals: dict[ir.Node, Refusal] = field(default_factory=dict[ir.Node, Refusal])
    whole: bool = False
    _behind: set[ir.Value] = field(default_factory=set[ir.Value])
    _clipped: set[ir.Value] = field(default_factory=set[ir.Value])

    def __post_init__(self) -> None:
        self._opsets = self.model.opset_imports
        self._told = tensors_of_told_zeros(self.model)
        self._varying: set[ir.Value] = set(self.model.graph.inputs)
        self._rules: dict[str, Callable[[ir.Node], Refusal | None]] = {
            **dict.fromkeys(PRODUCTS, self._product),
            **dict.fromkeys(moves.MOVES, self._move),
            **dict.fromkeys(_AVERAGES, self._average),
            **dict.fromkeys(_MAXIMA, self._max_pool),
            "Concat": self._concat,
            "Clip": self._clip,
        }

    # --- the walk

    def walk(self) -> None:
        """Follows every node that depends on an input."""
        for node in self.model.graph:
            if self._varying.isdisjoint(reads(node)):
                continue
            self._varying.update(node.outputs)
            found = self._node(node)
            if found is not None and self.whole and node.op_type != "Softmax":  # which may be the last step
                raise UnsupportedError(_NOT_ALL, got=str(found))
            if found is not None:
                self._leave(node, found)

    def _leave(self, node: ir.Node, refusal: Refusal) -> None:
        """Leaves a node to the float part; what is behind integers as well cannot be an input of the plan."""
        self.refusals[node] = refusal
        if any(v in self._behind or self._is_integer(v) for v in reads(node)):
            self._behind.update(node.outputs)

    def _is_integer(self, value: ir.Value) -> bool:
        held = self.held.get(value)
        return held is not None and held.tensor >= 0

    def _node(self, node: ir.Node) -> Refusal | None:
        if any(o in self._told for o in node.outputs):
            return Refusal(problem="its zeros are told apart by their sign", node=label(node))
        if is_call(node, *QUANTIZERS, MULTI_THRESHOLD):
            return self._quantizer(node)
        if node.domain != "":
            return Refusal(problem="no step of a plan", node=label(node), got=f"{node.domain}::{node.op_type}")
        return self._rules.get(node.op_type, self._elementwise)(node)

    # --- element by element

    def _held_or_real(self, value: ir.Value | None) -> Held | Refusal:
        known = None if value is None else self.held.get(value)
        if known is not None:
            return known
        layout = None if value is None else layout_of(value)
        if value is None or layout is None or value.dtype != ir.DataType.FLOAT:
            return Refusal(problem="a tensor of unknown shape, or not of float32", node=_named(value))
        return Held((chain_of(Floats(value)),), -1, layout)

    def _elementwise(self, node: ir.Node) -> Refusal | None:
        positions = [i for i, v in enumerate(node.inputs) if v is not None and v in self._varying]
        if len(positions) == 2 and len(node.inputs) == 2 and traits_of(node, self._opsets).broadcasting:
            return self._pair(node)
        if len(positions) != 1 or len(node.outputs) != 1:
            return Refusal(problem="no step of a plan", node=label(node), got=node.op_type)
        held = self._held_or_real(node.inputs[positions[0]])
        found = held if isinstance(held, Refusal) else elementwise(held, node, positions[0], self._opsets)
        return self._keep(node, found)

    def _pair(self, node: ir.Node) -> Refusal | None:
        first, second = node.inputs
        if first is None or second is None or sample_shape(first) != sample_shape(second):
            return Refusal(problem="it broadcasts one of two tensors", node=label(node))
        for positions in ((0, 1), (1, 0)):
            selector, numbers = (self.held.get(v) for v in (node.inputs[i] for i in positions) if v is not None)
            if selector is None or numbers is None or numbers.tensor < 0 or numbers.selector is not None:
                continue
            levels = self._levels_of(node.inputs[positions[0]])
            if isinstance(levels, Held) and self.tensors[levels.tensor].element is Element.BYTE:
                byte = self.tensors[levels.tensor]
                numbers = self._relaid(numbers, levels.layout, node)
                if isinstance(numbers, Refusal):
                    return numbers
                found = paired(levels, numbers, node, positions, byte.hi + 1, byte.zero, self._opsets)
                return self._keep(node, found)
        return Refusal(problem="neither of two tensors is one of levels", node=label(node), hint="quantise one of them")

    def _keep(self, node: ir.Node, found: Held | Refusal) -> Refusal | None:
        if isinstance(found, Refusal):
            return found
        self.held[node.outputs[0]] = found
        return None

    # --- levels

    def _quantizer(self, node: ir.Node) -> Refusal | None:
        if is_call(node, FLOAT_QUANT):
            return Refusal(problem="minifloats are no levels of integers", node=label(node))
        x = node.inputs[0]
        held = self._held_or_real(x)
        if isinstance(held, Refusal):
            return held
        if held.tensor < 0 and _source_of(held) in self._behind:
            return Refusal(problem="it quantises what is behind a part that is no plan", node=label(node))
        if is_call(node, MULTI_THRESHOLD):
            longer = behind(held, node, lambda chain: thresholded(chain, node, self._opsets))
        else:
            longer = elementwise(held, node, 0, self._opsets)
        if isinstance(longer, Held) and self._is_clipped(node):
            self._clipped.add(node.outputs[0])
            return self._keep(node, longer)
        found = longer if isinstance(longer, Refusal) else self._levels(node.outputs[0], node, longer)
        return self._keep(node, found)

    def _is_clipped(self, node: ir.Node) -> bool:
        """Whether a quantiser has more levels than a byte holds, and a Clip alone reads them."""
        value = node.outputs[0]
        grid, users = self.values[value].grid, [user for user, _ in value.uses()]
        if grid is None or grid.hi.max() - grid.lo.min() < _BYTES or value.is_graph_output() or len(users) != 1:
            return False
        return users[0].domain == "" and users[0].op_type == "Clip" and users[0].inputs[0] is value

    def _clip(self, node: ir.Node) -> Refusal | None:
        """A Clip, behind which the levels of a quantiser are those of a byte."""
        x = node.inputs[0]
        if x is None or x not in self._clipped:
            return self._elementwise(node)
        held = elementwise(self.held[x], node, 0, self._opsets)
        return self._keep(node, held if isinstance(held, Refusal) else self._levels(node.outputs[0], node, held))

    def _levels(self, value: ir.Value, node: ir.Node, held: Held) -> Held | Refusal:
        """Makes the bytes of a tensor on a grid."""
        grid = self.values[value].grid
        centred = None if grid is None else grid.centred()
        if grid is None or centred is None:
            return Refusal(problem="its levels are no integers", node=label(node), expected="whole zero points")
        scale = centred.scale.reshape(-1)
        if scale.size > 1 and held.channels != scale.size:
            return Refusal(problem="a scale that is not one by channel", node=label(node))
        lo, hi = int(centred.lo.min()), int(centred.hi.max())
        if hi - lo >= _BYTES:
            return Refusal(problem="more levels than a byte holds", node=label(node), got=str(hi - lo + 1))
        zero = -lo if lo < 0 or hi >= _BYTES else 0
        y = Tensor(str(value.name), held.layout.elements, Element.BYTE, zero, lo + zero, hi + zero)
        made = self._bytes(held, scale, y, node)
        if isinstance(made, Refusal):
            return made
        step, y = made
        index = self._add(y)
        self.steps.append(replace(step, y=index))
        axis = next((c.axis for c in held.chains if c.channels > 1), None) if scale.size > 1 else None
        lo, hi = (np.full(1, float(n - y.zero)) for n in (y.lo, y.hi))
        return Held((chain_of(Integers(value, axis, scale, lo, hi)),), index, held.layout)

    def _bytes(self, held: Held, scale: Any, y: Tensor, node: ir.Node) -> tuple[Any, Tensor] | Refusal:
        """The step that makes bytes of reals, of sums or of other bytes, and the bytes."""
        root, channels = held.root, held.layout.channels
        if isinstance(root, Floats):
            return self._quantized(held, scale, y, node)
        source = self.tensors[held.tensor]
        made, selected = function_of(held, scale, node), len(held.chains)
        if source.element is Element.BYTE:
            if (source.hi - source.lo + 1) * made.channels > _MOST_TABLE:
                return Refusal(problem="too large a table", node=label(node))
            levels = np.arange(source.lo, source.hi + 1)
            values = made((levels - source.zero).astype(np.float64)[:, None])
            if np.isnan(values).any():
                return Refusal(problem="a level of no number", node=label(node))
            table = np.full((made.channels // selected, selected, _BYTES), y.lo, np.uint8)
            stored = np.clip(values + y.zero, y.lo, y.hi).reshape(len(levels), selected, -1)
            table[:, :, source.lo : source.hi + 1] = stored.transpose(2, 1, 0)
            if held.selector is None:
                return Table(held.tensor, -1, channels, np.ascontiguousarray(table[:, 0])), y
            pairs = np.ascontiguousarray(table[:, :, : source.hi + 1])
            return PairTable(held.selector, held.tensor, -1, channels, pairs), y
        steps = steps_of(made)
        if isinstance(steps, Refusal):
            return steps
        if (
            isinstance(root, Integers)
            and not root.is_exact
            and (selected > 1 or is_open(held.chains[0], root, made, np.broadcast_to(scale, made.channels)))
        ):
            return Refusal(
                problem="float rounding before it decides between two levels",
                node=label(node),
                hint="use a scale that is a power of two, or Trunc",
            )
        epilogue = epilogue_of(steps, selected, y, channels, label(node))
        if isinstance(epilogue, Refusal):
            return epilogue
        return Requantize(held.tensor, -1, channels, epilogue, held.selector), y

    def _quantized(self, held: Held, scale: Any, y: Tensor, node: ir.Node) -> tuple[Any, Tensor] | Refusal:
        """The step that makes bytes of reals: the graph's own arithmetic, or thresholds."""
        source, layout = _source_of(held), held.layout
        port = self._input(source, layout)
        if isinstance(port, Refusal):
            return port
        found = reals.quantizer_of(held.chains[0], self.model)
        if found is not None:
            steps, quantizer = found
            lo, hi, zero = (int(n) for n in (quantizer.lo, quantizer.hi, quantizer.zero_point))
            bytes_ = replace(y, zero=zero - lo, lo=0, hi=hi - lo)
            own, zeros = np.asarray(quantizer.scale, np.float32).reshape(-1), np.full(1, zero, np.float32)
            return Quantize(port, -1, layout.channels, layout.channels_first, steps, own, zeros, lo, hi), bytes_
        known = steps_of(function_of(held, scale, node))
        if isinstance(known, Refusal):
            return known
        lo = int(known.first.min())
        hi = int((known.first + np.isfinite(known.thresholds).sum(axis=1)).max())
        if hi - lo >= _BYTES:
            return Refusal(problem="more levels than a byte holds", node=label(node), got=str(hi - lo + 1))
        zero = -lo if lo < 0 or hi >= _BYTES else 0  # of all reals: the grid holds those alone that occur
        y = replace(y, zero=zero, lo=lo + zero, hi=hi + zero)
        base, step, thresholds = float_thresholds(known, zero)
        return Compare(port, -1, layout.channels, layout.channels_first, base, step, thresholds), y

    def _input(self, source: ir.Value, layout: Layout) -> int | Refusal:
        if source not in self.inputs:
            shape = sample_shape(source)
            if shape is None:
                return Refusal(problem="a tensor of unknown shape", node=_named(source))
            index = self._add(Tensor(str(source.name), layout.elements, Element.REAL))
            self.inputs[source] = Port(str(source.name), index, shape)
        return self.inputs[source].tensor

    def _levels_of(self, value: ir.Value | None) -> Held | Refusal:
        """A tensor as plain numbers, made where a function stands behind it."""
        held = None if value is None else self.held.get(value)
        if value is None or held is None or held.tensor < 0:
            return Refusal(problem="a tensor that no integers stand for", node=_named(value))
        if held.plain is not None and held.plain.bias is None:
            return held
        node = value.producer()
        if node is None:
            return Refusal(problem="nothing makes it", node=_named(value))
        made = self._levels(value, node, held)
        if isinstance(made, Held):
            self.held[value] = made
        return made

    # --- sums

    def _product(self, node: ir.Node) -> Refusal | None:
        product = read_product(node, self._opsets, self.values)
        if isinstance(product, Refusal):
            return product
        held = self._levels_of(node.inputs[0])
        if isinstance(held, Refusal):
            return replace(held, node=label(node))
        byte, numbers = self.tensors[held.tensor], held.plain
        if numbers is None:
            return Refusal(problem="its input is no tensor of levels", node=label(node))
        own = product.x.scale.reshape(-1)
        if (numbers.unit.size > 1 < own.size != numbers.unit.size) or (np.abs(numbers.unit / own - 1) > SAME).any():
            return Refusal(problem="its input has another scale than its integers", node=label(node))
        if product.weights.min(initial=0) < _SIGNED[0] or product.weights.max(initial=0) > _SIGNED[1]:
            return Refusal(problem="weights of more than 8 bits", node=label(node))
        placed = self._placed(product, held)
        if isinstance(placed, Refusal):
            return placed
        held, window, group, weights, layout = placed
        if held.tensor >= 0 and not 0 <= self.tensors[held.tensor].zero < _BYTES:
            return Refusal(problem="levels among which 0 is none", node=label(node))
        magnitudes = np.abs(weights).reshape(len(weights), -1).sum(axis=1)
        largest = 2 * max(abs(byte.lo), byte.hi, _BYTES)
        if float(magnitudes.max(initial=0)) * largest >= _LARGEST:
            return Refusal(problem="sums of more than 32 bits", node=label(node))
        zero = self.tensors[held.tensor].zero
        offset = -zero * weights.reshape(len(weights), -1).sum(axis=1)
        y = self._add(
            Tensor(
                str(node.outputs[0].name), layout.elements, Element.SUM, 0, int(product.lo.min()), int(product.hi.max())
            )
        )
        self.steps.append(
            Product(
                held.tensor,
                y,
                window,
                group,
                np.ascontiguousarray(weights, np.int8),
                offset.astype(np.int32),
                product.lo.astype(np.int32),
                product.hi.astype(np.int32),
                bits=_bits(weights),
            )
        )
        self.held[node.outputs[0]] = Held((chain_of(product.numbers),), y, layout)
        return None

    def _placed(self, product: IntegerProduct, held: Held) -> tuple[Held, Window, int, Any, Layout] | Refusal:
        """The operands of a product as a plan lays them."""
        node = product.product
        shape, output = held.layout.shape, sample_shape(node.outputs[0])
        if output is None or 0 in output:
            return Refusal(problem="a tensor of unknown shape, or an empty one", node=label(node))
        if node.op_type != "Conv":
            rows = held.layout.elements // shape[-1]
            laid = self._relaid(held, Layout(shape, channels_last=False), node)
            if isinstance(laid, Refusal):
                return laid
            window = Window(size=(rows, 1), output=(rows, 1))
            weights = product.weights.T.reshape(product.channels, 1, 1, -1)
            return laid, window, 1, weights, Layout(output, channels_last=False)
        attributes = values_of_attributes(node)
        window = window_of(node, shape, product.weights.shape[2:], attributes)
        if isinstance(window, Refusal):
            return window
        laid = self._relaid(held, Layout(shape, channels_last=True), node)
        if isinstance(laid, Refusal):
            return laid
        weights = product.weights.reshape(*product.weights.shape[:2], *window.kernel).transpose(0, 2, 3, 1)
        return laid, window, int(attributes.get("group", 1)), weights, Layout(output, channels_last=True)

    def _average(self, node: ir.Node) -> Refusal | None:
        x, output = node.inputs[0], node.outputs[0]
        held, found = self._levels_of(x), moves.window_of(node)
        if isinstance(held, Refusal):
            return held
        if isinstance(found, Refusal):
            return found
        numbers, byte = held.plain, self.tensors[held.tensor]
        kernel, given = found
        attributes = {n: a.value for n, a in given.items()}
        window = window_of(node, held.layout.shape, kernel, attributes)
        if isinstance(window, Refusal):
            return window
        laid = self._relaid(held, Layout(held.layout.shape, channels_last=True), node)
        if numbers is None or byte.element is not Element.BYTE or isinstance(laid, Refusal):
            return Refusal(problem="a mean of what are no levels of a byte", node=label(node))
        count, shape = int(np.prod(kernel)), sample_shape(output)
        lo, hi = (np.minimum(numbers.lo * count, 0), np.maximum(numbers.hi * count, 0))
        sums = replace(
            numbers, value=output, lo=lo, hi=hi, divisor=numbers.divisor * count, parity=None, mac=None, total=None
        )
        if not is_scaled_exactly(numbers):
            magnitude = float(np.maximum(-lo, hi).max())
            one_sign = has_one_sign(numbers)
            sums = inexact(sums, magnitude=magnitude, relative=0.0, steps=0.0, one_sign=one_sign)
        if shape is None:
            return Refusal(problem="a tensor of unknown shape", node=label(node))
        layout = Layout(shape, channels_last=True)
        ends = int(lo.min()), int(hi.max())
        y = self._add(Tensor(str(output.name), layout.elements, Element.SUM, 0, *ends))
        self.steps.append(Pool(laid.tensor, y, PoolKind.SUM, layout.channels, window))
        self.held[output] = Held((chain_of(sums),), y, layout)
        return None

    # --- movement

    def _max_pool(self, node: ir.Node) -> Refusal | None:
        x = node.inputs[0]
        held = None if x is None else self.held.get(x)
        if x is None or held is None or held.tensor < 0 or len(node.outputs) > 1:
            return Refusal(problem="the largest of what no integers stand for", node=label(node))
        chain = held.chains[0]
        if held.selector is not None or chain.rising is None or (chain.rising < 0).any():
            made = self._levels_of(x)
            if isinstance(made, Refusal):
                return made
            held = made
        root, shape = held.chains[0].root, sample_shape(node.outputs[0])
        attributes = values_of_attributes(node)
        kernel = held.layout.shape[1:] if node.op_type == "GlobalMaxPool" else attributes["kernel_shape"]
        window = window_of(node, held.layout.shape, kernel, attributes)
        laid = self._relaid(held, Layout(held.layout.shape, channels_last=True), node)
        if isinstance(window, Refusal):
            return window
        if isinstance(laid, Refusal):
            return laid
        if shape is None or not isinstance(root, Integers):
            return Refusal(problem="a tensor of unknown shape", node=label(node))
        layout = Layout(shape, channels_last=True)
        source = self.tensors[laid.tensor]
        y = self._add(replace(source, name=str(node.outputs[0].name), elements=layout.elements))
        self.steps.append(Pool(laid.tensor, y, PoolKind.MAX, layout.channels, window))
        pooled = replace(held.chains[0], root=replace(root, value=node.outputs[0], mac=None), private=True)
        self.held[node.outputs[0]] = Held((pooled,), y, layout)
        return None

    def _move(self, node: ir.Node) -> Refusal | None:
        x = node.inputs[0]
        held = self._held_or_real(x)
        if isinstance(held, Refusal):
            return held
        if x is None or any(v in self._varying for v in node.inputs[1:] if v is not None):
            return Refusal(problem="no step of a plan", node=label(node))
        if held.tensor < 0:
            return self._moved_reals(node, held)
        found = self._levels_of(x) if held.selector is not None or node.op_type == "Pad" else held
        return found if isinstance(found, Refusal) else self._moved_numbers(node, found)

    def _moved_numbers(self, node: ir.Node, held: Held) -> Refusal | None:
        chain = held.chains[0]
        for index, output in enumerate(node.outputs):
            layout = layout_of(output)
            if layout is None:
                return Refusal(problem="a tensor of unknown shape, or an empty one", node=label(node))
            moved = self._moved_chain(node, chain, output)
            if isinstance(moved, Refusal):
                return moved
            found = moved_index(node, index, held.layout, layout, self._opsets)
            if isinstance(found, Refusal):
                return found
            behind_it = Held((moved,), self._gathered(held.tensor, found, str(output.name)), layout)
            if not behind_it.is_aligned:
                return Refusal(problem="it moves channels away from their axis", node=label(node))
            self.held[output] = behind_it
        return None

    def _moved_reals(self, node: ir.Node, held: Held) -> Refusal | None:
        """Real numbers that keep their order in memory are read as they lie."""
        output, chain = node.outputs[0], held.chains[0]
        layout = layout_of(output)
        refusal = Refusal(problem="it moves real numbers", node=label(node), got=str(_source_of(held).name))
        if layout is None or len(node.outputs) > 1 or chain.channels > 1 or layout.elements != held.layout.elements:
            return refusal
        before, after = (Layout(part.shape, channels_last=False) for part in (held.layout, layout))
        index = moved_index(node, 0, before, after, self._opsets)
        if isinstance(index, Refusal) or (index != np.arange(len(index))).any():
            return refusal
        self.held[output] = Held((replace(chain, axis=None),), -1, layout)
        return None

    def _moved_chain(self, node: ir.Node, chain: Chain, output: ir.Value) -> Chain | Refusal:
        root = chain.root
        if not isinstance(root, Integers):
            return Refusal(problem="it moves real numbers", node=label(node))
        if chain.channels == 1 and root.axis is None:
            return replace(chain, root=replace(root, value=output, mac=None))
        place = moves.map_of(node, chain.axis, chain.channels, self._opsets)
        if isinstance(place, Refusal):
            return place
        x = node.inputs[0]
        private = x is not None and is_private(chain, x)
        return moves.moved(chain, root, place, output, zeros=node.op_type == "Pad", private=private)

    def _gathered(self, tensor: int, index: Any, name: str) -> int:
        source = self.tensors[tensor]
        if len(index) == source.elements and (index == np.arange(len(index))).all():
            return tensor
        y = self._add(replace(source, name=name, elements=len(index)))
        self.steps.append(Move(tensor, y, index))
        return y

    def _relaid(self, held: Held, layout: Layout, node: ir.Node) -> Held | Refusal:
        """The same numbers in another layout."""
        if held.layout.channels_last == layout.channels_last or held.layout.shape[:1] == held.layout.shape:
            return replace(held, layout=layout)
        numbers = np.arange(held.layout.elements)[None]
        index = layout.stored(held.layout.hub(numbers))[0].astype(np.int32)
        tensor = self._gathered(held.tensor, index, self.tensors[held.tensor].name)
        relaid = replace(held, layout=layout, tensor=tensor)
        return relaid if relaid.is_aligned else Refusal(problem="channels along another axis", node=label(node))

    def _concat(self, node: ir.Node) -> Refusal | None:
        output = node.outputs[0]
        layout = layout_of(output)
        if layout is None:
            return Refusal(problem="a tensor of unknown shape", node=label(node))
        parts: list[Held] = []
        for value in node.inputs:
            made = self._levels_of(value)
            laid = (
                made
                if isinstance(made, Refusal)
                else self._relaid(made, Layout(made.layout.shape, layout.channels_last), node)
            )
            if isinstance(laid, Refusal):
                return replace(laid, node=label(node))
            parts.append(laid)
        bytes_ = [self.tensors[p.tensor] for p in parts]
        numbers = [p.plain for p in parts]
        known = [n for n in numbers if n is not None]
        if len(known) < len(parts) or any(b.element is not Element.BYTE for b in bytes_):
            return Refusal(problem="it joins what are no levels of a byte", node=label(node))
        joined = moves.joined(node, known, output)
        if isinstance(joined, Refusal):
            return joined
        axis = node.attributes.get_int("axis", 0) % (len(layout.shape) + 1)
        if axis == 0:
            return Refusal(problem="it joins samples", node=label(node))
        place = (len(layout.shape) - 1 if axis == 1 else axis - 2) if layout.channels_last else axis - 1
        zero = max(b.zero for b in bytes_)
        shifts = tuple(zero - b.zero for b in bytes_)
        lo, hi = (
            f(getattr(b, end) + s for b, s in zip(bytes_, shifts, strict=True)) for f, end in ((min, "lo"), (max, "hi"))
        )
        if hi >= _BYTES:
            return Refusal(problem="more levels than a byte holds", node=label(node))
        y = self._add(Tensor(str(output.name), layout.elements, Element.BYTE, zero, lo, hi))
        lengths = tuple(_rows(p.layout, place) for p in parts)
        self.steps.append(Join(tuple(p.tensor for p in parts), y, lengths, shifts))
        return self._keep(node, Held((chain_of(joined),), y, layout))

    # --- the plan

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def expose_outputs(self) -> None:
        """Gives out the tensors that the rest of the model reads, or its callers."""
        for value in self.model.graph.outputs:
            if self._is_integer(value):
                self._expose(value)
        for node in self.model.graph:
            if node in self.refusals:
                self._expose_inputs(node)
        for node in tuple(self.refusals):
            if node.domain == "" and node.op_type == "Softmax":
                self._softmax(node)

    def _softmax(self, node: ir.Node) -> None:
        """Takes up a Softmax over the last axis of what the plan makes: most classifiers end with one."""
        x, y = node.inputs[0], node.outputs[0]
        port = None if x is None else self.outputs.get(x)
        if x is None or port is None or not _is_over_last(node, len(port.shape) + 1, self._opsets):
            return
        index = self._add(Tensor(str(y.name), int(np.prod(port.shape)), Element.REAL))
        self.steps.append(Softmax(port.tensor, index, port.shape[-1]))
        self.outputs[y] = Port(str(y.name), index, port.shape)
        del self.refusals[node]
        if {user for user, _ in x.uses()} == {node} and not x.is_graph_output():
            del self.outputs[x]

    def _expose_inputs(self, node: ir.Node) -> None:
        for value in dict.fromkeys(reads(node)):
            if self._is_integer(value) and value not in self.outputs:
                self._expose(value)

    def _expose(self, value: ir.Value) -> None:
        """Makes a tensor real; where it cannot be, its own node is left to the float part."""
        held, node = self.held[value], value.producer()
        step = self._real(value, held)
        if isinstance(step, Refusal) and node is not None:
            self.refusals[node] = step
            self._expose_inputs(node)
        elif not isinstance(step, Refusal):
            shape = sample_shape(value) or ()
            index = self._add(Tensor(str(value.name), held.layout.elements, Element.REAL))
            self.steps.append(replace(step, y=index))
            self.outputs[value] = Port(str(value.name), index, shape)

    def _real(self, value: ir.Value, held: Held) -> Dequantize | LookUp | Refusal:
        layout, refusal = held.layout, Refusal(problem="no step makes it real", node=_named(value))
        if held.selector is not None:
            made = self._levels_of(value)
            if isinstance(made, Refusal):
                return refusal
            held = made
        chain, source, root = held.chains[0], self.tensors[held.tensor], held.root
        if not isinstance(root, Integers):
            return refusal
        steps = reals.arithmetic_of(chain.steps)
        wide = source.element is Element.SUM or chain.channels * _BYTES > _MOST_NUMBERS
        if steps is not None and wide:
            scale, bias = root.scale.reshape(-1), np.zeros(1) if root.bias is None else root.bias.reshape(-1)
            return Dequantize(
                held.tensor, -1, layout.channels, layout.channels_first, scale, float(root.divisor), bias, steps
            )
        if (source.hi - source.lo + 1) * chain.channels > _MOST_NUMBERS:
            return refusal
        numbers = np.arange(source.lo, source.hi + 1, dtype=np.float64) - source.zero
        table = np.ascontiguousarray(
            np.broadcast_to(chain(root.reals(numbers[:, None])), (len(numbers), chain.channels)).T
        )
        return LookUp(held.tensor, -1, layout.channels, layout.channels_first, source.lo, table.astype(np.float32))

    def plan(self) -> Plan:
        """The plan, once everything that is read is real.

        Raises:
            UnsupportedError: There is no layer in it.
        """
        left = tuple(self.refusals.values())
        nodes = tuple(label(n) for n in self.model.graph if n not in self.refusals and self._covers(n))
        order = {value: i for i, value in enumerate(self.model.graph.outputs)}
        outputs = sorted(self.outputs, key=lambda v: order.get(v, len(order)))
        plan = Plan(
            tuple(self.tensors),
            tuple(self.steps),
            tuple(self.inputs.values()),
            tuple(self.outputs[v] for v in outputs),
            0,
            nodes,
            left,
        )
        made = finished(plan)
        if not any(isinstance(step, Product) for step in made.steps):
            reason = next((r for n, r in self.refusals.items() if n.op_type in PRODUCTS), None)
            raise UnsupportedError(
                "no layer of the model is carried by integers of a byte", got=str(reason or "no product of levels")
            )
        return made

    def _covers(self, node: ir.Node) -> bool:
        if any(v in self.outputs for v in node.outputs):
            return True
        held = [self.held[v] for v in node.outputs if v in self.held]
        return any(h.tensor >= 0 or _source_of(h) in self.inputs for h in held)


def _is_over_last(node: ir.Node, rank: int, opsets: Mapping[str, int]) -> bool:
    """Whether a Softmax is one over each row; before version 13 it is over all axes from its own on."""
    axis = node.attributes.get_int("axis", 1 if opsets.get("", 1) < _SOFTMAX_BY_AXIS else -1)
    return rank > 1 and axis % rank == rank - 1


def _rows(layout: Layout, place: int) -> int:
    """Elements of one row of a tensor, from an axis of what is stored on."""
    stored = (*layout.shape[1:], layout.shape[0]) if layout.channels_last else layout.shape
    return int(np.prod(stored[place:]))


def _source_of(held: Held) -> ir.Value:
    root = held.chains[0].root
    if not isinstance(root, Floats):
        raise InvalidModelError("no real numbers", node="")
    return root.value


def _named(value: ir.Value | None) -> str:
    return "" if value is None else f"tensor '{value.name}'"


def _bits(weights: Any) -> int:
    """Bit width of weights: 1 for -1 and 1 alone, else what holds the largest magnitude and the sign."""
    if weights.size and (np.abs(weights) == 1).all():
        return 1
    lo, hi = int(weights.min(initial=0)), int(weights.max(initial=0))
    return 1 + max((-lo - 1).bit_length() if lo < 0 else 0, hi.bit_length())
