"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear: between real numbers and integers of a tensor type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from anybit.analysis.values.bounds.corners import of_corners, outward, widened
from anybit.analysis.values.rules.quantizers import extremes
from anybit.analysis.values.tensor_values import (
    Float64s,
    IntegerGrid,
    TensorValues,
    bounded,
    integers,
    limited,
    on_grid,
    unbounded,
)
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.arrays import Array
from anybit.number_formats import IntFormat, NumberFormat
from anybit.ops.standard.linear_quantization import along

_FLOAT32 = np.dtype(np.float32)

# Products of integers up to here by a scale are rounded once.
_LARGEST_EXACT = float(1 << 24)


@dataclass(frozen=True)
class _Integers:
    """The integers of an element type."""

    lo: float
    hi: float
    datatype: IntFormat

    @classmethod
    def of(cls, dtype: ir.DataType | None) -> _Integers | None:
        """None for a type that is not one of integers."""
        if dtype is None or not dtype.is_integer():
            return None
        info = ml_dtypes.iinfo(dtype.numpy())
        lo, hi = float(info.min), float(info.max)
        return cls(lo, hi, IntFormat(int(dtype.bitwidth), signed=lo < 0))


def quantize_linear(site: NodeContext) -> TensorValues:
    """saturate(round(X / scale) + zero_point) at both bounds of X; all integers of the type where X is not followed."""
    dtype = _quantized_type(site)
    limits = _Integers.of(dtype)
    if limits is None:
        return _quantize_to_float(site, dtype)
    lo, hi = np.asarray(limits.lo), np.asarray(limits.hi)
    try:
        quotients = _quotients(site)
        zero_point = np.zeros(()) if site.optional(2) is None else _parameter(site, 2)
    except NotFollowed:
        return integers(lo, hi, limits.datatype)
    reached = [np.clip(np.rint(v) + zero_point, lo, hi) for v in quotients]
    return integers(reached[0], reached[1], limits.datatype)


def _quantized_type(site: NodeContext) -> ir.DataType:
    known = site.node.outputs[0].dtype
    if known is not None:
        return known
    zero_point = site.node.inputs[2] if len(site.node.inputs) > 2 else None
    if zero_point is not None and zero_point.dtype is not None:
        return zero_point.dtype
    return ir.DataType(site.attribute("output_dtype", 0) or ir.DataType.UINT8)


def _quotients(site: NodeContext) -> tuple[Float64s, Float64s]:
    """X / scale at both bounds of X, in every type that an engine divides in."""
    x, source = site.values(0), site.node.inputs[0]
    element = None if source is None else source.dtype
    if element is None or element not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.INT32):
        raise NotFollowed(f"X is {element}")
    scale = _parameter(site, 1)
    if not (scale > 0).all() or not np.isfinite(scale).all():
        raise NotFollowed("the scale is not positive")
    types = {_FLOAT32, np.result_type(element.numpy(), site.required_constant(1).dtype)}
    if precision := site.attribute("precision", 0):
        types.add(ir.DataType(precision).numpy())
    if any(t.kind != "f" for t in types):
        raise NotFollowed("the quotient is of a type that is not followed")
    lo, hi = extremes(x, [scale])
    lower: list[Float64s] = []
    upper: list[Float64s] = []
    with np.errstate(all="ignore"):
        for dtype in types:
            divisor = scale.astype(dtype)
            lower.append(np.asarray(outward(lo, dtype, up=False) / divisor, np.float64))
            upper.append(np.asarray(outward(hi, dtype, up=True) / divisor, np.float64))
    low, high = np.minimum.reduce(lower), np.maximum.reduce(upper)
    return np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)


def _quantize_to_float(site: NodeContext, dtype: ir.DataType) -> TensorValues:
    """X / scale in a small float type, which saturates unless told otherwise."""
    info = ml_dtypes.finfo(dtype.numpy())
    lo, hi = float(info.min), float(info.max)
    overflows = not site.attribute("saturate", 1) and np.isinf(np.asarray(np.inf, np.float32).astype(dtype.numpy()))
    zero_point = site.constant(2)
    if zero_point is not None and zero_point.astype(np.float64).any():
        raise NotFollowed("a float type with a zero point")
    if overflows:
        lo, hi = -np.inf, np.inf
    try:
        quotients = _quotients(site)
    except NotFollowed:
        return bounded(lo, hi)
    # one that overflows is NaN or infinite, else it is one of the finite numbers
    ends = [np.clip(v, float(info.min), float(info.max)).astype(dtype.numpy()).astype(np.float64) for v in quotients]
    return bounded(
        np.where(quotients[0] <= ends[0], np.maximum(lo, ends[0]) if not overflows else lo, ends[0]),
        np.where(quotients[1] >= ends[1], np.minimum(hi, ends[1]) if not overflows else hi, ends[1]),
    )


