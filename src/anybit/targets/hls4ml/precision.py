"""The precision to give hls4ml: fixed<W,I> for what its own inference of types leaves to the default.

These are the inputs, constants of arithmetic, biases, weights that no quantiser makes, and the outputs of activation
functions; accumulators and results of sums are inferred without loss.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.input_range import InputRanges
from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.stated_formats import of_annotation
from anybit.arrays import Array, as_float64, is_power_of_two
from anybit.graph.constants import constant
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.targets.hls4ml.project.fixed_type import FixedType
from anybit.targets.hls4ml.repairs import PRODUCTS, affine, split

_UNKNOWN_RANGE = (-(2.0**15), 2.0**15 - 1)  # of an input, if none is stated
_GUARD_BITS = 24  # behind a quantiser's step: as many as a float32 input has
_RELATIVE_BITS = 20  # of a constant that is no short binary fraction
_FAINT = 12  # binary orders below its largest element, from where on an element of a constant does not count
_DEFAULT_TYPED = ("Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softmax")


def ranges_of(model: ir.Model, stated: InputRanges) -> InputRanges:
    """The ranges of all inputs: as stated, or of their number formats, else -2^15 .. 2^15 - 1."""
    unknown = {str(v.name): _UNKNOWN_RANGE for v in model.graph.inputs if of_annotation(v) is None}
    return {**unknown, **stated}


def recommend(model: ir.Model, values: Values) -> FixedType:
    """The type fixed<W,I> with which hls4ml computes a prepared model as exactly as the model's own float32 does.

    I holds inputs, constants and activations over their proven bounds; an input without a range is taken to stay
    within -2^15 .. 2^15 - 1. The W - I bits behind the point hold every float32 next to a rounding boundary of the
    finest quantiser, and 20 significant bits of each constant. On the grids of quantisers whose scales are all powers
    of two the results are then exact.

    Args:
        model: The prepared model.
        values: What its tensors can hold, inputs within `ranges_of`.
    """
    integer, fraction = 1, _GUARD_BITS
    factors: dict[ir.Value, float] = {}
    for largest in _magnitudes(model, values):
        integer = max(integer, _integer_bits(largest))
    for node in model.graph:
        fraction = max(fraction, _fraction_bits(node, values, factors))
    return FixedType(integer + fraction, integer, signed=True)


def _magnitudes(model: ir.Model, values: Values) -> list[float]:
    """The largest magnitudes of what has the default type."""
    tensors = [*model.graph.inputs, *(n.outputs[0] for n in model.graph if n.op_type in _DEFAULT_TYPED)]
    found = [m for v in tensors if (m := _largest(values, v)) is not None]
    for node in model.graph:
        arrays = [constant(v) for v in node.inputs] if split(node) is not None or node.op_type in PRODUCTS else []
        found += [float(np.abs(a).max(initial=0)) for a in arrays if a is not None]
        if split(node) is not None and node.op_type in ("Add", "Sub"):  # merged with what is behind it
            found += [m for m in [_largest(values, node.outputs[0])] if m is not None]
    return found


def _largest(values: Values, value: ir.Value) -> float | None:
    known = values[value]
    largest = float(np.maximum(np.abs(known.lo), np.abs(known.hi)).max(initial=0))
    return largest if math.isfinite(largest) and largest < 2.0**64 else None


def _integer_bits(largest: float) -> int:
    """With sign, and room for the largest value itself to be rounded up."""
    return max(math.frexp(largest)[1], 0) + 2


def _fraction_bits(node: ir.Node, values: Values, factors: dict[ir.Value, float]) -> int:
    if is_call(node, QUANT):
        return _GUARD_BITS - _exponent(constant(node.inputs[1]))
    if node.op_type in _DEFAULT_TYPED:
        grid = values[node.outputs[0]].grid
        return 0 if grid is None or not is_power_of_two(grid.scale).all() else -_exponent(grid.scale)
    if node.op_type in PRODUCTS:
        array = constant(node.inputs[1])
        return 0 if array is None else constant_bits(array)
    known = split(node)
    if known is None:
        return 0
    x, array, _ = known
    if node.op_type in ("Add", "Sub"):
        factors[node.outputs[0]] = factors.get(x, 1.0) if affine(x) is not None else 1.0
        return constant_bits(array)
    array = array if node.op_type == "Mul" else 1 / as_float64(array)
    merged = as_float64(array) * (factors.get(x, 1.0) if affine(x) is not None else 1.0)
    factors[node.outputs[0]] = float(np.abs(merged).max(initial=0))
    return max(constant_bits(merged), constant_bits(array))


def _exponent(scale: Array | None) -> int:
    smallest = 1.0 if scale is None else float(scale.min(initial=1.0))
    return min(math.frexp(smallest)[1] - 1, 0)


def constant_bits(array: Array) -> int:
    """Bits behind the point: all, where they are few, else those of 20 significant ones."""
    magnitudes = np.abs(as_float64(array)).ravel()
    magnitudes = magnitudes[magnitudes > magnitudes.max(initial=0) * 2.0**-_FAINT]
    if not magnitudes.size:
        return 0
    needed = _RELATIVE_BITS - (math.frexp(float(magnitudes.min()))[1] - 1)
    scaled = magnitudes * 2.0**needed
    if (scaled != np.rint(scaled)).any():
        return max(needed, 0)
    for bits in range(needed + 1):  # fewer are enough for a short binary fraction
        scaled = magnitudes * 2.0**bits
        if (scaled == np.rint(scaled)).all():
            return bits
    return max(needed, 0)
