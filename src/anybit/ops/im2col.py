"""Im2Col: each window of an image as a row.   Y[n, i, j, (k, l, c)] = X[n, i*s + k*d - p, j*s + l*d - p, c]."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx.shape_inference import InferenceContext

from anybit.arrays import Array
from anybit.errors import Finding
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.channels_last.layout import dimensions, infer_shape
from anybit.ops.operator import Attribute, Call, Input, Operator, Types, widened
from anybit.ops.standard.windows import Windows
from anybit.ops.traits import Traits


def reference(
    x: npt.ArrayLike,
    *,
    stride: Sequence[int],
    kernel_size: Sequence[int],
    input_shape: str = "",
    pad_amount: Sequence[int] = (0, 0, 0, 0),
    pad_value: int = 0,
    depthwise: int = 0,
    dilations: Sequence[int] = (1, 1),
) -> Array:
    """Y[n, i, j, (k, l, c)] = X[n, i*s + k*d - p, j*s + l*d - p, c], `pad_value` beside X.

    Args:
        x: (N, H, W, C), float16, float32 or float64. Y has the shape (N, windows down, windows across, kh*kw*C).
        stride: Distances of the windows, down and across.
        kernel_size: Extents of the windows.
        input_shape: X's shape as text; the shape that X has counts.
        pad_amount: Rows above, columns to the left, rows below, columns to the right.
        pad_value: What they hold.
        depthwise: 1 tells tools that a depthwise convolution follows.
        dilations: Distances of the taps of a window.

    Raises:
        TypeError: X is not floating point.
        ValueError: X has other than four axes.

    Example:
        >>> reference(np.float32([[[[1], [2], [3]]]]), stride=[1, 1], kernel_size=[1, 2]).tolist()
        [[[[1.0, 2.0], [2.0, 3.0]]]]
    """
    del input_shape, depthwise
    widened(x)
    array = np.asarray(x)
    if array.ndim != 4:
        raise ValueError(f"X has shape {array.shape}, expected (N, H, W, C)")
    windows = _windows(array.shape[1:3], stride, kernel_size, pad_amount, dilations)
    padding = [(0, 0), *windows.padding(array.shape[1:3]), (0, 0)]
    padded = np.pad(array, padding, constant_values=array.dtype.type(pad_value))
    rows = [padded[:, down, across] for _, (down, across) in windows.taps()]
    return np.concatenate(rows, axis=-1)


def _windows(
    spatial: Sequence[int],
    stride: Sequence[int],
    kernel_size: Sequence[int],
    pad_amount: Sequence[int],
    dilations: Sequence[int],
) -> Windows:
    return Windows.of(spatial, kernel_size, {"strides": stride, "pads": pad_amount, "dilations": dilations})


@traced_when_needed()
def body(script, op):
    """The reference in ONNX operators: rows are gathered, then columns."""

    @script
    def body(
        X,
        stride: Sequence[int],
        kernel_size: Sequence[int],
        input_shape: str = "",
        pad_amount: Sequence[int] = (0, 0, 0, 0),
        pad_value: int = 0,
        depthwise: int = 0,
        dilations: Sequence[int] = (1, 1),
    ):
        nothing = op.Constant(value_ints=[0])
        one = op.Constant(value_ints=[1])
        pads = op.Constant(value_ints=pad_amount)
        before = op.Slice(pads, nothing, op.Constant(value_ints=[2]))
        behind = op.Slice(pads, op.Constant(value_ints=[2]), op.Constant(value_ints=[4]))
        amounts = op.Concat(nothing, before, nothing, nothing, behind, nothing, axis=0)
        padded = op.Pad(X, amounts, op.CastLike(op.Constant(value_int=pad_value), X))
        taps = op.Constant(value_ints=kernel_size)
        distances = op.Constant(value_ints=dilations)
        steps = op.Constant(value_ints=stride)
        extents = op.Mul(op.Sub(taps, one), distances)
        counts = op.Add(op.Div(op.Sub(op.Sub(op.Shape(padded, start=1, end=3), extents), one), steps), one)
        zero = op.Constant(value_int=0)
        unit = op.Constant(value_int=1)
        down = op.Add(
            op.Unsqueeze(op.Mul(op.Range(zero, op.Gather(counts, zero), unit), op.Gather(steps, zero)), one),
            op.Unsqueeze(op.Mul(op.Range(zero, op.Gather(taps, zero), unit), op.Gather(distances, zero)), nothing),
        )
        across = op.Add(
            op.Unsqueeze(op.Mul(op.Range(zero, op.Gather(counts, unit), unit), op.Gather(steps, unit)), one),
            op.Unsqueeze(op.Mul(op.Range(zero, op.Gather(taps, unit), unit), op.Gather(distances, unit)), nothing),
        )
        windows = op.Gather(op.Gather(padded, down, axis=1), across, axis=3)
        ordered = op.Transpose(windows, perm=[0, 1, 3, 2, 4, 5])
        columns = op.Mul(op.ReduceProd(taps, keepdims=1), op.Shape(X, start=3))
        return op.Reshape(ordered, op.Concat(op.Shape(X, end=1), counts, columns, axis=0), allowzero=1)

    return body


def infer(context: InferenceContext) -> None:
    """(N, windows down, windows across, kh*kw*C); sizes that X's shape lacks are those of `input_shape`."""
    given: dict[str, Any] = {a.name: context.get_attribute(a.name) for a in IM2COL.attributes}
    stride, kernel, pads, dilations = (
        default if given[name] is None else list(given[name].ints) for name, default in _LISTS.items()
    )
    shape = dimensions(context, 0)
    stated = None if given["input_shape"] is None else parse_shape(given["input_shape"].s.decode())
    if stated is not None and len(stated) == 4 and (shape is None or len(shape) == 4):
        known = [None, *stated[1:]] if shape is None else [shape[0], *shape[1:]]
        shape = [known[0], *(s if n is None else n for n, s in zip(known[1:], stated[1:], strict=True))]
    if shape is None or len(shape) != 4 or len(kernel) != 2:
        infer_shape(context, None)
        return
    try:
        windows = _windows([1 if n is None else n for n in shape[1:3]], stride, kernel, pads, dilations)
    except (ValueError, IndexError, ZeroDivisionError):
        infer_shape(context, None)  # `check` says what is wrong
        return
    positions = [None if n is None else o for n, o in zip(shape[1:3], windows.output, strict=True)]
    columns = None if shape[3] is None else shape[3] * kernel[0] * kernel[1]
    infer_shape(context, [shape[0], *positions, columns])