def dequantize_linear(site: NodeContext) -> TensorValues:
    """(X - zero_point) * scale: the integers of X on a grid; a scale that is computed leaves real bounds."""
    source = site.node.inputs[0]
    x, limits = site.values(0), _Integers.of(None if source is None else source.dtype)
    dtype = _real_type(site)
    if limits is None:
        return _dequantize_float(site, dtype)
    known = site.constant(1) is not None and (site.optional(2) is None or site.constant(2) is not None)
    if not known:
        q = bounded(np.clip(x.lo, limits.lo, limits.hi), np.clip(x.hi, limits.lo, limits.hi))
        return _product(_summary(q), _summary(site.optional(2)), _summary(site.optional(1)), dtype)
    scale = _parameter(site, 1)
    zero_point = np.zeros(()) if site.optional(2) is None else _parameter(site, 2)
    lo, hi = (np.clip(b, limits.lo, limits.hi) for b in extremes(x, [scale, zero_point]))
    lo, hi = np.ceil(lo), np.floor(hi)
    real = _product(bounded(lo, hi), bounded(zero_point, zero_point), bounded(scale, scale), dtype)
    if not (scale > 0).all():
        return real
    return on_grid(IntegerGrid(scale, zero_point, lo, hi, _declared(x) or limits.datatype), like=real)


def _real_type(site: NodeContext) -> np.dtype[Any]:
    if chosen := site.attribute("output_dtype", 0):
        return ir.DataType(chosen).numpy()
    scale = site.node.inputs[1]
    return _FLOAT32 if scale is None or scale.dtype is None else scale.dtype.numpy()


def _declared(x: TensorValues) -> NumberFormat | None:
    """The format of integers that stand for themselves."""
    plain = x.grid is not None and (x.grid.scale == 1).all() and not x.grid.zero_point.any()
    return x.grid.datatype if plain and x.grid is not None else None


def _summary(values: TensorValues | None) -> TensorValues:
    """One lower and one upper bound; a zero point that is left out is 0."""
    return bounded(0.0, 0.0) if values is None else limited(values, None)


def _product(q: TensorValues, zero_point: TensorValues, scale: TensorValues, dtype: np.dtype[Any]) -> TensorValues:
    """(q - zero_point) * scale in float32, rounded to `dtype`."""
    if not scale.is_bounded:
        return unbounded()
    values = of_corners(lambda a, z, s: _narrow((a - z) * s, dtype), (q, zero_point, scale), _FLOAT32)
    integers_fit = max(np.abs(b).max(initial=0) for b in (q.lo, q.hi, zero_point.lo, zero_point.hi)) < _LARGEST_EXACT
    return values if integers_fit and scale.is_point else widened(values, 4, dtype if dtype.kind == "f" else _FLOAT32)


def _narrow(product: Array, dtype: np.dtype[Any]) -> Float64s:
    with np.errstate(over="ignore"):
        return product.astype(dtype).astype(np.float64)


def _dequantize_float(site: NodeContext, dtype: np.dtype[Any]) -> TensorValues:
    """X * scale for X of a small float type."""
    x = site.values(0)
    source = site.node.inputs[0]
    if source is None or source.dtype is None:
        raise NotFollowed("the element type of X is not known")
    if not np.isinf(np.asarray(np.inf, np.float32).astype(source.dtype.numpy())):
        info = ml_dtypes.finfo(source.dtype.numpy())
        x = bounded(np.maximum(x.lo, float(info.min)), np.minimum(x.hi, float(info.max)))
    zero = bounded(0.0, 0.0)
    if site.constant(1) is None:
        return _product(_summary(x), zero, _summary(site.values(1)), dtype)
    scale = _parameter(site, 1)
    return _product(x, zero, bounded(scale, scale), dtype)


def _parameter(site: NodeContext, index: int) -> Float64s:
    """A constant scale or zero point, so that it broadcasts to X: along `axis`, or by blocks along it."""
    array = site.required_constant(index).astype(np.float64)
    if array.size == 1:
        return array.reshape(())
    shape, axis = site.shape(0), int(site.attribute("axis", 1))
    if not -len(shape) <= axis < len(shape):
        raise NotFollowed(f"axis {axis} of a tensor of rank {len(shape)}")
    return along(array, shape, axis, int(site.attribute("block_size", 0) or 0))


def dynamic_quantize_linear(site: NodeContext) -> list[TensorValues]:
    """UINT8 integers; scale = (max(X, 0) - min(X, 0)) / 255; the zero point is 0 where X is not negative."""
    x = site.values(0)
    y = integers(0.0, 255.0, IntFormat(8, signed=False))
    smallest = max(0.0, float(x.lo.max(initial=0))) - min(0.0, float(x.hi.min(initial=0)))
    largest = max(0.0, float(x.hi.max(initial=0))) - min(0.0, float(x.lo.min(initial=0)))
    scales = [v / 255 for v in (smallest, largest)]
    if smallest == 0:  # then all of X may be 0, whose scale is 1/255, or 1 in ONNX Runtime
        scales = [0.0, max(scales[1], 1.0)]
    zero_point = integers(0.0, 0.0 if (x.lo >= 0).all() else 255.0, IntFormat(8, signed=False))
    scale = widened(bounded(scales[0], scales[1]), 4, _FLOAT32)
    return [y, bounded(np.maximum(scale.lo, 0.0), scale.hi), zero_point]


RULES: Rules = {
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "QuantizeLinear": quantize_linear,
}
