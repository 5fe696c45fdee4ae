"""Rules of Conv, ConvTranspose, DeformConv, ConvInteger and QLinearConv.

    x (N, C, spatial..), w (M, C/group, kernel..), bias (M);  transposed: w (C, M/group, kernel..)

Where ONNX Runtime 1.32 takes more: scale and zero point of the weights of QLinearConv may differ in shape. Where it
takes less: ConvInteger has one zero point of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from anybit.errors import Finding
from anybit.ops.standard.checks.call import Shape, StandardCall
from anybit.ops.standard.checks.parameters import (
    check_pair,
    check_shape,
    check_single,
    check_vector,
    dimension,
    written,
)
from anybit.ops.standard.checks.windows import check_extent, check_lengths, check_one_padding, check_windows

_STEPS = ("strides", "dilations", "output_padding")
_SPATIAL = 2  # the first spatial axis: before it are batch and channels


@dataclass(frozen=True)
class _Sides:
    """Dimensions of a convolution, None where they are not known."""

    spatial: Shape | None
    channels: int | None
    kernel: Shape | None
    rows: int | None
    columns: int | None

    @classmethod
    def of(cls, call: StandardCall, x: str, w: str) -> _Sides:
        image, weights = call.shapes.get(x), call.shapes.get(w)
        last = bool(call.integer("channels_last"))
        inner = None if image is None else image[1:-1] if last else image[_SPATIAL:]
        channels = dimension(image, -1 if last else 1)
        kernel = None if weights is None else weights[_SPATIAL:]
        return cls(inner, channels, kernel, dimension(weights, 0), dimension(weights, 1))

    @property
    def axes(self) -> int | None:
        """Number of spatial axes."""
        known = self.kernel if self.spatial is None else self.spatial
        return None if known is None else len(known)


def conv(call: StandardCall) -> Iterator[Finding]:
    """Rules of Conv and DeformConv."""
    yield from _convolution(call, "X", "W", "B")


def conv_transpose(call: StandardCall) -> Iterator[Finding]:
    """Rules of ConvTranspose."""
    sides = _Sides.of(call, "X", "W")
    yield from _geometry(call, sides, "X", "W")
    group = call.integer("group", 1)
    yield from _divisible(call, sides.channels, group, "input channels")
    if group < 1:
        return
    if None not in (sides.channels, sides.rows) and sides.channels != sides.rows:
        yield _channels(call, sides.channels, sides.rows, "the weights have one row for each")
    made = None if sides.columns is None else sides.columns * group
    yield from check_shape(call, "B", (made,), hint="one number for each output channel")
    yield from check_lengths(call, "output_shape", sides.axes, least=1)
    yield from check_lengths(call, "output_padding", sides.axes, least=0)
    yield from _output_padding(call)
    yield from _output_size(call, sides)


def deform_conv(call: StandardCall) -> Iterator[Finding]:
    """Rules of DeformConv."""
    yield from _convolution(call, "X", "W", "B")
    yield from _divisible(call, _Sides.of(call, "X", "W").channels, call.integer("offset_group", 1), "input channels")


def conv_integer(call: StandardCall) -> Iterator[Finding]:
    """Rules of ConvInteger."""
    yield from _convolution(call, "x", "w")
    yield from check_single(call, "x_zero_point")
    yield from check_vector(call, "w_zero_point", dimension(call.shapes.get("w"), 0), "output channels")


def qlinear_conv(call: StandardCall) -> Iterator[Finding]:
    """Rules of QLinearConv, that of ONNX Runtime's domain included."""
    yield from _convolution(call, "x", "w", "B")
    yield from check_single(call, "x_scale", "x_zero_point", "y_scale", "y_zero_point")
    for name in ("w_scale", "w_zero_point"):
        yield from check_vector(call, name, dimension(call.shapes.get("w"), 0), "output channels")
    yield from check_pair(call, "w_scale", "w_zero_point")