def parse_shape(text: str) -> tuple[int, ...] | None:
    """The shape that a text such as ``(1, 8, 8, 3)`` states, None if it states none."""
    plain = re.sub(r"[\s()\[\]]", "", text).rstrip(",")
    sizes = plain.split(",")
    return tuple(map(int, sizes)) if all(s.isdecimal() for s in sizes) else None


def check(call: Call) -> Iterable[Finding]:
    """Rules of an Im2Col node: lists of two or four numbers, and a stated shape that is X's."""
    shape = call.shapes.get("X")
    if shape is not None and len(shape) != 4:
        yield call.finding("rank", "rank of X", got=len(shape), expected="4: (N, H, W, C)")
        return
    for name, default in _LISTS.items():
        values, least = call.integers(name), 0 if name == "pad_amount" else 1
        if len(values) != len(default) or min(values) < least:
            yield call.finding("windows", name, got=values, expected=f"{len(default)} numbers from {least} up")
    text = str(call.attributes["input_shape"])
    stated = parse_shape(text)
    if text and (stated is None or len(stated) != 4):
        yield call.finding("input-shape", "input_shape", got=text, expected="such as (1, 8, 8, 3)")
        return
    sizes = zip(shape or (), stated or (), strict=False)
    if any(n not in (None, s) for n, s in list(sizes)[1:]):
        yield call.finding("input-shape", "input_shape", got=text, expected=f"{shape}, X's shape")


_LISTS = {"stride": [1, 1], "kernel_size": [1, 1], "pad_amount": [0, 0, 0, 0], "dilations": [1, 1]}

IM2COL = Operator(
    name="Im2Col",
    doc="Each window of an image (N, H, W, C) as a row of kh*kw*C numbers.",
    inputs=(Input("X", Types.FLOAT, "(N, H, W, C)"),),
    attributes=(
        Attribute("stride", tuple, None, "distances of the windows, down and across"),
        Attribute("kernel_size", tuple, None, "extents of the windows"),
        Attribute("input_shape", str, "", "X's shape as text, for the tools that read it"),
        Attribute("pad_amount", tuple, (0, 0, 0, 0), "rows above, columns left, rows below, columns right"),
        Attribute("pad_value", int, 0, "what they hold"),
        Attribute("depthwise", int, 0, "1 tells tools that a depthwise convolution follows"),
        Attribute("dilations", tuple, (1, 1), "distances of the taps of a window"),
    ),
    reference=reference,
    traits=Traits(finite=True),
    body=body,
    infer=infer,
    check=check,
)
