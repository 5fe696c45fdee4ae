"""QLinearSoftmax.   y = round(e * floor(1 / sy) / (sum of e)) + zy,  e = table[255 + x - max(x)].

The sum is taken one element after the other in float32; the scale of the output counts only as a whole number of
steps. Found by comparing 5 million bytes with ONNX Runtime 1.32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.contributed.linear import Floats, byte_scale, required

_RESERVE = 5  # the largest sum stays below that of float32 by this many powers of e
_BYTES = 256
AXIS = -1
"""The axis where it is not given, whatever the opset."""
BY_AXIS = 13
"""The first opset whose Softmax is along one axis; before, it was over all axes from there on."""


@dataclass(frozen=True)
class Exponentials:
    """What the operator makes of the distance of a byte to the largest one.

    Attributes:
        table: e for distances -255 .. 0; the last one is the largest.
        steps: What 1 is as a byte, without the zero point.
    """

    table: Floats
    steps: np.float32

    @classmethod
    def of(cls, x_scale: np.float32, y_scale: np.float32, count: int) -> Exponentials:
        """Those for softmax over so many elements.

        Raises:
            ValueError: They exceed float32 when they are multiplied by the number of steps.
        """
        room = math.log(float(np.finfo(np.float32).max / np.float32(count)))
        shift = max(0.0, room - _RESERVE) / float(x_scale)
        exact = [math.exp((i - (_BYTES - 1) + shift) * float(x_scale)) for i in range(_BYTES)]
        table, steps = np.array(exact).astype(np.float32), np.floor(np.float32(1) / y_scale)
        with np.errstate(over="ignore"):
            if not np.isfinite(table[-1] * steps):
                raise ValueError(f"softmax over {count} elements in {steps:.0f} steps exceeds float32")
        return cls(table, steps)


def qlinear_softmax(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """Softmax of X, its scale and zero point, scale and zero point."""
    x = required(inputs, 0)
    source, y = (byte_scale(inputs, place, x.dtype) for place in (1, 3))
    axis, by_axis = int(attributes.get("axis", AXIS)), attributes.get("opset", 0) >= BY_AXIS
    rows = np.moveaxis(x, axis, -1) if by_axis else x.reshape(*x.shape[: axis % x.ndim], -1)
    exponentials = Exponentials.of(source.scale, y.scale, rows.shape[-1])
    distances = rows.astype(np.int64) - rows.max(axis=-1, keepdims=True)
    e = exponentials.table[_BYTES - 1 + distances]
    total = np.zeros(e.shape[:-1], np.float32)
    for k in range(e.shape[-1]):
        total += e[..., k]
    made = y.stored(np.rint(e * exponentials.steps / total[..., None]) + y.zero)
    return np.ascontiguousarray(np.moveaxis(made, -1, axis)) if by_axis else made.reshape(x.shape)
