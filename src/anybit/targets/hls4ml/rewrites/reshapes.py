"""Squeeze and Unsqueeze as Reshape, which hls4ml has."""

from __future__ import annotations

import numpy as np

from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.targets.hls4ml.repairs import Repairs, Step


def rewrite_reshapes(repairs: Repairs) -> None:
    """Makes a Reshape of each Squeeze and Unsqueeze of a computed tensor."""
    for node in repairs.nodes("Squeeze", "Unsqueeze"):
        x, shape = node.inputs[0], shape_of(node.outputs[0])
        if x is None or constant(x) is not None or shape is None or None in shape:
            continue
        repairs.add(node, f"{node.op_type} becomes Reshape")
        repairs.replace(node, x, [Step("Reshape", (np.array([d or 1 for d in shape], np.int64),))])