def _convolution(call: StandardCall, x: str, w: str, bias: str = "") -> Iterator[Finding]:
    sides = _Sides.of(call, x, w)
    yield from _geometry(call, sides, x, w)
    if sides.spatial is not None and sides.kernel is not None:
        yield from check_extent(call, sides.spatial, sides.kernel)
    group = call.integer("group", 1)
    yield from _divisible(call, sides.rows, group, "output channels")
    if group < 1:
        return
    wanted = None if sides.columns is None else sides.columns * group
    if None not in (sides.channels, wanted) and sides.channels != wanted:
        yield _channels(call, sides.channels, wanted, f"the weights have {sides.columns} in each of {group} groups")
    yield from check_shape(call, bias, (sides.rows,), hint="one number for each output channel")


def _geometry(call: StandardCall, sides: _Sides, x: str, w: str) -> Iterator[Finding]:
    """Ranks, and the attributes that say how the kernel slides."""
    for name in (x, w):
        shape = call.shapes.get(name)
        if shape is not None and len(shape) <= _SPATIAL:
            yield call.finding("operand-shape", f"rank of {name}", got=len(shape), expected="3 or more")
            return
    if sides.spatial is not None and sides.kernel is not None and len(sides.spatial) != len(sides.kernel):
        yield call.finding(
            "operand-shape",
            f"rank of {w}",
            got=len(sides.kernel) + _SPATIAL,
            expected=str(len(sides.spatial) + _SPATIAL),
            hint=f"{x} has {len(sides.spatial)} spatial axes",
        )
        return
    yield from check_windows(call, sides.axes)
    yield from check_one_padding(call, zeros_too=True)
    if sides.kernel is not None and 0 in sides.kernel:
        yield call.finding("kernel-shape", f"kernel of {w}", got=written(sides.kernel), expected="positive numbers")
    stated = call.integers("kernel_shape")
    if sides.kernel is None or len(stated) != len(sides.kernel):
        return
    if any(a is not None and a != b for a, b in zip(sides.kernel, stated, strict=True)):
        yield call.finding(
            "kernel-shape",
            "attribute 'kernel_shape'",
            got=list(stated),
            expected=written(sides.kernel),
            hint="the weights have this kernel",
        )


def _divisible(call: StandardCall, count: int | None, group: int, what: str) -> Iterator[Finding]:
    if group < 1:
        yield call.finding("group", "number of groups", got=group, expected="a positive integer")
    elif count is not None and count % group:
        yield call.finding("group", f"number of {what}", got=count, expected=f"a multiple of the {group} groups")


def _channels(call: StandardCall, got: int | None, expected: int | None, hint: str) -> Finding:
    return call.finding("channels", "number of input channels", got=got, expected=str(expected), hint=hint)


def _output_padding(call: StandardCall) -> Iterator[Finding]:
    """An output padding is smaller than the stride or the dilation: else no input would reach it."""
    padding = call.integers("output_padding")
    axes = len(padding)
    steps = [v if len(v) == axes else (1,) * axes for v in map(call.integers, ("strides", "dilations"))]
    limits = [max(s, d) for s, d in zip(*steps, strict=True)]
    if any(p >= limit for p, limit in zip(padding, limits, strict=True)):
        expected = f"each smaller than its stride or dilation, {limits}"
        yield call.finding("output-padding", "attribute 'output_padding'", got=list(padding), expected=expected)


def _output_size(call: StandardCall, sides: _Sides) -> Iterator[Finding]:
    """stride * (size - 1) + output padding + extent of the kernel - pads, at least 1 along each axis."""
    spatial, kernel = sides.spatial, sides.kernel
    if spatial is None or kernel is None or len(spatial) != len(kernel) or call.integers("output_shape"):
        return
    axes, pads = len(spatial), call.integers("pads")
    if len(pads) != 2 * axes or call.text("auto_pad") not in ("", "NOTSET"):
        return
    strides, dilations, extra = (
        v if len(v) == axes else (default,) * axes
        for v, default in ((call.integers(n), int(n != "output_padding")) for n in _STEPS)
    )
    for axis, (size, taps) in enumerate(zip(spatial, kernel, strict=True)):
        if not size or not taps:
            continue
        full = strides[axis] * (size - 1) + extra[axis] + dilations[axis] * (taps - 1) + 1
        if full <= pads[axis] + pads[axis + axes]:
            yield call.finding(
                "pads",
                f"pads along spatial axis {axis}",
                got=pads[axis] + pads[axis + axes],
                expected=f"fewer than the {full} elements that are made there",
            )
