"""QuantizeLinear and DequantizeLinear: their integer types, and how they spell scales and zero points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.walk import label, numbered_type, shape_of

# The first opset whose QuantizeLinear has the type; int32 is for DequantizeLinear alone.
_SINCE = {
    ir.DataType.INT8: 10,
    ir.DataType.UINT8: 10,
    ir.DataType.INT32: 10,
    ir.DataType.FLOAT8E4M3FN: 19,
    ir.DataType.FLOAT8E4M3FNUZ: 19,
    ir.DataType.FLOAT8E5M2: 19,
    ir.DataType.FLOAT8E5M2FNUZ: 19,
    ir.DataType.INT16: 21,
    ir.DataType.UINT16: 21,
    ir.DataType.INT4: 21,
    ir.DataType.UINT4: 21,
    ir.DataType.FLOAT4E2M1: 23,
    ir.DataType.INT2: 25,
    ir.DataType.UINT2: 25,
    ir.DataType.FLOAT6E2M3: 28,
    ir.DataType.FLOAT6E3M2: 28,
}
_PER_AXIS, _BLOCKED = 13, 21

Scales = npt.NDArray[np.float32]


def since(dtype: ir.DataType) -> int | None:
    """The first opset at which QuantizeLinear or DequantizeLinear take this type of integers; None if none does."""
    return _SINCE.get(dtype)


def range_of(dtype: ir.DataType) -> tuple[int, int] | None:
    """The smallest and the largest integer of a type; None for a type that is not of integers."""
    if dtype not in _SINCE or not dtype.is_integer():
        return None
    half = 1 << int(dtype.bitwidth - dtype.is_signed())
    return (-half, half - 1) if dtype.is_signed() else (0, half - 1)


@dataclass(frozen=True)
class Parameters:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear, broadcasting to its tensor like numpy."""

    scale: Scales
    zero_point: Float64s

    def same(self, other: Parameters) -> bool:
        """Whether both mean the same."""
        pairs = ((self.scale, other.scale), (self.zero_point, other.zero_point))
        return all(_equal(a, b) for a, b in pairs)


def _equal(a: Array, b: Array) -> bool:
    try:
        return bool((np.broadcast_arrays(a, b)[0] == np.broadcast_arrays(a, b)[1]).all())
    except ValueError:
        return False


