"""Averages as sums: hls4ml rounds the average of a window to the type of its input.

AveragePool(x) = Mul(Conv(x, ones, group = C), 1 / taps)
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from anybit.graph.walk import label, shape_of
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.sizes import refuse_bytes
from anybit.targets.hls4ml.repairs import Repairs, Step, quant_step


def rewrite_averages(repairs: Repairs) -> None:
    """Makes a depthwise convolution with ones, and a multiplication, of each average over positions."""
    for node in repairs.nodes("AveragePool", "GlobalAveragePool"):
        x = node.inputs[0]
        shape = None if x is None else shape_of(x)
        if x is None or shape is None or len(shape) != 4 or None in shape:
            continue
        windows = _windows(node, shape[1:3])
        if windows is None:
            continue
        kernel = windows["kernel_shape"]
        refuse_bytes(4 * math.prod(kernel) * int(shape[3] or 0), label(node))
        convolution = Step(
            "Conv",
            (np.ones((int(shape[3] or 0), *kernel, 1), np.float32),),
            CHANNELS_LAST,
            {**windows, "dilations": (1, 1), "group": int(shape[3] or 0)},
        )
        steps = [convolution, Step("Mul", (np.asarray(1 / math.prod(kernel), np.float32),))]
        repairs.add(node, "an average becomes a depthwise convolution with ones and a multiplication")
        made = repairs.replace(node, x, steps)
        summed = None if made.inputs[0] is None else made.inputs[0].producer()
        if summed is not None:
            repairs.before(summed, 1, quant_step(0, 1))


def _windows(node: ir.Node, spatial: tuple[int | None, ...]) -> dict[str, tuple[int, ...]] | None:
    """The windows as a convolution has them, None where taps on a padding do not count."""
    sizes = tuple(int(s or 0) for s in spatial)
    whole = {"kernel_shape": sizes, "strides": (1, 1), "pads": (0, 0, 0, 0)}
    if node.domain != CHANNELS_LAST:
        return None
    if node.op_type == "GlobalAveragePool":
        return whole
    names = ("kernel_shape", "strides", "pads")
    windows = {name: tuple(node.attributes.get_ints(name, ())) for name in names}
    plain = not node.attributes.get_int("ceil_mode", 0) and set(node.attributes.get_ints("dilations", ())) <= {1}
    counted = node.attributes.get_int("count_include_pad", 0) or not any(windows["pads"])
    return windows if plain and counted and all(windows.values()) else None
