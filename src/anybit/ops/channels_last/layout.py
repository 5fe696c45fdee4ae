"""Where the channels are: first, (N, C, spatial...), or last, (N, spatial..., C); in numpy, in ONNX and as shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.shape_inference import InferenceContext

from anybit.arrays import Array
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.operator import widened
from anybit.ops.standard.windows import Windows

DOMAIN = "qonnx.custom_op.channels_last"
"""Domain of the operators; its version is that of the standard operators that they are made from."""

_ATTRIBUTES = ("kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad")

Dimensions = list[int | None]


def to_last(rank: int) -> tuple[int, ...]:
    """The order of axes that takes (N, C, spatial...) to (N, spatial..., C).

    Example:
        >>> to_last(4), to_first(4)
        ((0, 2, 3, 1), (0, 3, 1, 2))
    """
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> tuple[int, ...]:
    """The order of axes that takes (N, spatial..., C) to (N, C, spatial...)."""
    return (0, rank - 1, *range(1, rank - 1))


def channels_first(x: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The tensor with its channels as axis 1, in float64, laid out afresh: sums then have the order of the standard.

    Raises:
        TypeError: It is not floating point.
    """
    array = widened(x)
    return np.ascontiguousarray(array.transpose(to_first(array.ndim)), np.float64)


def channels_last(y: Array, dtype: np.dtype[Any]) -> Array:
    """The tensor with its channels as the last axis, rounded to its element type."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(y.transpose(to_last(y.ndim))).astype(dtype)


@traced_when_needed()
def first_body(script, op):
    """`channels_first` for every rank: Transpose of (N, positions, C), the positions being one axis on the way."""

    @script
    def first_body(X):
        batch = op.Shape(X, end=1)
        positions = op.Shape(X, start=1, end=-1)
        channels = op.Shape(X, start=-1)
        rows = op.Reshape(X, op.Concat(batch, op.ReduceProd(positions, keepdims=1), channels, axis=0), allowzero=1)
        columns = op.Transpose(rows, perm=[0, 2, 1])
        return op.Reshape(columns, op.Concat(batch, channels, positions, axis=0), allowzero=1)

    return first_body


@traced_when_needed()
def last_body(script, op):
    """`channels_last` for every rank."""

    @script
    def last_body(X):
        batch = op.Shape(X, end=1)
        channels = op.Shape(X, start=1, end=2)
        positions = op.Shape(X, start=2)
        columns = op.Reshape(X, op.Concat(batch, channels, op.ReduceProd(positions, keepdims=1), axis=0), allowzero=1)
        rows = op.Transpose(columns, perm=[0, 2, 1])
        return op.Reshape(rows, op.Concat(batch, positions, channels, axis=0), allowzero=1)

    return last_body


def dimensions(context: InferenceContext, index: int) -> Dimensions | None:
    """The shape of an input in type inference, None for a free dimension; None where the rank is not known."""
    given = context.get_input_type(index) if context.has_input(index) else None
    if given is None or not given.tensor_type.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else None for d in given.tensor_type.shape.dim]


def infer_shape(context: InferenceContext, shape: Dimensions | None) -> None:
    """Gives the output the first input's type, its batch where that is free, and this shape."""
    given = context.get_input_type(0) if context.has_input(0) else None
    if given is None:
        return
    made = onnx.TypeProto()
    made.tensor_type.elem_type = given.tensor_type.elem_type
    for index, size in enumerate(shape or ()):
        dimension = made.tensor_type.shape.dim.add()
        if size is not None:
            dimension.dim_value = size
        elif index == 0:
            dimension.CopyFrom(given.tensor_type.shape.dim[0])
    context.set_output_type(0, made)


def window_positions(context: InferenceContext, shape: Dimensions, kernel: Dimensions | None = None) -> Dimensions:
    """How many windows there are along each spatial axis of (N, spatial..., C); None where that is not known."""
    spatial = shape[1:-1]
    given: dict[str, Any] = {name: context.get_attribute(name) for name in _ATTRIBUTES}
    attributes = {name: onnx.helper.get_attribute_value(a) for name, a in given.items() if a is not None}
    attributes["auto_pad"] = attributes.get("auto_pad", b"").decode()
    sizes: Any = attributes.get("kernel_shape") or kernel or []
    if len(sizes) != len(spatial) or None in sizes:
        return [None] * len(spatial)
    try:
        windows = Windows.of([1 if n is None else n for n in spatial], sizes, attributes)
    except (ValueError, IndexError, ZeroDivisionError):
        return [None] * len(spatial)  # `check` says what is wrong
    return [None if n is None else o for n, o in zip(spatial, windows.output, strict=True)]
