"""QuantizeLinear to integers, which saturates however large the quotient is; DynamicQuantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec

_WIDEST = 16  # bits of the integers that QuantizeLinear makes


def make_quantize_linear(spec: Spec) -> Kernel:
    """QuantizeLinear, to floating-point numbers by onnx's reference."""
    generic = spec.generic()

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        y = quantize_linear(inputs, spec.attributes)
        return generic(inputs) if y is None else (y,)

    return run


def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """Y, its scale and its zero point, of uint8, for the range of X extended to 0; scale 1 where X is all 0."""
    low, high = (np.float32(v) for v in (min(x.min(initial=0), 0), max(x.max(initial=0), 0)))
    scale = np.float32(1) if low == high else (high - low) / np.float32(255)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    y = np.clip(np.rint(x / scale) + zero, 0, 255)
    return y.astype(np.uint8), np.asarray(scale), np.asarray(zero).astype(np.uint8)


def quantize_linear(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array | None:
    """Y = saturate(round(X / scale) + zero_point), ties to even, X / scale in the type of X; None for a float Y.

    NaN becomes the smallest integer.

    Args:
        inputs: X, scale, and zero_point if there is one.
        attributes: Those of the node, of any version.
    """
    x, scale, zero_point = (*inputs, None)[:3]
    dtype = _integer_type(zero_point, attributes)
    if dtype is None or x is None or scale is None:
        return None
    if precision := attributes.get("precision", 0):
        x, scale = (a.astype(ir.DataType(precision).numpy()) for a in (x, scale))
    axis, block = int(attributes.get("axis", 1)), int(attributes.get("block_size", 0) or 0)
    with np.errstate(all="ignore"):
        quotient = np.asarray(x / along(scale, x.shape, axis, block), np.float64)
    integers = np.rint(np.where(np.isnan(quotient), -np.inf, quotient))
    if zero_point is not None:
        integers = integers + along(zero_point, x.shape, axis, block).astype(np.float64)
    info = ml_dtypes.iinfo(dtype)
    return np.clip(integers, int(info.min), int(info.max)).astype(dtype)


def _integer_type(zero_point: Array | None, attributes: Mapping[str, Any]) -> np.dtype[Any] | None:
    chosen = ir.DataType(attributes.get("output_dtype", 0) or ir.DataType.UINT8)
    element = chosen if zero_point is None else ir.DataType.from_numpy(zero_point.dtype)
    return element.numpy() if element.is_integer() and element.bitwidth <= _WIDEST else None


def along(parameter: Array, shape: Sequence[int | None], axis: int, block: int) -> Array:
    """A scale or zero point, so that it broadcasts to a tensor: along `axis`, or by blocks of `block` along it.

    Raises:
        IndexError: The tensor has no such axis.
        ValueError: The parameter does not fit the tensor, or the blocked axis has no fixed length.
    """
    if parameter.size == 1 and parameter.ndim <= 1:
        return parameter.reshape(())
    length = shape[axis]
    if not block:
        if parameter.ndim != 1 or length not in (None, parameter.size):
            raise ValueError(f"parameters of shape {parameter.shape} for an axis of length {length}")
        sides = [1] * len(shape)
        sides[axis] = parameter.size
        return parameter.reshape(sides)
    if parameter.ndim != len(shape) or length is None or -(-length // block) != parameter.shape[axis]:
        raise ValueError(
            f"parameters of shape {parameter.shape} for shape {tuple(shape)}, axis {axis}, blocks of {block}"
        )
    return np.repeat(parameter, block, axis).take(range(length), axis)
