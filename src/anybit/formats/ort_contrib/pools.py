"""byte_pools: QLinearAveragePool, QLinearGlobalAveragePool, NhwcMaxPool and QLinearSoftmax as standard operators.

Where a kernel adds real numbers in float32, each Add has two operands, in its order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.formats.ort_contrib.emit import ReplacementNodes
from anybit.formats.ort_contrib.kernels import LARGEST, WIDEST, operands
from anybit.graph.walk import label, shape_of
from anybit.ops.channels_last.layout import to_first, to_last
from anybit.ops.contributed.pooling import window_counts
from anybit.ops.contributed.softmax import AXIS, BY_AXIS, Exponentials
from anybit.ops.evaluate import EVALUATION_ERRORS
from anybit.ops.standard.windows import Windows

_LONGEST = 1024  # terms of a sum that are written one by one
_OLDEST_OPSET = 11  # of Round, and of Pad with inputs
_LAST_BYTE = 255


def average_pool(written: ReplacementNodes) -> Refusal | None:
    """Sums of the taps of each window, one after the other, and a division by their number."""
    node = written.node
    ends = operands(node, 0, output=3)
    if isinstance(ends, Refusal):
        return ends
    x, y = ends
    attributes = {name: a.value for name, a in node.attributes.items()}
    is_last, shape = bool(attributes.get("channels_last", 0)), shape_of(x.value)
    spatial = _known(None if shape is None else shape[1:-1] if is_last else shape[2:])
    if spatial is None:
        return Refusal(problem="the size of the image is not known", node=label(node), got=str(shape))
    if written.opset < _OLDEST_OPSET:
        return _too_old(written)
    try:
        windows = Windows.of(spatial, attributes["kernel_shape"], attributes)
    except EVALUATION_ERRORS as error:
        return Refusal(problem="its windows", node=label(node), got=str(error), expected="those of AveragePool")
    counts, taps = window_counts(windows, spatial, attributes), math.prod(windows.kernel)
    if taps > _LONGEST or not counts.all():
        got = f"{taps} taps" if counts.all() else "a window beside the image"
        return Refusal(problem="size of its windows", node=label(node), got=got, expected=f"1 .. {_LONGEST} taps")
    first, real = 1 if is_last else 2, written.real(x, "x")
    padding = windows.padding(spatial)
    if any(any(p) for p in padding):
        sides = np.zeros((2, len(spatial) + 2), np.int64)
        sides[:, first : first + len(spatial)] = np.transpose(padding)
        real = written.add("Pad", [real, written.constant("pads", sides.reshape(-1))], "padded")
    parts = [
        written.cut(real, {first + k: s for k, s in enumerate(seen)}, f"tap{n}")
        for n, (_, seen) in enumerate(windows.taps())
    ]
    total = written.total(parts, "sum")
    divisor = (
        counts.reshape(-1)[0] if (counts == counts.reshape(-1)[0]).all() else counts[..., None] if is_last else counts
    )
    mean = written.add("Div", [total, written.constant("counts", divisor)], "mean", like=written.output)
    if not y.zero:
        written.quantized(mean, y)
        return None
    steps = written.add("Div", [mean, written.constant("step", np.asarray(y.scale))], "steps", like=mean)
    written.shifted(steps, y)
    return None


def global_average_pool(written: ReplacementNodes) -> Refusal | None:
    """An exact sum, and one factor."""
    node = written.node
    ends = operands(node, 0, output=3)
    if isinstance(ends, Refusal):
        return ends
    x, y = ends
    shape = shape_of(x.value)
    axes = list(range(2, len(shape or ())))
    if node.attributes.get_int("channels_last", 0):
        axes = [axis - 1 for axis in axes]
    sizes = _known(None if shape is None else [shape[axis] for axis in axes])
    if sizes is None:
        return Refusal(problem="the size of the image is not known", node=label(node), got=str(shape))
    count = math.prod(sizes)
    if count * WIDEST >= LARGEST:
        return Refusal(problem="float32 does not hold its sums", node=label(node), got=f"{count} bytes")
    sums = written.reduced("ReduceSum", written.centred(x, "x"), axes, "sums")
    factor = np.float32(x.scale / np.float32(y.scale * np.float32(count)))  # in the order of ONNX Runtime
    written.rounded(written.times(sums, factor, "levels"), y)
    return None


def max_pool(written: ReplacementNodes) -> Refusal | None:
    """MaxPool between two Transposes."""
    node = written.node
    x = node.inputs[0] if node.inputs else None
    shape = None if x is None else shape_of(x)
    if x is None or shape is None or x.dtype is None:
        return Refusal(problem="type or rank of X is not known", node=label(node))
    first = written.add("Transpose", [x], "first", x.dtype, perm=to_first(len(shape)))
    pooled = written.add("MaxPool", [first], "pooled", x.dtype, **{n: a.value for n, a in node.attributes.items()})
    written.add("Transpose", [pooled], "last", x.dtype, like=written.output, perm=to_last(len(shape)))
    return None


def softmax(written: ReplacementNodes) -> Refusal | None:
    """A table of exponentials, by the distance to the largest byte, and their share of the sum."""
    node = written.node
    ends = operands(node, 0, output=3)
    if isinstance(ends, Refusal):
        return ends
    x, y = ends
    attributes = {name: a.value for name, a in node.attributes.items()}
    shape, axis = shape_of(x.value), int(attributes.get("axis", AXIS))
    if shape is None or not -len(shape) <= axis < len(shape):
        return Refusal(problem="the rank of X, or the axis", node=label(node), got=f"{shape}, axis {axis}")
    axis %= len(shape)
    is_flat = attributes.get("opset", 0) < BY_AXIS and axis < len(shape) - 1
    sizes = _known(shape[axis:] if is_flat else [shape[axis]])
    count = 0 if sizes is None else math.prod(sizes)
    if not 0 < count <= _LONGEST:
        got = "an unknown number" if sizes is None else str(count)
        return Refusal(problem="the number of classes", node=label(node), got=got, expected=f"1 .. {_LONGEST}")
    try:
        exponentials = Exponentials.of(x.scale, y.scale, count)
    except ValueError as error:
        return Refusal(problem="ONNX Runtime's kernel overflows", node=label(node), got=str(error))
    centred = written.centred(x, "x")
    rows = written.add("Flatten", [centred], "rows", axis=axis) if is_flat else centred
    along = 1 if is_flat else axis
    distance = written.add("Sub", [rows, written.reduced("ReduceMax", rows, [along], "largest")], "distance", like=rows)
    place = written.add("Add", [distance, written.constant("last", np.float32(_LAST_BYTE))], "place", like=rows)
    index = written.add("Cast", [place], "index", ir.DataType.INT64, like=rows, to=ir.DataType.INT64.value)
    index.type = ir.TensorType(ir.DataType.INT64)
    table: list[ir.Value | None] = [written.constant("exponentials", exponentials.table), index]
    terms = written.add("Gather", table, "terms", like=rows)
    total = written.total([written.cut(terms, {along: slice(k, k + 1)}, f"term{k}") for k in range(count)], "sum")
    whole = written.times(terms, exponentials.steps, "steps")
    share = written.add("Div", [whole, total], "share", like=rows)
    if is_flat:
        wanted = written.add("Shape", [centred], "shape", ir.DataType.INT64)
        share = written.add("Reshape", [share, wanted], "unflattened", like=written.output)
        share.type = ir.TensorType(ir.DataType.FLOAT)
    written.rounded(share, y)
    return None


def _known(sizes: Sequence[int | None] | None) -> list[int] | None:
    """The sizes, None if one of them is free."""
    if sizes is None or None in sizes:
        return None
    return [s for s in sizes if s is not None]


def _too_old(written: ReplacementNodes) -> Refusal:
    return Refusal(
        problem="the opset is too old for what it computes",
        node=label(written.node),
        got=str(written.opset),
        expected=f"{_OLDEST_OPSET} or later",
        hint="convert it with convert-opset",
    )