def parameters_of(node: ir.Node) -> Parameters | Refusal:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear of float32, or why they cannot be told."""
    x, formal = node.inputs[0], [*node.inputs[1:], None][:2]
    arrays = [constant(v) for v in formal]
    if any(a is None and v is not None for a, v in zip(arrays, formal, strict=True)) or arrays[0] is None:
        return Refusal(problem="the scale or the zero point is computed", node=label(node), expected="constants")
    scale = arrays[0]
    if any(a is not None and not a.size for a in arrays):
        return Refusal(problem="the scale or the zero point is empty", node=label(node))
    if scale.dtype != np.float32:
        return Refusal(problem="type of the scale", node=label(node), got=str(scale.dtype), expected="float32")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return Refusal(problem="the scale", node=label(node), got=f"{scale.min():g}", expected="positive numbers")
    refusal = _other_precision(node)
    if refusal is not None:
        return refusal
    zero_point = np.zeros(()) if arrays[1] is None else arrays[1].astype(np.float64)
    spread = [_broadcasting(a, node, None if x is None else shape_of(x)) for a in (scale, zero_point)]
    for array in spread:
        if isinstance(array, Refusal):
            return array
    return Parameters(np.asarray(spread[0], np.float32), np.asarray(spread[1], np.float64))


_TARGET = ("output_dtype", "QuantizeLinear")  # there it is the type of the integers


def _other_precision(node: ir.Node) -> Refusal | None:
    """Why the attributes cannot be read, or ask for arithmetic in another type than float32."""
    for name in ("axis", "block_size", "precision", "output_dtype"):
        given = node.attributes.get(name)
        if given is not None and given.type != ir.AttributeType.INT:
            return Refusal(problem=f"attribute '{name}'", node=label(node), got=given.type.name, expected="INT")
    for name in ("precision", "output_dtype"):
        number = node.attributes.get_int(name, 0)
        chosen = numbered_type(number)
        if chosen is None:
            return Refusal(problem=f"attribute '{name}'", node=label(node), got=str(number), expected="a type")
        if chosen.is_floating_point() and chosen != ir.DataType.FLOAT and (name, node.op_type) != _TARGET:
            return Refusal(problem=f"attribute '{name}'", node=label(node), got=chosen.name, expected="FLOAT")
    return None


def _broadcasting(array: Array, node: ir.Node, shape: tuple[int | None, ...] | None) -> Array | Refusal:
    """A parameter in a shape that broadcasts like numpy: along `axis`, or by blocks along it."""
    if array.size == 1:
        return array.reshape(())
    if shape is None:
        return Refusal(problem="a parameter per channel of a tensor of unknown rank", node=label(node))
    axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
    if not -len(shape) <= axis < len(shape):
        return Refusal(problem="axis", node=label(node), got=str(axis), expected=f"one of {len(shape)} axes")
    axis %= len(shape)
    length = shape[axis]
    if block:
        blocks = [None if d is None else -(-d // block) if a == axis else d for a, d in enumerate(shape)]
        if (
            length is None
            or array.ndim != len(shape)
            or any(n not in (None, m) for n, m in zip(blocks, array.shape, strict=True))
        ):
            return Refusal(problem="shape of a parameter", node=label(node), got=str(array.shape), expected=str(blocks))
        return np.repeat(array, block, axis).take(range(length), axis)
    if array.shape != (length,) and not (array.ndim == 1 and length is None):
        expected = f"0 axes, or one of {length}"
        return Refusal(problem="shape of a parameter", node=label(node), got=str(array.shape), expected=expected)
    return array.reshape([array.size if a == axis else 1 for a in range(axis, len(shape))])


@dataclass(frozen=True)
class Spelling:
    """Scale and zero point as the operators write them.

    Attributes:
        scale: A scalar, one number for each entry along `axis`, or one for each block.
        zero_point: As `scale`; integers.
        axis: Axis of the tensor along which they differ; None for scalars.
        block_size: How many entries along the axis share a number; 0 where each has its own.
    """

    scale: Scales
    zero_point: Float64s
    axis: int | None = None
    block_size: int = 0

    @property
    def since(self) -> int:
        """The first opset with this form."""
        return _BLOCKED if self.block_size else 1 if self.axis is None else _PER_AXIS

    @property
    def attributes(self) -> dict[str, ir.Attr]:
        """Attributes of the node."""
        given = {} if self.axis is None else {"axis": ir.AttrInt64("axis", self.axis)}
        return given | ({"block_size": ir.AttrInt64("block_size", self.block_size)} if self.block_size else {})


def spelling_of(parameters: Parameters, shape: tuple[int | None, ...] | None) -> Spelling | Refusal:
    """How a tensor of this shape gets these parameters; a refusal where the operators have no such form."""
    scale, zero_point = np.broadcast_arrays(parameters.scale, parameters.zero_point)
    axes = [a for a in range(scale.ndim) if scale.shape[a] > 1 and not _is_constant_along(a, scale, zero_point)]
    if not axes:
        return Spelling(scale.reshape(-1)[0].reshape(()), zero_point.reshape(-1)[0].reshape(()))
    if shape is None:
        return Refusal(problem="a scale per channel of a tensor of unknown rank")
    if len(axes) == 1:
        (along,) = axes
        rows = [np.moveaxis(p, along, 0).reshape(p.shape[along], -1)[:, 0] for p in (scale, zero_point)]
        return Spelling(rows[0], rows[1], along + len(shape) - scale.ndim)
    sides = [d for d in shape if d is not None]
    if len(sides) < len(shape):
        return Refusal(problem="the scale varies along several axes of a tensor of free shape", got=str(scale.shape))
    full = [np.broadcast_to(p, sides) for p in (scale, zero_point)]
    sizes = [math.gcd(*(_block_size(p, axis) for p in full)) or side for axis, side in enumerate(sides)]
    axis = int(np.argmax(sizes))
    if sizes[axis] == 1:
        return Refusal(problem="the scale varies along several axes", got=str(scale.shape), expected="one, or blocks")
    blocks = [p.take(range(0, sides[axis], sizes[axis]), axis) for p in full]
    return Spelling(blocks[0], blocks[1], axis, sizes[axis])


def _is_constant_along(axis: int, *arrays: Array) -> bool:
    return all(bool((a == a.take([0], axis)).all()) for a in arrays)


def _block_size(array: Array, axis: int) -> int:
    """The largest number of entries along the axis after which alone the array may change; 0 where it never does."""
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    changes = np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1
    return math.gcd(*(int(c) for c in changes))
