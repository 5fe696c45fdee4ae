"""chains: what stands between a QuantizeLinear, or constant integers, and a DequantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.walk import label, shape_of
from anybit.ops.traits import MOVING, STANDARD
from anybit.quantizers.linear_parameters import Parameters, parameters_of, range_of
from anybit.quantizers.minifloat import Minifloat, minifloat_of
from anybit.quantizers.quantizer import Quantizer

MOVEMENT = MOVING | {"Clip", "Pad", "Relu", "Resize"}
"""Operators that may stand between QuantizeLinear and DequantizeLinear; see `is_movement`."""
_COORDINATES = "coordinate_transformation_mode"
_FLOAT = ir.DataType.FLOAT


@dataclass(frozen=True)
class LinearChain:
    """A DequantizeLinear whose integers are followed to where they are made.

    Attributes:
        dequantize: The node.
        path: What operators between, which only move elements, make on the way from the source.
        source: The integers: constant, or made by `quantize`.
        quantize: The QuantizeLinear that makes them; None for constants.
        meaning: What the chain does to real numbers at the source, zero point as it is stored.
    """

    dequantize: ir.Node
    path: tuple[ir.Value, ...]
    source: ir.Value
    quantize: ir.Node | None
    meaning: Quantizer | Minifloat


def trace(dequantize: ir.Node) -> LinearChain | Refusal | None:
    """The chain that ends in a DequantizeLinear, or why it is not understood; None where the caller feeds integers."""
    chain = _trace(dequantize)
    if not isinstance(chain, Refusal) or chain.node == label(dequantize):
        return chain
    got = f"{chain.got} at {chain.node}" if chain.got else chain.node
    return replace(chain, node=label(dequantize), got=got)


def is_movement(node: ir.Node) -> bool:
    """Whether an operator only moves or clips integers."""
    return node.domain == "" and (_is_moving(node) or node.op_type in ("Clip", "Relu"))


def _is_moving(node: ir.Node) -> bool:
    match node.op_type:
        case "Pad":
            return _fills_with_a_constant(node) is not None
        case "Resize":
            modes = [node.attributes.get_string(k, d) for k, d in (("mode", "nearest"), (_COORDINATES, "half_pixel"))]
            return modes[0] == "nearest" and modes[1] != "tf_crop_and_resize"
        case "Split":
            return True
        case _:
            return node.op_type in MOVING and len(node.outputs) == 1


def _fills_with_a_constant(node: ir.Node) -> Array | None:
    """The integer with which a Pad fills up; None where it is computed, or an attribute: that is for real numbers."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    return None if "value" in node.attributes else np.zeros(()) if value is None else constant(value)


def filling(node: ir.Node, parameters: Parameters) -> Array | None:
    """The real number with which a Pad fills up in the place of its integer; None for other operators."""
    integer = _fills_with_a_constant(node) if node.op_type == "Pad" else None
    if integer is None:
        return None
    centred = integer.reshape(()).astype(np.float64) - parameters.zero_point.reshape(())
    return np.asarray(centred.astype(np.float32) * parameters.scale.reshape(()))


def _trace(dequantize: ir.Node) -> LinearChain | Refusal | None:
    integers = dequantize.inputs[0]
    if integers is None or integers.dtype is None:
        return Refusal(problem="the type of the integers is not known", node=label(dequantize))
    parameters = parameters_of(dequantize)
    if isinstance(parameters, Refusal):
        return parameters
    if range_of(integers.dtype) is None:
        return _trace_floats(dequantize, integers, parameters)
    return _trace_integers(dequantize, integers, parameters)


def _trace_integers(dequantize: ir.Node, integers: ir.Value, parameters: Parameters) -> LinearChain | Refusal | None:
    bounds = range_of(integers.dtype or ir.DataType.UNDEFINED) or (0, 0)
    value, path = integers, list[ir.Value]()
    while constant(value) is None:
        node = value.producer()
        if node is None:
            return None
        if node.domain != "" or node.inputs[0] is None:
            return _unknown(dequantize, node)
        if node.op_type == "QuantizeLinear":
            return _checked(dequantize, path, value, node, _quantizer(parameters, bounds))
        if node.op_type in ("Clip", "Relu"):
            narrowed = _narrowed(bounds, node)
            if isinstance(narrowed, Refusal):
                return narrowed
            bounds = narrowed
        elif _is_moving(node):
            lifted = _lifted(parameters, node)
            if isinstance(lifted, Refusal):
                return lifted
            parameters = lifted
            path.insert(0, value)
        else:
            return _unknown(dequantize, node)
        value = node.inputs[0]
    return LinearChain(dequantize, tuple(path), value, None, _quantizer(parameters, bounds))


