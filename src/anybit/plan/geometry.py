"""Geometry: how tensors of a model lie in a plan, and the windows of convolutions and pools."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.walk import label, shape_of
from anybit.ops.evaluate import EVALUATION_ERRORS, compiled, known_value
from anybit.ops.standard.windows import Windows
from anybit.ops.traits import standard
from anybit.plan.plan import Int32s, Window

_SUMS = standard(lambda t: t.sums)
_IMAGE = 3  # axes, from which on channels may lie last
_PLANE = 2


@dataclass(frozen=True)
class Layout:
    """How one sample of a tensor of the model lies in a plan.

    Attributes:
        shape: Its shape in the model, without the batch.
        channels_last: Whether its first axis, that of the channels, lies last.
    """

    shape: tuple[int, ...]
    channels_last: bool

    @property
    def elements(self) -> int:
        """Their number."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """Elements of the axis that lies last."""
        return self.shape[0 if self.channels_last else -1] if self.shape else 1

    @property
    def channels_first(self) -> bool:
        """Whether the model has the channels first, and the plan has not."""
        return self.channels_last and self.elements > self.channels > 1

    def is_along(self, axis: int) -> bool:
        """Whether an axis of the model's tensor, the batch being 0, is the one that lies last."""
        return axis == (1 if self.channels_last else len(self.shape))

    def stored(self, array: Array) -> Array:
        """Samples of the model as they lie in the plan: (n, elements)."""
        moved = np.moveaxis(array, 1, -1) if self.channels_last else array
        return moved.reshape(len(array), -1)

    def hub(self, array: Array) -> Array:
        """Samples of the plan as the model has them: (n, shape...)."""
        if not self.channels_last:
            return array.reshape(len(array), *self.shape)
        return np.moveaxis(array.reshape(len(array), *self.shape[1:], self.shape[0]), -1, 1)


def multiplications(node: ir.Node) -> int:
    """About how many a product takes for one sample; 0 for another node, or where a size is not known."""
    if node.op_type not in _SUMS or node.domain != "" or len(node.inputs) < 2 or node.inputs[1] is None:
        return 0
    made, weights = sample_shape(node.outputs[0]), [n or 1 for n in shape_of(node.inputs[1]) or ()]
    if not made or not weights:
        return 0
    if node.op_type == "MatMul":
        return math.prod(made) * weights[-2 if len(weights) > 1 else -1]
    outputs = made[0] if "Conv" in node.op_type else made[-1]
    return math.prod(made) * math.prod(weights) // max(outputs, 1)


def sample_shape(value: ir.Value) -> tuple[int, ...] | None:
    """The shape of one sample, the first axis being the batch; None where it is not known."""
    shape = shape_of(value)
    if not shape or None in shape[1:]:
        return None
    return tuple(n for n in shape[1:] if n is not None)


def layout_of(value: ir.Value) -> Layout | None:
    """How a tensor lies in a plan by itself: channels last from three axes on, unless a matrix product reads it."""
    shape = sample_shape(value)
    if shape is None or not shape or 0 in shape:
        return None
    multiplied = any(n.domain == "" and n.op_type in ("MatMul", "Gemm") for n, _ in value.uses())
    return Layout(shape, channels_last=len(shape) + 1 >= _IMAGE and not multiplied)


def window_of(
    node: ir.Node, shape: tuple[int, ...], kernel: Sequence[int], attributes: Mapping[str, Any]
) -> Window | Refusal:
    """The windows over a sample (channels, spatial...) of one or two spatial axes."""
    spatial = shape[1:]
    if len(spatial) > _PLANE or len(kernel) != len(spatial) or not spatial:
        return Refusal(problem="windows over more than two axes", node=label(node), got=str(len(spatial)))
    found = Windows.of(spatial, kernel, attributes)
    if min(found.output) < 1 or min(*found.pads_begin, *found.pads_end) < 0:
        return Refusal(problem="windows that lie outside of the input", node=label(node))
    return Window(
        size=_plane(spatial, 1),
        kernel=_plane(found.kernel, 1),
        strides=_plane(found.strides, 1),
        dilations=_plane(found.dilations, 1),
        pads=_plane(found.pads_begin, 0),
        output=_plane(found.output, 1),
    )


def _plane(numbers: Sequence[int], fill: int) -> tuple[int, int]:
    """The numbers of one axis or two, as those of rows and columns."""
    return (fill, int(numbers[0])) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


def moved_index(node: ir.Node, output: int, x: Layout, y: Layout, opsets: Mapping[str, int]) -> Int32s | Refusal:
    """Where each element of an output of a node that moves its first input comes from; -1 for an added zero.

    The node itself is asked, on the numbers of the elements of two samples: what mixes samples is refused.
    """
    unclear = Refusal(problem="it is not known where it moves elements", node=label(node))
    kernel = compiled(node, opsets)
    known = [known_value(v, opsets) for v in node.inputs[1:]]
    if kernel is None or any(k is None and v is not None for k, v in zip(known, node.inputs[1:], strict=True)):
        return unclear
    if 2 * x.elements >= 1 << 24:
        return Refusal(problem="too many elements to follow", node=label(node), got=str(x.elements))
    numbers = np.arange(1, 2 * x.elements + 1, dtype=np.float32).reshape(2, x.elements)
    try:
        moved = kernel([np.ascontiguousarray(x.hub(numbers)), *known])[output]
    except EVALUATION_ERRORS:
        return unclear
    if moved.shape != (2, *y.shape) or moved.dtype != np.float32:
        return unclear
    first, second = y.stored(moved)
    if not np.array_equal(second, np.where(first > 0, first + x.elements, 0)) or (first > x.elements).any():
        return Refusal(problem="it mixes samples", node=label(node))
    return first.astype(np.int32) - 1
