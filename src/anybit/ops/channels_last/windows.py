"""Attributes and rules that Conv and the pools with channels last share."""

from __future__ import annotations

from collections.abc import Iterable

from anybit.errors import Finding
from anybit.ops.operator import Attribute, Call

KERNEL_SHAPE = Attribute("kernel_shape", tuple, None, "extent of the kernel along each spatial axis")
STRIDES = Attribute("strides", tuple, (), "distance of the windows along each spatial axis; all 1 if left out")
PADS = Attribute("pads", tuple, (), "padding before each spatial axis, then behind; none if left out")
DILATIONS = Attribute("dilations", tuple, (), "distance of the taps along each spatial axis; all 1 if left out")
CEIL_MODE = Attribute("ceil_mode", int, 0, "1 counts a last window that lies partly beside X")
AUTO_PAD = Attribute("auto_pad", str, "NOTSET", "NOTSET, VALID, SAME_UPPER or SAME_LOWER")

_MODES = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def check_windows(call: Call) -> Iterable[Finding]:
    """The lists have an entry for each spatial axis, the pads two; all but the pads are positive."""
    shape, kernel = call.shapes.get("X"), call.attributes["kernel_shape"]
    axes = len(kernel) if isinstance(kernel, tuple) else 0
    if shape is not None and len(shape) < 3:
        yield call.finding("rank", "rank of X", got=len(shape), expected="at least 3: (N, spatial..., C)")
    elif shape is not None and axes != len(shape) - 2:
        yield call.finding("kernel", "kernel_shape", got=kernel, expected=f"{len(shape) - 2} extents, one an axis")
    for name in ("kernel_shape", "strides", "pads", "dilations"):
        values, count = call.integers(name), axes * (1 + (name == "pads"))
        if not values and name != "kernel_shape":
            continue
        least = 0 if name == "pads" else 1
        if len(values) != count or min(values, default=0) < least:
            yield call.finding("windows", name, got=values, expected=f"{count} numbers from {least} up")
    if call.attributes["auto_pad"] not in _MODES:
        yield call.finding("padding", "auto_pad", got=call.attributes["auto_pad"], expected=", ".join(_MODES))
