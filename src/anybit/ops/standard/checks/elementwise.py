"""Rules of element-wise operators whose inputs do not all broadcast to each other.

Where ONNX Runtime 1.32 takes more: it lets the slope of PRelu enlarge the output, against the shape that the standard's
inference gives it.
"""

from __future__ import annotations

from collections.abc import Iterator

from anybit.errors import Finding
from anybit.ops.standard.checks.call import StandardCall
from anybit.ops.standard.checks.parameters import check_single

_BROADCASTING = 7  # the first version whose slope broadcasts; before, it is one number or one by channel


def clip(call: StandardCall) -> Iterator[Finding]:
    """The bounds of Clip are single numbers."""
    yield from check_single(call, "min", "max")


def prelu(call: StandardCall) -> Iterator[Finding]:
    """The slope of PRelu broadcasts to X, which keeps its shape."""
    x, slope = call.shapes.get("X"), call.shapes.get("slope")
    if x is None or slope is None or call.version < _BROADCASTING:
        return
    behind = x[len(x) - len(slope) :] if len(slope) <= len(x) else None
    if behind is None or any(s not in (None, 1) and n not in (None, s) for s, n in zip(slope, behind, strict=True)):
        yield call.finding(
            "slope",
            "shape of 'slope'",
            got=list(slope),
            expected=f"one that broadcasts to X, {list(x)}",
            hint="give X the larger shape first, by Expand",
        )
