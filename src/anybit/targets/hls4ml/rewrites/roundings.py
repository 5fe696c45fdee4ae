"""Rounding modes that ap_fixed does not have, by the one that drops bits.

CEIL(x) = -FLOOR(-x);  on r >= 0: HALF_UP(r) = FLOOR(r + s/2), HALF_DOWN(r) = -FLOOR(s/2 - r), UP(r) = -FLOOR(-r),
DOWN(r) = FLOOR(r);  R(x) = R(Relu(x)) - R(Relu(-x)) for these four;  s the step of the grid
"""

from __future__ import annotations

import numpy as np

from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import read_quant
from anybit.rounding import Rounding
from anybit.targets.hls4ml.repairs import Repairs, Step, quant_step
from anybit.targets.hls4ml.rewrites.quantizers import is_fixed_point

_HAD = (Rounding.ROUND, Rounding.FLOOR)
_NEGATIVE = Step("Mul", (np.asarray(-1, np.float32),))


def rewrite_roundings(repairs: Repairs) -> None:
    """Spells out each quantiser of an activation whose rounding mode is neither ROUND nor FLOOR."""
    for node in list(repairs.model.graph):
        x = node.inputs[0] if node.inputs else None
        if not is_call(node, QUANT) or x is None or constant(x) is not None:
            continue
        quantizer = read_quant(node, repairs.model)
        if isinstance(quantizer, Refusal) or quantizer.rounding in _HAD or not is_fixed_point(quantizer):
            continue
        lo, hi, scale = int(quantizer.lo), int(quantizer.hi), quantizer.scale.reshape(-1)[:1].reshape(())
        most = max(abs(lo), abs(hi)) + 1
        floor = quant_step(-most - 1, most, scale=scale, rounding=Rounding.FLOOR)
        steps = _steps(quantizer.rounding, floor, scale)
        final = quant_step(lo, hi, scale=scale)
        repairs.add(node, "its rounding becomes arithmetic and FLOOR", got=quantizer.rounding.value)
        if lo >= 0 or quantizer.rounding is Rounding.CEIL:  # what is below 0 is clipped
            repairs.replace(node, x, [*steps, final])
            continue
        positive = repairs.chain(node, x, [Step("Relu"), *steps])
        negative = repairs.chain(node, x, [_NEGATIVE, Step("Relu"), *steps])
        repairs.replace(node, repairs.join(node, "Sub", positive, negative), [final])


def _steps(rounding: Rounding, floor: Step, scale: np.ndarray) -> list[Step]:
    """The mode on numbers that are not negative; CEIL on all."""
    half = Step("Add", (np.asarray(scale / 2, np.float32),))
    if rounding is Rounding.HALF_UP:
        return [half, floor]
    if rounding is Rounding.HALF_DOWN:
        return [_NEGATIVE, half, floor, _NEGATIVE]
    return [floor] if rounding is Rounding.DOWN else [_NEGATIVE, floor, _NEGATIVE]
