"""Windows: which elements of a tensor a mean, or a convolution of ones, adds up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from anybit.arrays import Array

MEANS = frozenset(("AveragePool", "GlobalAveragePool", "ReduceMean"))
"""The operators whose means are followed."""


@dataclass(frozen=True)
class Windows:
    """Windows inside of the space of a channel, or along other axes; all of it where there are no steps.

    Attributes:
        extents: Elements of a window along each axis.
        steps: From one window to the next.
        dilations: From one element of a window to the next.
        axes: Along which they lie, and whether these stay as axes of length 1; None for the space of each channel,
            whose axes stay.
    """

    extents: tuple[int, ...]
    steps: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    axes: tuple[tuple[int, ...], bool] | None = None

    @property
    def elements(self) -> int:
        """Number of elements that one window adds up."""
        return math.prod(self.extents)


def windows_of_mean(node: ir.Node, shape: Sequence[int | None], given: Array | None) -> Windows | None:
    """The windows over which a node takes means; None if they are not known, or reach over an edge or over samples.

    Args:
        node: One of `MEANS`.
        shape: Of its input.
        given: The axes of a ReduceMean, where they are an input.
    """
    rank = len(shape)
    if node.op_type == "AveragePool":
        return windows_of(node, node.attributes.get_ints("kernel_shape", ()), shape[2:])
    axes, kept = tuple(range(2, rank)), True
    if node.op_type == "ReduceMean":
        listed = node.attributes.get_ints("axes") if "axes" in node.attributes else None
        listed = given.reshape(-1).tolist() if listed is None and given is not None else listed
        if not listed or not rank:
            return None  # all axes, or none
        axes, kept = tuple(sorted({a % rank for a in listed})), node.attributes.get_int("keepdims", 1) == 1
    extents = tuple(n for n in (shape[a] for a in axes) if n is not None)
    if not axes or 0 in axes or len(extents) < len(axes):
        return None
    return Windows(extents) if (axes, kept) == (tuple(range(2, rank)), True) else Windows(extents, axes=(axes, kept))


def windows_of(node: ir.Node, extents: Sequence[int], space: Sequence[int | None]) -> Windows | None:
    """The windows of a convolution or a pool that lie inside the space; None where some reach over the edge."""
    if None in space or pads(node) or node.attributes.get_int("ceil_mode", 0):
        return None
    ones = (1,) * len(extents)
    steps = tuple(node.attributes.get_ints("strides", ones))
    dilations = tuple(node.attributes.get_ints("dilations", ones))
    if tuple(extents) == tuple(space) and dilations == ones:
        return Windows(tuple(extents))  # one window, however far the next one would be
    return Windows(tuple(extents), steps, dilations)


def pads(node: ir.Node) -> bool:
    """Whether some sums of a product have fewer terms than others, since a window reaches over the edge."""
    attributes = {name: a.value for name, a in node.attributes.items()}
    return any(attributes.get("pads", ())) or attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
