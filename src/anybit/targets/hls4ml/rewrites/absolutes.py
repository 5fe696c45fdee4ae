"""Abs, which hls4ml does not have: Abs(x) = Max(x, -x)."""

from __future__ import annotations

import numpy as np

from anybit.targets.hls4ml.repairs import Repairs, Step


def rewrite_absolutes(repairs: Repairs) -> None:
    """Makes a maximum of each Abs."""
    for node in repairs.nodes("Abs"):
        x = node.inputs[0]
        if x is None:
            continue
        negative = repairs.chain(node, x, [Step("Mul", (np.asarray(-1, np.float32),))])
        repairs.add(node, "Abs becomes the maximum of both signs")
        repairs.replace_joined(node, "Max", x, negative)