def _trace_floats(dequantize: ir.Node, numbers: ir.Value, parameters: Parameters) -> LinearChain | Refusal | None:
    node = numbers.producer()
    meaning = minifloat_of(numbers.dtype, parameters, node)
    if isinstance(meaning, Refusal):
        return replace(meaning, node=label(dequantize))
    if constant(numbers) is not None:
        return LinearChain(dequantize, (), numbers, None, meaning)
    if node is None:
        return None
    if node.op_type != "QuantizeLinear" or node.domain != "":
        return _unknown(dequantize, node)
    return _checked(dequantize, (), numbers, node, meaning)


def _unknown(dequantize: ir.Node, node: ir.Node) -> Refusal:
    return Refusal(
        problem="what makes its integers is not understood",
        node=label(dequantize),
        got=label(node),
        expected="QuantizeLinear, constants, Clip, Relu or operators that move elements",
    )


def _checked(
    dequantize: ir.Node, path: Sequence[ir.Value], value: ir.Value, quantize: ir.Node, meaning: Quantizer | Minifloat
) -> LinearChain | Refusal:
    """The chain, if both of its ends have the same parameters."""
    own, x = parameters_of(quantize), quantize.inputs[0]
    if isinstance(own, Refusal):
        return own
    if x is None or x.dtype != _FLOAT:
        got = "unknown" if x is None or x.dtype is None else x.dtype.name
        return Refusal(problem="element type of X", node=label(quantize), got=got, expected="FLOAT")
    zero_point = meaning.zero_point if isinstance(meaning, Quantizer) else np.zeros(())
    if not own.same(Parameters(meaning.scale, zero_point)):
        return Refusal(
            problem="QuantizeLinear and DequantizeLinear have different parameters",
            node=label(dequantize),
            got=label(quantize),
            expected="one scale and zero point",
        )
    return LinearChain(dequantize, tuple(path), value, quantize, meaning)


def _quantizer(parameters: Parameters, bounds: tuple[int, int]) -> Quantizer:
    lo, hi = (np.asarray(float(b)) for b in bounds)
    return Quantizer(parameters.scale, parameters.zero_point, lo, hi).between(*bounds)


def _narrowed(bounds: tuple[int, int], node: ir.Node) -> tuple[int, int] | Refusal:
    """The bounds of Clip or Relu, as what follows leaves them."""
    lo, hi = bounds
    if node.op_type == "Relu":
        return max(lo, min(0, hi)), hi
    limits = [constant(v) for v in node.inputs[1:]]
    given = [a for a, v in zip(limits, node.inputs[1:], strict=True) if v is not None]
    if any(a is None or a.size != 1 for a in given) or node.attributes:
        return Refusal(problem="the bounds are computed", node=label(node), expected="constants")
    low, high = (
        int(a.reshape(())) if a is not None else b for a, b in zip([*limits, None, None], bounds, strict=False)
    )
    if low > high:
        return Refusal(problem="the bounds", node=label(node), got=f"{low} .. {high}", expected="min <= max")
    return min(max(low, lo), hi), min(max(high, lo), hi)


def _lifted(parameters: Parameters, node: ir.Node) -> Parameters | Refusal:
    """The parameters at the input of an operator that moves elements."""
    if parameters.scale.size == parameters.zero_point.size == 1 or STANDARD[node.op_type].keeps_channels:
        return parameters
    x = node.inputs[0]
    shape = None if x is None else shape_of(x)
    if node.op_type != "Transpose" or shape is None:
        return Refusal(problem="it moves elements between channels of different scale", node=label(node))
    given = node.attributes.get("perm")
    order = list(range(len(shape)))[::-1] if given is None else list(given.as_ints())
    moved = [_padded(p, len(shape)).transpose(np.argsort(order)) for p in (parameters.scale, parameters.zero_point)]
    return Parameters(moved[0], moved[1])


def _padded(array: Array, rank: int) -> Array:
    return array.reshape(*[1] * (rank - array.ndim), *array.shape)
