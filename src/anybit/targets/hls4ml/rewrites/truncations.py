"""Trunc as two quantisers: back to the integers of its input, then on the coarser grid.

Trunc(x, s) = Mul(Quant_t(Quant_1(Div(x, s))), s_out / t),  t the power of two that it divides by
"""

from __future__ import annotations

import math

import numpy as np

from anybit.grid import Grid
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.operator import Call
from anybit.ops.trunc import TRUNC
from anybit.rounding import Rounding
from anybit.targets.hls4ml.repairs import Repairs, Step, quant_step

_WIDE = (-(1 << 31), (1 << 31) - 1)  # Trunc does not clip its input


def rewrite_truncations(repairs: Repairs) -> None:
    """Spells out each Trunc whose parameters are constant scalars and whose zero point is 0."""
    for node in list(repairs.model.graph):
        operator = operator_of(node, repairs.model.opset_imports)
        if operator is None or not is_call(node, TRUNC) or node.inputs[0] is None:
            continue
        steps = _steps(call_of(node, operator), versioned="out_scale" in [f.name for f in operator.inputs])
        if steps is None:
            continue
        repairs.add(node, "Trunc becomes a quantiser on the grid that it keeps")
        repairs.replace(node, node.inputs[0], steps)


def _steps(call: Call, *, versioned: bool) -> list[Step] | None:
    names = ("scale", "zeropt", "in_bitwidth", "out_bitwidth", *(("out_scale",) if versioned else ()))
    arrays = [call.constants.get(n) for n in names]
    numbers = [float(a.reshape(())) for a in arrays if a is not None and a.size == 1]
    if len(numbers) < len(names) or numbers[1] != 0:
        return None
    scale, _, in_bits, out_bits, *rest = numbers
    rounding = Rounding.parse(str(call.attributes["rounding_mode"]))
    if rest:
        divisor = 2.0 ** round(math.log2(rest[0] / scale))
        grid = Grid(int(out_bits), signed=bool(call.attributes["signed"]), narrow=bool(call.attributes["narrow"]))
        bounds, factor = (grid.lo, grid.hi), rest[0] / divisor
    else:
        divisor = 2.0 ** (in_bits - out_bits)
        bounds, factor = _WIDE, scale / divisor
    whole = [quant_step(*_WIDE), quant_step(*bounds, scale=np.asarray(divisor, np.float32), rounding=rounding)]
    return [Step("Div", (np.asarray(scale, np.float32),)), *whole, Step("Mul", (np.asarray(factor, np.float32),))]
