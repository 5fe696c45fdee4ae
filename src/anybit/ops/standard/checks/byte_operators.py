"""Rules of the operators of bytes of ONNX Runtime's domain, each with one scale and zero point a tensor."""

from __future__ import annotations

from collections.abc import Iterator

from anybit.errors import Finding
from anybit.ops.standard.checks.call import StandardCall
from anybit.ops.standard.checks.parameters import check_axis, check_scalar, check_single, written

_PARTS = 3  # of an operand of QLinearConcat: tensor, scale, zero point


def binary(call: StandardCall) -> Iterator[Finding]:
    """Rules of QLinearAdd, QLinearMul and MulInteger."""
    scales = (n for n in call.given if n.endswith(("_scale", "_zero_point")))
    yield from check_scalar(call, *sorted(scales))
    yield from _broadcast(call, "A", "B")


def unary(call: StandardCall) -> Iterator[Finding]:
    """Rules of QLinearLeakyRelu and QLinearSigmoid."""
    yield from check_single(call, "X_scale", "X_zero_point", "Y_scale", "Y_zero_point")


def softmax(call: StandardCall) -> Iterator[Finding]:
    """Rules of QLinearSoftmax."""
    yield from check_single(call, "X_scale", "x_zero_point", "y_scale", "y_zero_point")
    x = call.shapes.get("X")
    if x is not None and "axis" in call.attributes:
        yield from check_axis(call, "axis", call.integer("axis"), len(x), "X")
    if call.integer("opset", 1) < 1:
        yield call.finding("attribute", "attribute 'opset'", got=call.integer("opset"), expected="a positive integer")


def reduce_mean(call: StandardCall) -> Iterator[Finding]:
    """Rules of QLinearReduceMean and ReduceSumInteger."""
    yield from check_scalar(call, "data_scale", "data_zero_point", "reduced_scale", "reduced_zero_point")
    data = call.shapes.get("data")
    for axis in () if data is None else call.integers("axes"):
        yield from check_axis(call, "axes", axis, len(data or ()), "data")


def where(call: StandardCall) -> Iterator[Finding]:
    """Rules of QLinearWhere."""
    parts = (f"{tensor}_{kind}" for tensor in "xyz" for kind in ("scale", "zero_point"))
    yield from check_single(call, *parts)
    yield from _broadcast(call, "condition", "X", "Y")


def concat(call: StandardCall) -> Iterator[Finding]:
    """Rules of QLinearConcat: y_scale, y_zero_point, then tensor, scale and zero point of each operand."""
    yield from check_single(call, "Y_scale", "Y_zero_point")
    names = call.names[2:]
    if len(names) % _PARTS:
        got, expected = len(names), f"a multiple of {_PARTS}: tensor, scale, zero point"
        yield call.finding("inputs", "number of inputs behind Y_zero_point", got=got, expected=expected)
        return
    whole = None
    for k in range(0, len(names), _PARTS):
        tensor, scale, zero_point = names[k : k + _PARTS]
        yield from check_single(call, scale, zero_point)
        yield from _concat_types(call, tensor, scale, zero_point)
        shape = call.shapes.get(tensor)
        if shape is None:
            continue
        axis = call.integer("axis")
        yield from check_axis(call, "axis", axis, len(shape), tensor)
        whole = shape if whole is None else whole
        if not _joins(shape, whole, axis):
            got, expected = f"{written(whole)} and {written(shape)}", "shapes that differ along the axis alone"
            yield call.finding("operand-shape", "operands that do not fit", got=got, expected=expected)


def _concat_types(call: StandardCall, tensor: str, scale: str, zero_point: str) -> Iterator[Finding]:
    byte = call.types.get("Y_zero_point")
    for name, expected in ((tensor, byte), (scale, "float"), (zero_point, byte)):
        found = call.types.get(name)
        if found is not None and expected is not None and found != expected:
            yield call.finding("element-type", f"type of {name}", got=found, expected=expected)


def _joins(shape: tuple[int | None, ...], whole: tuple[int | None, ...], axis: int) -> bool:
    if len(shape) != len(whole):
        return False
    pairs = [p for k, p in enumerate(zip(shape, whole, strict=True)) if k != axis % len(shape)]
    return all(a is None or b is None or a == b for a, b in pairs)


def _broadcast(call: StandardCall, *names: str) -> Iterator[Finding]:
    shapes = [s for n in names if (s := call.shapes.get(n)) is not None]
    for axis in range(1, max(map(len, shapes), default=0) + 1):
        lengths = {s[-axis] for s in shapes if len(s) >= axis} - {1, None}
        if len(lengths) > 1:
            got = " and ".join(map(written, shapes))
            yield call.finding("operand-shape", "operands do not broadcast", got=got, expected="equal lengths, or 1")
            return
