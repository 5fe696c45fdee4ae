"""MatMul, Gemm, Conv, ConvTranspose: how their operands' axes are laid out, and what is added to the sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from anybit.analysis.values.bounds.axes import LARGEST_WORK
from anybit.analysis.values.bounds.contraction import Choose, Contraction, Lay, Operand, contract
from anybit.analysis.values.bounds.windows import Masks, convolution_masks, transposed_masks
from anybit.analysis.values.rules.arithmetic import plus, scaled
from anybit.analysis.values.tensor_values import Float64s, Shape, TensorValues, aligned, bounded, hull, integers
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.arrays import Array


def matmul(site: NodeContext) -> TensorValues:
    """y = first @ second, numpy's way with axes before the last two."""
    contraction = matmul_contraction(site, site.values(0), site.values(1), site.shape(0), site.shape(1))
    return recorded(site, contraction)


def matmul_contraction(
    site: NodeContext, first: TensorValues, second: TensorValues, first_shape: Shape, second_shape: Shape
) -> Contraction:
    """MatMul as a contraction; the outputs that are told apart are those of the operand that is known."""
    terms = first_shape[-1] if first_shape else None
    if terms is None:
        terms = second_shape[max(len(second_shape) - 2, 0)] if second_shape else None
    if terms is None:
        raise NotFollowed("the number of products in a sum is not known")
    by_row = first.constant is not None and second.constant is None
    if by_row:
        batch, outputs = _outputs(first_shape, -2, known=True)
        shape = (*batch, outputs) if len(second_shape) == 1 else (*batch, outputs, 1)
    else:
        batch, outputs = _outputs(second_shape, -1, known=second.constant is not None)
        shape = (*batch, outputs) if len(first_shape) == 1 else (*batch, 1, outputs)
    told, pooled = _matrices(batch, outputs), _vector
    lays: tuple[Lay, Lay] = (
        (told, lambda a, f: pooled(a, f, -2)) if by_row else (lambda a, f: pooled(a, f, -1), _transposed(told))
    )
    return Contraction(
        op_type=site.node.op_type,
        first=Operand(first, len(first_shape), lays[0]),
        second=Operand(second, len(second_shape), lays[1]),
        shape=(math.prod(batch) * outputs, terms),
        unlay=lambda vector: vector.reshape(shape),
        dtype=site.dtype(),
    )


def _outputs(shape: Shape, axis: int, *, known: bool) -> tuple[tuple[int, ...], int]:
    """Batch axes and number of the outputs that an operand tells apart; only a known one tells its batch apart."""
    if len(shape) < 2:
        return (), 1
    size = shape[axis]
    batch = tuple(n for n in shape[:-2] if n is not None) if known else ()
    return batch, 1 if size is None else size


def _matrices(batch: tuple[int, ...], outputs: int) -> Lay:
    """(..., outputs, terms) as (batch * outputs, terms)."""

    def lay(array: Array, choose: Choose) -> Array:
        if array.ndim == 1:
            return array[None]
        if not batch:
            array = choose(array, axis=tuple(range(array.ndim - 2)))
        if outputs == 1:
            array = choose(array, axis=-2, keepdims=True)
        return np.broadcast_to(array, (*batch, outputs, array.shape[-1])).reshape(-1, array.shape[-1])

    return lay


def _transposed(lay: Lay) -> Lay:
    return lambda array, choose: lay(array if array.ndim == 1 else np.swapaxes(array, -1, -2), choose)


def _vector(array: Array, choose: Choose, axis: int) -> Array:
    """The entries along the axis of the sum, the same for all outputs: (1, terms)."""
    kept = axis + array.ndim if array.ndim > 1 else 0
    return choose(array, axis=tuple(a for a in range(array.ndim) if a != kept)).reshape(1, -1)


def gemm(site: NodeContext) -> TensorValues:
    """y = alpha * A' B' + beta * C, A' and B' being transposed where the attributes say so."""
    first, first_shape = _turned(site, 0, "transA")
    second, second_shape = _turned(site, 1, "transB")
    y = recorded(site, matmul_contraction(site, first, second, first_shape, second_shape))
    dtype = site.dtype()
    y = scaled(y, float(site.attribute("alpha", 1.0)), dtype)
    bias = site.optional(2)
    return y if bias is None else plus(y, scaled(bias, float(site.attribute("beta", 1.0)), dtype), dtype)


def _turned(site: NodeContext, index: int, attribute: str) -> tuple[TensorValues, Shape]:
    values, shape = site.values(index), site.shape(index)
    if not site.attribute(attribute, 0):
        return values, shape
    constant = None if values.constant is None else values.constant.T
    turned = values.moved(lambda a: aligned(a, 2).T if a.ndim else a)
    return replace(turned, constant=constant), shape[::-1]


def conv(site: NodeContext) -> TensorValues:
    """y[m] = sum over c and taps of W[m, c, taps] * x[c], plus the bias."""
    return _with_bias(site, recorded(site, conv_contraction(site, site.values(0), site.values(1), 0, 1)))


