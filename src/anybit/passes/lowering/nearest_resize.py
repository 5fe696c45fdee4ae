"""whole_factors: nearest-neighbour enlargement in which every output lies in the block of its element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.graph.walk import shape_of

_HALF_PIXELS = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
_NEAREST = ("round_prefer_floor", "round_prefer_ceil")


def whole_factors(resize: ir.Node, opset: int) -> tuple[int, ...] | None:
    """Whole factors of the spatial axes, where each output is the element whose block it lies in."""
    attributes = {name: a.value for name, a in resize.attributes.items()}
    modern = resize.op_type == "Resize" and opset >= 11
    if modern and (not _takes_own_block(attributes) or "axes" in attributes or attributes.get("antialias", 0)):
        return None
    scales = constant(resize.inputs[2 if modern else 1]) if len(resize.inputs) > (2 if modern else 1) else None
    if not modern and "scales" in attributes:
        scales = np.array(attributes["scales"])
    if scales is None or not scales.size:
        scales = _scales_of_sizes(resize) if modern else None
    if scales is None or (scales[:2] != 1).any() or (scales != np.round(scales)).any() or (scales < 1).any():
        return None
    return tuple(int(s) for s in scales[2:])


def _takes_own_block(attributes: Mapping[str, Any]) -> bool:
    """Whether each output is nearest to the element in whose block it lies, for every whole factor."""
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = attributes.get("nearest_mode", "round_prefer_floor")
    if coordinates in _HALF_PIXELS:  # no half pixel lies half-way between two elements
        return rounding in _NEAREST
    return (coordinates, rounding) == ("asymmetric", "floor")


def _scales_of_sizes(resize: ir.Node) -> npt.NDArray[np.float64] | None:
    sizes = constant(resize.inputs[3]) if len(resize.inputs) > 3 else None
    shape = None if resize.inputs[0] is None else shape_of(resize.inputs[0])
    policy = resize.attributes.get("keep_aspect_ratio_policy")
    if sizes is None or shape is None or len(sizes) != len(shape) or not all(shape):
        return None
    if policy is not None and policy.value != "stretch":
        return None
    return sizes / np.array([d or 0 for d in shape])
