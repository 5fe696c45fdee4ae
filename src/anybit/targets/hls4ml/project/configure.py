"""configure: number formats, reuse and strategy of each layer, by what is proven of a prepared model's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import Float64s, TensorValues
from anybit.arrays import Array, as_float64, is_power_of_two
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import read_quant
from anybit.targets.hls4ml.io_type import IoType
from anybit.targets.hls4ml.precision import constant_bits
from anybit.targets.hls4ml.project.fixed_type import FixedType, fraction_bits, grid_fraction_bits, type_of_quantizer
from anybit.targets.hls4ml.project.reuse import HlsStrategy, reuse_of
from anybit.targets.hls4ml.repairs import CHOOSING, PRODUCTS, Chain, split

AUTO = "auto"
"""hls4ml chooses: without loss, or what the quantiser behind a layer makes."""
_WIDEST = 64  # bits of a type that holds a tensor exactly; a constant of more is rounded
_MOVES = ("Reshape", "Flatten", "Transpose")
_LOSSLESS = (*_MOVES, "Concat", "Max", "Min")
_FUNCTIONS = ("Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softmax")
_ROUNDED = 2.0**-16  # share by which rounded constants may lift a number beyond its bounds
_SHORT = 32  # bits of weights that no quantiser makes and that hls4ml gets exactly
_SLACK = 1  # bits that a bias may add to the fraction of an accumulator that it is added in


@dataclass(frozen=True)
class Hls4mlLayer:
    """What hls4ml is told of one layer.

    Attributes:
        name: Name of the node, or of the model's input.
        precision: By what hls4ml calls a number of the layer, its type, or `AUTO`.
        reuse: How often each multiplier is used for one result; None for a layer without products.
        strategy: How its products are written; None likewise.
        proven: Bits of the accumulator that are proven to be enough, before a bias; None where there is none.
    """

    name: str
    precision: Mapping[str, FixedType | str]
    reuse: int | None = None
    strategy: HlsStrategy | None = None
    proven: int | None = None


@dataclass(frozen=True)
class Hls4mlConfiguration:
    """What hls4ml is told of a model.

    Attributes:
        io_type: How tensors travel between layers.
        default: The type of what no layer states.
        reuse: The reuse factor that was asked for; None where none was.
        layers: The input, then the layers, in the order of the graph.
    """

    io_type: IoType
    default: FixedType
    reuse: int | None = None
    layers: tuple[Hls4mlLayer, ...] = field(default=())


def configure(
    model: ir.Model, values: Values, *, default: FixedType, io_type: IoType, reuse: int | None = None
) -> Hls4mlConfiguration:
    """The configuration with which hls4ml computes the prepared model without a bit that is not needed.

    Args:
        model: As `prepare` leaves it.
        values: What its tensors can hold.
        default: The precision that is recommended for all of it (see `recommend`).
        io_type: How tensors are to travel.
        reuse: Most cycles that a layer may take for one result; None leaves it to the size of the layer.
    """
    formats = _Formats(model, values, default)
    layers = [formats.input(v) for v in model.graph.inputs]
    layers += [formats.layer(n, reuse) for n in model.graph if constant(n.inputs[0]) is None]
    return Hls4mlConfiguration(io_type, default, reuse, tuple(layers))


@dataclass(frozen=True)
class _Formats:
    """The types of a model's layers.

    Attributes:
        model: The prepared model.
        values: What its tensors can hold.
        default: The type that is wide enough for all.
    """

    model: ir.Model
    values: Values
    default: FixedType

    def input(self, value: ir.Value) -> Hls4mlLayer:
        """The input has the type of its integers, or of the quantiser that alone reads it, or of its range."""
        known = self.values[value]
        exact = self._exact(known)
        if exact is None:
            exact = self._of_reader(value)
        return Hls4mlLayer(str(value.name), {"result": self._padded(value, exact or self._rounded(known))})

    def layer(self, node: ir.Node, reuse: int | None) -> Hls4mlLayer:
        """What one node is told."""
        name = str(node.name)
        if node.op_type in PRODUCTS:
            return self._product(node, reuse)
        if split(node) is not None:
            return Hls4mlLayer(name, {**self._affine(node), "result": self._result(node)})
        if node.op_type == "MaxPool":
            return Hls4mlLayer(name, {"accum": AUTO, "result": AUTO})
        if node.op_type in _LOSSLESS or is_call(node, QUANT, BIPOLAR_QUANT):
            return Hls4mlLayer(name, {"result": AUTO})
        return Hls4mlLayer(name, {"result": self._result(node)})

    def _result(self, node: ir.Node) -> FixedType | str:
        """What a layer hands on: left to the quantiser or arithmetic behind it, where hls4ml makes one of both."""
        value = node.outputs[0]
        readers = [user for user, _ in value.uses()]
        merged = split(node) is not None or node.op_type in (*PRODUCTS, *_FUNCTIONS)
        if merged and len(readers) == 1 and not value.is_graph_output():
            if is_call(readers[0], QUANT, BIPOLAR_QUANT):
                return AUTO
            if split(node) is not None and split(readers[0]) is not None:
                return AUTO
        known = self.values[value]
        return self._padded(value, self._exact(known) or self._rounded(known))

    def _padded(self, value: ir.Value, made: FixedType | str) -> FixedType | str:
        """The type with a sign where a padded MaxPool reads the tensor: hls4ml has no smallest number without one."""
        waiting, seen = [value], set[ir.Value]()
        while waiting and isinstance(made, FixedType):
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            for user, _ in at.uses():
                if user.op_type == "MaxPool" and any(user.attributes.get_ints("pads", ())):
                    return made.with_sign()
                waiting += user.outputs if user.op_type in CHOOSING else []
        return made

    def _product(self, node: ir.Node, reuse: int | None) -> Hls4mlLayer:
        weights = node.inputs[1]
        factor, strategy = reuse_of(*_size(node), reuse)
        if node.op_type == "Conv" and node.attributes.get_int("group", 1) != 1:
            factor, strategy = 1, HlsStrategy.LATENCY  # depthwise
        accumulator = None if weights is None else self._accumulator(node, weights)
        if accumulator is None or weights is None:
            unknown: dict[str, FixedType | str] = dict.fromkeys(("weight", "bias", "accum", "result"), AUTO)
            return Hls4mlLayer(str(node.name), unknown, factor, strategy)
        known = self.values.accumulators.get(node)
        proven = None if known is None else known.proven.format.bits
        sums = self._sums(node, accumulator)
        return Hls4mlLayer(str(node.name), {"weight": self._weight(weights), **sums}, factor, strategy, proven)

    def _sums(self, node: ir.Node, accumulator: FixedType) -> dict[str, FixedType | str]:
        """The types of what is added up, and of what is handed on."""
        merged = self._merged_bias(node, accumulator)
        if merged is None:
            result = self._result(node)
            bias = FixedType(1, 1, signed=False)
            summed = self._summed(node, accumulator) if isinstance(result, FixedType) else result
            return {"bias": bias, "accum": accumulator, "result": summed}
        added, offset = merged
        fraction = max(accumulator.fraction_bits, fraction_bits(offset))
        known = self.values[added.outputs[0]]
        accum = FixedType.between(_least(known), _most(known), fraction)
        return {"bias": _of_constant(offset, fraction), "accum": accum, "result": AUTO}

    def _summed(self, node: ir.Node, accumulator: FixedType) -> FixedType | str:
        """The sums as they are; before a binary quantiser in a type that holds the thresholds that they meet, too."""
        readers = [user for user, _ in node.outputs[0].uses()]
        while len(readers) == 1 and (split(readers[0]) is not None or readers[0].op_type in _MOVES):
            readers = [user for user, _ in readers[0].outputs[0].uses()]
        value = readers[0].inputs[0] if len(readers) == 1 and is_call(readers[0], BIPOLAR_QUANT) else None
        if value is None:
            return accumulator
        chain, known = Chain.of(value), self.values[node.outputs[0]]
        if not chain.factor.all():
            return AUTO
        thresholds = -chain.offset / chain.factor
        lo, hi = min(_least(known), float(thresholds.min())), max(_most(known), float(thresholds.max()))
        fraction = max(self.default.fraction_bits, accumulator.fraction_bits)
        made = FixedType.between(min(lo, -1.0), hi, fraction)
        return made if made.width <= _WIDEST else AUTO

    def _merged_bias(self, node: ir.Node, accumulator: FixedType) -> tuple[ir.Node, Float64s] | None:
        """The one addition between a dense layer and a quantiser, which hls4ml makes its bias, if it is as coarse."""
        added = self._only_reader(node.outputs[0])
        if node.op_type != "MatMul" or added is None or added.op_type not in ("Add", "Sub") or split(added) is None:
            return None
        behind = self._only_reader(added.outputs[0])
        chain = Chain.of(added.outputs[0])
        fine = fraction_bits(chain.offset) > accumulator.fraction_bits + _SLACK
        if behind is None or not is_call(behind, QUANT) or (chain.factor != 1).any() or fine:
            return None
        return added, chain.offset

    def _only_reader(self, value: ir.Value) -> ir.Node | None:
        readers = [user for user, _ in value.uses()]
        return None if len(readers) != 1 or value.is_graph_output() else readers[0]

    def _accumulator(self, node: ir.Node, weights: ir.Value) -> FixedType | None:
        """The type that holds every sum of products exactly; None where an operand is on no grid of binary steps."""
        x, w = self._fraction_bits(node.inputs[0]), self._weight_fraction(weights)
        known = self.values[node.outputs[0]]
        if x is None or w is None or not known.is_bounded:
            return None
        grid = self.values.accumulators.get(node)
        rounded = grid is None or not is_power_of_two(grid.scale).all()
        lo, hi = (b * (1 + rounded * _ROUNDED) for b in (_least(known), _most(known)))
        exact = FixedType.between(lo, hi, x + w)
        return exact if exact.width <= _WIDEST else None

    def _fraction_bits(self, value: ir.Value | None) -> int | None:
        """Bits behind the point of a product's data: those of its grid, or of the input's type."""
        if value is None:
            return None
        grid = self.values[value].grid
        if grid is not None:
            return grid_fraction_bits(grid)
        while (moved := _moved(value)) is not None:
            value = moved
        known = self.input(value).precision["result"] if value.is_graph_input() else None
        return known.fraction_bits if isinstance(known, FixedType) else None

    def _weight(self, weights: ir.Value) -> FixedType | str:
        """The type of a quantiser's weights, or of short binary fractions."""
        quantize = weights.producer()
        if quantize is None:
            return _of_short(constant(weights)) or AUTO
        quantizer = read_quant(quantize, self.model)
        known = None if isinstance(quantizer, Refusal) else type_of_quantizer(quantizer)
        return AUTO if known is None else known

    def _weight_fraction(self, weights: ir.Value) -> int | None:
        """Bits behind the point of a product's weights; None where hls4ml rounds them."""
        grid = self.values[weights].grid
        short = None if weights.producer() is not None else _of_short(constant(weights))
        if short is not None:
            return short.fraction_bits
        return None if grid is None or weights.producer() is None else grid_fraction_bits(grid)

    def _affine(self, node: ir.Node) -> dict[str, FixedType | str]:
        """Scale and bias of arithmetic with constants, those of the steps before it included."""
        chain = Chain.of(node.outputs[0])
        return {"scale": self._constant(chain.factor), "bias": self._constant(chain.offset)}

    def _constant(self, array: Float64s) -> FixedType:
        """All bits of a constant, or those of the default type, but 20 significant ones at least."""
        bits = max(constant_bits(array), self.default.fraction_bits)
        return _of_constant(array, max(min(fraction_bits(np.atleast_1d(array)), bits), 0))

    def _exact(self, known: TensorValues) -> FixedType | None:
        """The narrowest type that holds a tensor on a grid of binary steps exactly."""
        if known.grid is None or not known.is_bounded or not is_power_of_two(known.grid.scale).all():
            return None
        exact = FixedType.between(_least(known), _most(known), grid_fraction_bits(known.grid))
        return exact if exact.width <= _WIDEST else None

    def _rounded(self, known: TensorValues) -> FixedType | str:
        """Bounds and the fraction of the default type, for a tensor of reals."""
        if not known.is_bounded:
            return AUTO
        lo, hi = (b * (1 + _ROUNDED) for b in (_least(known), _most(known)))
        wide = FixedType.between(lo, hi, self.default.fraction_bits)
        return wide if wide.width < self.default.width else self.default

    def _of_reader(self, value: ir.Value) -> FixedType | None:
        """The type of the quantiser that alone reads an input, behind what only moves its elements."""
        reader = self._only_reader(value)
        while reader is not None and reader.op_type in _MOVES:
            reader = self._only_reader(reader.outputs[0])
        if reader is None or not is_call(reader, QUANT):
            return None
        quantizer = read_quant(reader, self.model)
        return None if isinstance(quantizer, Refusal) else type_of_quantizer(quantizer)