def conv_contraction(site: NodeContext, x: TensorValues, w: TensorValues, x_index: int, w_index: int) -> Contraction:
    """Conv as a contraction."""
    outputs, per_group, *kernel = _sizes(site, w_index)
    attributes = {name: site.attribute(name) for name in site.node.attributes}
    same = (attributes.get("auto_pad") or "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    windows: Sequence[Masks] = ()
    if same or any(attributes.get("pads") or ()):
        x, windows = _windows(site, x, x_index, convolution_masks, kernel, attributes)
    return _convolution(site, x, w, (outputs, per_group, *kernel), windows, _as_it_stands)


def conv_transpose(site: NodeContext) -> TensorValues:
    """The transpose of conv: y[m] = sum over c and the taps that meet an input of W[c, m, taps] * x[c]."""
    channels, per_group, *kernel = _sizes(site, 1)
    group = int(site.attribute("group", 1))
    attributes = {name: site.attribute(name) for name in site.node.attributes}
    x, windows = _windows(site, site.values(0), 0, transposed_masks, kernel, attributes)

    def lay(array: Array, _: Choose) -> Array:
        taps = array.shape[2:]
        grouped = np.broadcast_to(array, (channels, per_group, *taps)).reshape(group, -1, per_group, *taps)
        return np.swapaxes(grouped, 1, 2).reshape(group * per_group, -1, *taps)

    shape = (group * per_group, channels // group, *kernel)
    return _with_bias(site, recorded(site, _convolution(site, x, site.values(1), shape, windows, lay)))


def _as_it_stands(array: Array, _: Choose) -> Array:
    return array


def _sizes(site: NodeContext, index: int) -> tuple[int, ...]:
    shape = site.shape(index)
    if None in shape:
        raise NotFollowed("the shape of the weights is not known")
    return tuple(n for n in shape if n is not None)


def _windows(
    site: NodeContext, x: TensorValues, index: int, masks: Any, kernel: Sequence[int], attributes: dict[str, Any]
) -> tuple[TensorValues, Sequence[Masks]]:
    """The windows, and x; where the size of x is not known, any of the taps may meet padding: x joined with 0."""
    spatial = (site.shapes[index] or ())[2:]
    if len(spatial) == len(kernel) and None not in spatial:
        return x, masks(spatial, kernel, attributes)
    zero = integers(0, 0)
    centred = None if x.grid is None else x.grid.centred()
    if centred is None:
        return hull([replace(x, grid=None), bounded(0, 0)]), ()
    nothing = replace(zero, grid=replace(centred, lo=np.zeros(()), hi=np.zeros(()), datatype=centred.datatype))
    return hull([replace(x, grid=centred), nothing]), ()


def _convolution(
    site: NodeContext, x: TensorValues, w: TensorValues, shape: tuple[int, ...], windows: Sequence[Masks], lay_w: Lay
) -> Contraction:
    outputs, per_group, *kernel = shape
    group = int(site.attribute("group", 1))
    ones = (1,) * len(kernel)

    def lay_x(array: Array, choose: Choose) -> Array:
        channels = choose(array, axis=tuple(a for a in range(array.ndim) if a != 1))
        if group == 1:
            return channels.reshape(1, -1, *ones)
        if channels.size == 1:
            return channels.reshape(1, 1, *ones)
        return np.repeat(channels.reshape(group, per_group), outputs // group, axis=0).reshape(outputs, -1, *ones)

    rank = len(kernel) + 2
    return Contraction(
        op_type=site.node.op_type,
        first=Operand(x, rank, lay_x),
        second=Operand(w, rank, lay_w),
        shape=shape,
        unlay=lambda vector: vector.reshape(-1, *ones),
        dtype=site.dtype(),
        windows=windows,
    )


def recorded(site: NodeContext, contraction: Contraction) -> TensorValues:
    """The values of the contraction; its accumulator becomes that of the node."""
    if 0 in contraction.shape or any(not len(m) for m in contraction.windows):
        return bounded(0.0, 0.0)
    known = any(o.values.constant is not None for o in (contraction.first, contraction.second))
    if not known and contraction.shape[0] > LARGEST_WORK:  # a size that is stated, of which no file holds the elements
        raise NotFollowed("more outputs than are told apart")
    values, accumulator = contract(contraction)
    if accumulator is not None:
        site.accumulators[site.node] = accumulator
    return values


def _with_bias(site: NodeContext, y: TensorValues) -> TensorValues:
    bias = site.optional(2)
    return y if bias is None else plus(y, per_channel(bias, len(site.shape(1)) - 2), site.dtype())


def per_channel(values: TensorValues, axes: int) -> TensorValues:
    """A vector by channel, with further axes of one entry behind."""

    def move(array: Float64s) -> Float64s:
        return array.reshape(array.shape + (1,) * axes) if array.ndim else array

    return values.moved(move)


RULES: Rules = {"Conv": conv, "ConvTranspose": conv_transpose, "Gemm": gemm, "MatMul": matmul}
