"""Unsigned grids without their largest integer, as ap_fixed has them for signed ones only.

min(q, hi) = hi - Relu(hi - q)
"""

from __future__ import annotations

import numpy as np

from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import read_quant
from anybit.targets.hls4ml.repairs import Repairs, Step, quant_step
from anybit.targets.hls4ml.rewrites.quantizers import is_fixed_point


def rewrite_narrow(repairs: Repairs) -> None:
    """Gives each narrow quantiser without sign its whole grid, and a minimum behind it."""
    for node in list(repairs.model.graph):
        x = node.inputs[0] if node.inputs else None
        if not is_call(node, QUANT) or x is None or constant(x) is not None:
            continue
        quantizer = read_quant(node, repairs.model)
        if isinstance(quantizer, Refusal) or not is_fixed_point(quantizer) or quantizer.grid is None:
            continue
        if quantizer.grid.signed or not quantizer.grid.narrow:
            continue
        hi, scale = int(quantizer.hi), quantizer.scale.reshape(-1)[:1].reshape(())
        negative, largest = (
            Step("Mul", (np.asarray(-1, np.float32),)),
            Step("Add", (np.asarray(hi * scale, np.float32),)),
        )
        whole = quant_step(0, hi + 1, scale=scale, rounding=quantizer.rounding)
        restated = quant_step(0, hi + 1, scale=scale)
        repairs.add(node, "its grid becomes a whole one, with a minimum behind it", got=f"0 .. {hi}")
        repairs.replace(node, x, [whole, negative, largest, Step("Relu"), negative, largest, restated])