def _of_constant(array: Float64s, bits: int) -> FixedType:
    """The type of a constant, with so many bits behind the point."""
    rounded = np.rint(as_float64(array) * 2.0**bits) / 2.0**bits
    return FixedType.between(float(rounded.min(initial=0)), float(rounded.max(initial=0)), bits)


def _of_short(array: Array | None) -> FixedType | None:
    """The type that holds a constant exactly, None where it takes many bits."""
    if array is None:
        return None
    numbers = as_float64(array)
    exact = FixedType.between(float(numbers.min(initial=0)), float(numbers.max(initial=0)), fraction_bits(numbers))
    return exact if exact.width <= _SHORT else None


def _moved(value: ir.Value) -> ir.Value | None:
    """What a tensor has the elements of, in another order or shape; None where it is made of other numbers."""
    maker = value.producer()
    return None if maker is None or maker.op_type not in _MOVES else maker.inputs[0]


def _size(node: ir.Node) -> tuple[int, int]:
    """Products in one sum, and sums, of a layer at one position."""
    weights = node.inputs[1]
    sizes = [int(s or 1) for s in (() if weights is None else shape_of(weights) or ())]
    if node.op_type == "MatMul":
        return sizes[0], sizes[-1]
    return int(np.prod(sizes[1:])), sizes[0]


def _least(known: TensorValues) -> float:
    return float(known.lo.min(initial=0))


def _most(known: TensorValues) -> float:
    return float(known.hi.max(initial=0))
