"""QuantAvgPool2d: an average of integers by a shift.   Y = floor(half_even(sum over k, l of X) / 2^shift)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx.shape_inference import InferenceContext

from anybit.arrays import Array
from anybit.errors import Finding
from anybit.number_formats import IntFormat, NumberFormat
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.channels_last.layout import dimensions, infer_shape
from anybit.ops.operator import Attribute, Call, Input, Layout, Operator, Types, widened
from anybit.ops.standard.windows import Windows
from anybit.ops.traits import Traits

_LAYOUTS = ("NCHW", "NHWC")
_WIDEST = 32


def shift_of(kernel: int, ibits: int, obits: int) -> int:
    """The bits that are dropped: those of the largest sum, kernel^2 * (2^ibits - 1), above `obits`.

    Example:
        >>> shift_of(2, 4, 4), shift_of(1, 4, 8)
        (2, 0)
    """
    return max((kernel * kernel * (2**ibits - 1)).bit_length() - obits, 0)


def reference(
    x: npt.ArrayLike,
    *,
    stride: int,
    kernel: int,
    ibits: int,
    obits: int,
    signed: int,
    data_layout: str = "NCHW",
) -> Array:
    """Y = floor(half_even(sum over k, l of X) / 2^shift), see `shift_of`; nothing is clipped.

    Args:
        x: (N, C, H, W) or (N, H, W, C), integers in float16, float32 or float64; Y has its type.
        stride: Distance of the windows, down and across.
        kernel: Extent of the windows, down and across.
        ibits: Bit width of X.
        obits: Bit width of Y.
        signed: 1 where X and Y may be negative; of no effect on the numbers.
        data_layout: NCHW or NHWC.

    Raises:
        TypeError: X is not floating point.
        ValueError: X has other than four axes, or the layout has no meaning.

    Example:
        >>> reference(np.float32([[[[1, 2], [3, 5]]]]), stride=1, kernel=2, ibits=4, obits=4, signed=0).item()
        2.0
    """
    del signed
    array = widened(x)
    if array.ndim != 4 or data_layout not in _LAYOUTS:
        raise ValueError(f"X has shape {array.shape} in layout {data_layout!r}, expected four axes, NCHW or NHWC")
    spatial = (1, 2) if data_layout == "NHWC" else (2, 3)
    windows = Windows.of([array.shape[a] for a in spatial], (kernel, kernel), {"strides": (stride, stride)})
    last = np.moveaxis(array.astype(np.float64), spatial, (-2, -1))
    total = np.zeros((*last.shape[:2], *windows.output))
    for _, seen in windows.taps():
        total += last[(..., *seen)]
    y = np.floor(np.rint(total) / 2.0 ** shift_of(kernel, ibits, obits))
    return np.moveaxis(y, (-2, -1), spatial).astype(np.asarray(x).dtype)


@traced_when_needed()
def body(script, op):
    """The reference in ONNX operators: windows are gathered and added up in float64."""

    @script
    def body(X, stride: int, kernel: int, ibits: int, obits: int, signed: int, data_layout: str = "NCHW"):
        double = op.Cast(X, to=11)
        two = op.Cast(op.Constant(value_float=2.0), to=11)
        one = op.Cast(op.Constant(value_float=1.0), to=11)
        zero = op.Constant(value_int=0)
        unit = op.Constant(value_int=1)
        extent = op.Constant(value_int=kernel)
        step = op.Constant(value_int=stride)
        side = op.Cast(extent, to=11)
        largest = op.Mul(op.Mul(side, side), op.Sub(op.Pow(two, op.Cast(op.Constant(value_int=ibits), to=11)), one))
        guess = op.Round(op.Div(op.Log(largest), op.Log(two)))  # the largest sum has so many bits, or one more
        width = op.Add(guess, op.Cast(op.LessOrEqual(op.Pow(two, guess), largest), to=11))
        shift = op.Max(op.Sub(width, op.Cast(op.Constant(value_int=obits), to=11)), op.Sub(one, one))
        taps = op.Unsqueeze(op.Range(zero, extent, unit), op.Constant(value_ints=[0]))
        is_last = op.Equal(op.Constant(value_string=data_layout), op.Constant(value_string="NHWC"))
        if is_last:
            height_l = op.Squeeze(op.Shape(X, start=1, end=2), op.Constant(value_ints=[0]))
            width_l = op.Squeeze(op.Shape(X, start=2, end=3), op.Constant(value_ints=[0]))
            down_l = op.Mul(op.Range(zero, op.Add(op.Div(op.Sub(height_l, extent), step), unit), unit), step)
            across_l = op.Mul(op.Range(zero, op.Add(op.Div(op.Sub(width_l, extent), step), unit), unit), step)
            rows_l = op.Gather(double, op.Add(op.Unsqueeze(down_l, op.Constant(value_ints=[1])), taps), axis=1)
            windows_l = op.Gather(rows_l, op.Add(op.Unsqueeze(across_l, op.Constant(value_ints=[1])), taps), axis=3)
            total = op.ReduceSum(windows_l, op.Constant(value_ints=[2, 4]), keepdims=0)
        else:
            height = op.Squeeze(op.Shape(X, start=2, end=3), op.Constant(value_ints=[0]))
            width_f = op.Squeeze(op.Shape(X, start=3, end=4), op.Constant(value_ints=[0]))
            down = op.Mul(op.Range(zero, op.Add(op.Div(op.Sub(height, extent), step), unit), unit), step)
            across = op.Mul(op.Range(zero, op.Add(op.Div(op.Sub(width_f, extent), step), unit), unit), step)
            rows = op.Gather(double, op.Add(op.Unsqueeze(down, op.Constant(value_ints=[1])), taps), axis=2)
            windows = op.Gather(rows, op.Add(op.Unsqueeze(across, op.Constant(value_ints=[1])), taps), axis=4)
            total = op.ReduceSum(windows, op.Constant(value_ints=[3, 5]), keepdims=0)
        return op.CastLike(op.Floor(op.Div(op.Round(total), op.Pow(two, shift))), X)

    return body


def infer(context: InferenceContext) -> None:
    """X's shape with as many positions as there are windows."""
    shape = dimensions(context, 0)
    names = ("stride", "kernel", "data_layout")
    given: dict[str, Any] = {name: context.get_attribute(name) for name in names}
    if shape is None or len(shape) != 4 or given["stride"] is None or given["kernel"] is None:
        infer_shape(context, None)
        return
    layout = "NCHW" if given["data_layout"] is None else given["data_layout"].s.decode()
    kernel, stride = given["kernel"].i, given["stride"].i
    for axis in (1, 2) if layout == "NHWC" else (2, 3):
        size = shape[axis]
        shape[axis] = None if size is None or stride < 1 else max((size - kernel) // stride + 1, 0)
    infer_shape(context, shape)


def check(call: Call) -> Iterable[Finding]:
    """Rules of a QuantAvgPool2d node."""
    shape = call.shapes.get("X")
    if shape is not None and len(shape) != 4:
        yield call.finding("rank", "rank of X", got=len(shape), expected="4")
    if call.attributes["data_layout"] not in _LAYOUTS:
        yield call.finding("layout", "data_layout", got=call.attributes["data_layout"], expected=", ".join(_LAYOUTS))
    for name in ("stride", "kernel"):
        value = call.attributes[name]
        if not isinstance(value, int) or value < 1:
            yield call.finding("windows", name, got=value, expected="1 or more")
    for name in ("ibits", "obits"):
        bits = call.attributes[name]
        if not isinstance(bits, int) or not 1 <= bits <= _WIDEST:
            yield call.finding("bit-width", name, got=bits, expected=f"1 .. {_WIDEST}")
    if call.attributes["signed"] not in (0, 1):
        yield call.finding("flag", "signed", got=call.attributes["signed"], expected="0 or 1")


def number_format(call: Call) -> NumberFormat | None:
    """INTn or UINTn of `obits`."""
    bits = call.attributes["obits"]
    return IntFormat(bits, signed=bool(call.attributes["signed"])) if isinstance(bits, int) and bits > 0 else None


QUANT_AVG_POOL = Operator(
    name="QuantAvgPool2d",
    doc="An average of integers by a shift: Y = floor(sum over a window of X / 2^shift).",
    inputs=(Input("X", Types.FLOAT, "integers, (N, C, H, W) or (N, H, W, C)"),),
    attributes=(
        Attribute("stride", int, None, "distance of the windows, down and across"),
        Attribute("kernel", int, None, "extent of the windows, down and across"),
        Attribute("ibits", int, None, "bit width of X"),
        Attribute("obits", int, None, "bit width of Y"),
        Attribute("signed", int, None, "1 where X and Y may be negative"),
        Attribute("data_layout", str, "NCHW", "NCHW or NHWC"),
    ),
    reference=reference,
    traits=Traits(keeps_channels=True, finite=True),
    layout=Layout(attribute="data_layout"),
    body=body,
    infer=infer,
    check=check,
    number_format=number_format,
)
