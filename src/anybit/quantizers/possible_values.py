"""enumerate_values: every number that a tensor can hold, where a quantiser before it makes them few."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.arrays import Array
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.ops.traits import MOVING
from anybit.quantizers.quantizer import Quantizer

_MOST_INTEGERS = 1 << 16
_MOST_VALUES = 1 << 22  # over all channels

# Their outputs hold nothing but elements of their first input, and 0.
_SELECTION = MOVING | {"Relu"}


@dataclass
class Enumeration:
    """Answers by trying every value whether a quantiser of a model means the same in both families.

    Attributes:
        model: The model, shapes inferred; it is analysed, as it is then, when the first question comes.
    """

    model: ir.Model
    _values: Values | None = field(default=None, init=False)

    def agrees(self, x: ir.Value | None, quantizer: Quantizer) -> bool:
        """Whether Quant and QuantizeLinear with these parameters give equal results for every value of x."""
        points = None if x is None else self.points(x)
        if points is None:
            return False
        try:
            return np.array_equal(quantizer(points), quantizer.linear(points))
        except ValueError:  # channels of the two grids do not fit each other
            return False

    def points(self, x: ir.Value) -> Array | None:
        """Every float32 that x can hold, along a new first axis; None where they are not known, or too many."""
        if self.model.functions or not _is_selected(x):
            return None
        if self._values is None:
            self._values = values_of(self.model)
        known = self._values.tensors.get(x)
        grid = None if known is None or known.grid is None else known.grid.centred()
        if grid is None:
            return None
        lo, hi = float(grid.lo.min(initial=0)), float(grid.hi.max(initial=0))
        if hi - lo >= _MOST_INTEGERS or (hi - lo) * grid.scale.size > _MOST_VALUES:
            return None
        integers = np.arange(lo, hi + 1, dtype=np.float32)
        rank = 0 if x.shape is None else x.shape.rank()
        return integers.reshape(-1, *[1] * rank) * grid.scale.astype(np.float32)


def _is_selected(x: ir.Value) -> bool:
    """Whether a quantiser makes the elements of x: then they are the float32 products integer * scale."""
    node = x.producer()
    while node is not None and node.domain == "" and node.op_type in _SELECTION and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None:
        return False
    return is_call(node, QUANT) or (node.domain == "" and node.op_type == "DequantizeLinear")
