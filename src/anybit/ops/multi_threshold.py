"""MultiThreshold: an activation as a staircase.   Y = out_scale * |{t in T_c : X >= t}| + out_bias."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, TypeProto
from onnx.shape_inference import InferenceContext

from anybit.arrays import Array
from anybit.errors import Finding, UsageError
from anybit.number_formats import NumberFormat, parse_number_format
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.operator import Attribute, Call, Input, Layout, Operator, Types, widened
from anybit.ops.traits import Traits

_CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")
_LAYOUTS = ("NC", "NCW", "NCHW", "NCDHW", *_CHANNELS_LAST)


def reference(
    x: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    *,
    out_dtype: str = "",
    out_scale: float = 1.0,
    out_bias: float = 0.0,
    data_layout: str = "NCHW",
) -> Array:
    """Y = out_scale * |{t in T_c : X >= t}| + out_bias.

    Args:
        x: Tensor of at least two dimensions, of floats or of integers of up to 32 bits. Y has its shape, and its
            type if that is a float, else float32.
        thresholds: Shape (C, T) with one row per channel, or (1, T) for all; in any order, of any numeric type.
        out_dtype: Number format of Y, kept for the tools that read it.
        out_scale: Size of one step.
        out_bias: Value below all thresholds.
        data_layout: Channels are axis 1, or the last axis if the layout ends in C.

    Raises:
        TypeError: X has another type.
        ValueError: Shapes do not agree.

    Example:
        >>> reference(np.float32([[0.0, 2.5]]), np.float32([[1.0, 2.0, 3.0]]), out_bias=-1.0).tolist()
        [[-1.0, 1.0]]
    """
    del out_dtype
    source = np.asarray(x)
    if source.dtype.kind not in "fiu" or (source.dtype.kind != "f" and source.dtype.itemsize > 4):
        raise TypeError(f"X is {source.dtype}, expected floats or integers of up to 32 bits")
    whole = source.dtype.kind != "f"
    values = source.astype(np.float64) if whole else widened(source)
    rows = np.asarray(thresholds, np.float64)
    if values.ndim < 2 or rows.ndim != 2:
        raise ValueError(f"X of shape {values.shape} and thresholds of shape {rows.shape}: expected rank >= 2 and 2")
    axis = channel_axis(data_layout, values.ndim)
    if rows.shape[0] not in (1, values.shape[axis]):
        raise ValueError(f"thresholds for {rows.shape[0]} channels, X has {values.shape[axis]}")
    counts = _counts(np.moveaxis(values, axis, 0), np.sort(rows, axis=1))
    steps = np.moveaxis(counts, 0, axis).astype(values.dtype)
    scale, bias = (values.dtype.type(np.float32(a)) for a in (out_scale, out_bias))  # attributes are float32 in a file
    with np.errstate(all="ignore"):
        return (steps * scale + bias).astype(np.float32 if whole else source.dtype)


def _counts(channels: npt.NDArray[np.floating[Any]], rows: Array) -> npt.NDArray[np.int64]:
    """How many thresholds each element reaches; NaN reaches none. `channels` has the channel axis first."""
    if rows.shape[0] == 1:
        counts = np.searchsorted(rows[0], channels, side="right")
    else:
        counts = np.empty(channels.shape, np.int64)
        for channel, row, count in zip(channels, rows, counts, strict=True):
            count[...] = np.searchsorted(row, channel, side="right")
    return np.where(np.isnan(channels), 0, counts)


def channel_axis(data_layout: str, rank: int) -> int:
    """The axis along which rows of thresholds differ: the last one where the layout puts C behind space, else axis 1.

    Raises:
        ValueError: There is no such layout.
    """
    if data_layout not in _LAYOUTS:
        raise ValueError(f"data_layout {data_layout!r}: expected one of {', '.join(_LAYOUTS)}")
    return rank - 1 if data_layout in _CHANNELS_LAST else 1


@traced_when_needed()
def body(script, op):
    """The reference in ONNX operators: X is seen as (before, channels, behind, 1).

    There is one path for all layouts: engines infer the shapes of a branch that is not taken, too, and refuse them.
    """

    @script
    def body(
        X,
        thresholds,
        out_dtype: str = "",
        out_scale: float = 1.0,
        out_bias: float = 0.0,
        data_layout: str = "NCHW",
    ):
        shape = op.Shape(X)
        layout = op.Constant(value_string=data_layout)
        first = op.Constant(value_ints=[0])
        second = op.Constant(value_ints=[1])
        third = op.Constant(value_ints=[2])
        last = op.Constant(value_ints=[-1])
        end = op.Constant(value_ints=[1000])
        is_last = op.Or(
            op.Equal(layout, op.Constant(value_string="NHWC")),
            op.Or(
                op.Equal(layout, op.Constant(value_string="NWC")),
                op.Equal(layout, op.Constant(value_string="NDHWC")),
            ),
        )
        before = op.ReduceProd(op.Slice(shape, first, last), keepdims=1)
        behind = op.ReduceProd(op.Slice(shape, third, end), keepdims=1)
        channels_last = op.Concat(before, op.Slice(shape, last, end), second, second, axis=0)
        channels_first = op.Concat(op.Slice(shape, first, third), behind, second, axis=0)
        elements = op.Reshape(op.Cast(X, to=11), op.Where(is_last, channels_last, channels_first), allowzero=1)
        rows = op.Unsqueeze(op.Cast(thresholds, to=11), op.Constant(value_ints=[0, 2]))
        counts = op.ReduceSum(op.Cast(op.GreaterOrEqual(elements, rows), to=1), last, keepdims=0)
        steps = op.CastLike(op.Reshape(counts, shape, allowzero=1), X)
        scale = op.CastLike(op.Constant(value_float=out_scale), X)
        bias = op.CastLike(op.Constant(value_float=out_bias), X)
        return op.Add(op.Mul(steps, scale), bias)

    return body


def check(call: Call) -> Iterable[Finding]:
    """Rules of a MultiThreshold node."""
    layout = str(call.attributes["data_layout"])
    if layout not in _LAYOUTS:
        yield call.finding("layout", "data_layout", got=layout, expected=", ".join(_LAYOUTS))
        return
    if number_format(call) is None and call.attributes["out_dtype"]:
        yield call.finding("number-format", "out_dtype", got=call.attributes["out_dtype"], expected="such as UINT4")
    rows, shape = call.shapes.get("thresholds"), call.shapes.get("X")
    known = call.constants.get("thresholds")
    if known is not None and known.dtype.kind in "iu" and (known.astype(np.float64).astype(object) != known).any():
        yield call.finding(
            "thresholds", "thresholds that float64 does not hold", got=known.dtype, expected="2**53 at most"
        )
    if rows is not None and len(rows) != 2:
        yield call.finding("thresholds", "rank of thresholds", got=len(rows), expected="2: (channels or 1, steps)")
        return
    if shape is not None and len(shape) < 2:
        yield call.finding("thresholds", "rank of X", got=len(shape), expected="at least 2")
        return
    if rows is None or shape is None:
        return
    channels = shape[channel_axis(layout, len(shape))]
    if rows[0] not in (1, None) and channels is not None and rows[0] != channels:
        yield call.finding("thresholds", "rows of thresholds", got=rows[0], expected=f"1 or {channels}, X's channels")


def number_format(call: Call) -> NumberFormat | None:
    """The format that `out_dtype` names."""
    try:
        return parse_number_format(str(call.attributes["out_dtype"]))
    except UsageError:
        return None


def infer(context: InferenceContext) -> None:
    """Y has the shape of X, and its type where that is a float."""
    x = context.get_input_type(0) if context.has_input(0) else None
    if x is None:
        return
    y = TypeProto()
    y.CopyFrom(x)
    if y.tensor_type.elem_type not in (TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE):
        y.tensor_type.elem_type = TensorProto.FLOAT
    context.set_output_type(0, y)


MULTI_THRESHOLD = Operator(
    name="MultiThreshold",
    doc="A staircase: Y = out_scale * |{t in T_c : X >= t}| + out_bias.",
    inputs=(
        Input("X", Types.WITHIN_DOUBLE, "tensor of at least two dimensions"),
        Input("thresholds", Types.NUMERIC, "(channels or 1, steps)"),
    ),
    attributes=(
        Attribute("out_dtype", str, "", "number format of Y, for the tools that read it"),
        Attribute("out_scale", float, 1.0, "size of one step"),
        Attribute("out_bias", float, 0.0, "value below all thresholds"),
        Attribute("data_layout", str, "NCHW", "channels are axis 1, or the last one in NWC, NHWC and NDHWC"),
    ),
    reference=reference,
    traits=Traits(keeps_channels=True, finite=True),
    layout=Layout(attribute="data_layout"),
    body=body,
    infer=infer,
    check=check,
    number_format=number_format,
)
