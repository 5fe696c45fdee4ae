"""moved: whole numbers behind an operator that moves, selects or joins elements, whatever it does to the channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.exact.chain import Chain, ChainStep
from anybit.exact.numbers import Integers
from anybit.graph.walk import label, shape_of
from anybit.ops.evaluate import EVALUATION_ERRORS, compiled, known_value
from anybit.ops.traits import MOVING, Movement, standard

MOVES = MOVING | {"Pad", "Resize"}
"""Operators whose output holds elements of their first input, and zeros; a Resize only if it takes the nearest."""
ORDERED = standard(lambda t: t.movement is Movement.MAXIMUM)
"""Those that compare elements: they commute with functions that rise."""


@dataclass(frozen=True)
class Map:
    """Where the channels of a tensor went.

    Attributes:
        axis: Along which they lie now; None where they are not told apart.
        source: For each entry along it, the channel that it was.
    """

    axis: int | None
    source: np.typing.NDArray[np.int64]

    def keeps(self, channels: int) -> bool:
        """Whether all channels stay in their order, whatever the axis."""
        return np.array_equal(self.source, np.arange(channels))

    def __call__(self, by_channel: Array) -> Array:
        """What was by channel, by the channels that there are now."""
        return by_channel if by_channel.ndim == 0 or by_channel.size == 1 else by_channel[self.source]


def map_of(node: ir.Node, axis: int | None, channels: int, opsets: Mapping[str, int]) -> Map | Refusal:
    """Where an operator of `MOVES` moves the channels."""
    x = node.inputs[0]
    shape = None if x is None else shape_of(x)
    unclear = Refusal(problem="it is not known where it moves channels", node=label(node))
    if len(node.outputs) != 1 or shape is None or (node.op_type == "Pad" and _pads(node, axis, opsets)):
        return unclear
    if node.op_type == "Resize" and not _takes_nearest(node):
        return unclear
    if axis is None or channels == 1 or node.op_type == "Pad":
        return Map(axis, np.arange(channels))
    if None in shape[1:]:
        return replace(unclear, hint="give the model static shapes")
    kernel = compiled(node, opsets)
    known = [known_value(v, opsets) for v in node.inputs[1:]]
    if kernel is None or any(k is None and v is not None for k, v in zip(known, node.inputs[1:], strict=True)):
        return unclear
    along = np.arange(channels, dtype=np.float32).reshape(-1, *(1,) * (len(shape) - axis - 1))
    try:
        (moved,) = kernel([np.broadcast_to(along, [n or 1 for n in shape]).copy(), *known])
    except EVALUATION_ERRORS:
        return unclear
    varying = [i for i in range(moved.ndim) if moved.shape[i] > 1 and (moved != moved.take([0], i)).any()]
    if len(varying) > 1 or (varying and varying[0] == 0) or not moved.size:
        return replace(unclear, problem="it spreads channels over several axes")
    if not varying:
        return Map(None, moved.reshape(-1)[:1].astype(np.int64))
    first: list[int | slice] = [0] * moved.ndim
    first[varying[0]] = slice(None)
    return Map(varying[0], moved[tuple(first)].astype(np.int64))


def _takes_nearest(node: ir.Node) -> bool:
    """Whether all that a Resize makes are elements of its input."""
    where = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return node.attributes.get_string("mode", "nearest") == "nearest" and where != "tf_crop_and_resize"


def _pads(node: ir.Node, axis: int | None, opsets: Mapping[str, int]) -> bool:
    """Whether a Pad adds anything but zeros and elements, or adds channels."""
    pads = known_value(node.inputs[1], opsets) if len(node.inputs) > 1 else _attribute(node, "pads")
    fill = known_value(node.inputs[2], opsets) if len(node.inputs) > 2 and node.inputs[2] is not None else 0.0
    axes = len(node.inputs) > 3 and node.inputs[3] is not None
    if pads is None or fill is None or np.any(fill) or node.attributes.get_float("value", 0.0) or axes:
        return True
    return axis is not None and bool(pads.reshape(2, -1)[:, axis].any())


def _attribute(node: ir.Node, name: str) -> Array | None:
    given = node.attributes.get(name)
    return None if given is None else np.asarray(given.as_ints())


def moved(chain: Chain, root: Integers, place: Map, value: ir.Value, *, zeros: bool, private: bool) -> Chain:
    """The chain behind an operator that moves the numbers of `root` to `value`."""

    def spread(by_channel: Float64s) -> Float64s:
        full = np.broadcast_to(by_channel, chain.channels) if by_channel.size > 1 else by_channel
        return np.asarray(place(full))

    lo, hi = spread(root.lo), spread(root.hi)
    numbers = replace(
        root,
        value=value,
        axis=place.axis,
        scale=spread(root.scale),
        lo=np.minimum(lo, 0) if zeros else lo,
        hi=np.maximum(hi, 0) if zeros else hi,
        bias=None if root.bias is None else spread(root.bias),
        parity=None if zeros else root.parity,
        mac=root.mac if private and place.keeps(chain.channels) else None,
    )
    steps = tuple(_spread(s, place) for s in chain.steps)
    rising = None if chain.rising is None else spread(chain.rising)
    count = chain.channels if place.axis is None and chain.channels == 1 else len(place.source)
    return Chain(numbers, place.axis, count, steps, rising, private)


def _spread(step: ChainStep, place: Callable[[Array], Array]) -> ChainStep:
    return replace(step, parameters=tuple(None if p is None else place(p) for p in step.parameters))


def joined(node: ir.Node, parts: Sequence[Integers], value: ir.Value) -> Integers | Refusal:
    """The numbers behind a Concat; their scales may differ where it joins channels."""
    shape = shape_of(node.outputs[0])
    refusal = Refusal(problem="it joins numbers of different scales", node=label(node), hint="give them one scale")
    if not shape or any(p.bias is not None for p in parts):
        return refusal
    axis = node.attributes.get_int("axis", 0) % len(shape)
    lo, hi = min(p.lo.min() for p in parts), max(p.hi.max() for p in parts)
    units = np.concatenate([p.unit.reshape(-1) for p in parts])
    error, steps = max(p.relative_error for p in parts), max(p.step_error for p in parts)
    if (units == units[0]).all():
        return Integers(value, None, units[:1], np.full(1, lo), np.full(1, hi), relative_error=error, step_error=steps)
    sizes = [(shape_of(v) or ())[axis] for v in node.inputs if v is not None and shape_of(v)]
    if axis == 0 or len(sizes) != len(parts) or None in sizes or any(p.axis not in (None, axis) for p in parts):
        return refusal
    lengths = [n or 0 for n in sizes]

    def along(arrays: Sequence[Float64s]) -> Float64s:
        return np.concatenate([np.broadcast_to(a, n) for a, n in zip(arrays, lengths, strict=True)])

    return Integers(
        value,
        axis,
        along([p.unit for p in parts]),
        along([p.lo for p in parts]),
        along([p.hi for p in parts]),
        relative_error=error,
        step_error=steps,
    )


def window_of(node: ir.Node) -> tuple[list[int], dict[str, ir.Attr]] | Refusal:
    """Kernel and attributes of the Conv of ones that adds up what an AveragePool or GlobalAveragePool averages."""
    x = node.inputs[0]
    shape = None if x is None else shape_of(x)
    if shape is None or len(shape) < 3 or None in shape[1:]:
        return Refusal(problem="the mean of a tensor whose shape is not known", node=label(node))
    if node.op_type == "GlobalAveragePool":
        return [n or 0 for n in shape[2:]], {}
    names = ("kernel_shape", "strides", "pads", "dilations", "auto_pad")
    kept = {n: a for n, a in node.attributes.items() if n in names}
    kernel = [int(n) for n in kept["kernel_shape"].as_ints()]
    padded = any(kept["pads"].as_ints()) if "pads" in kept else False
    auto = kept["auto_pad"].as_string() if "auto_pad" in kept else "NOTSET"
    uneven = (padded or auto not in ("NOTSET", "VALID")) and not node.attributes.get_int("count_include_pad", 0)
    if uneven or node.attributes.get_int("ceil_mode", 0):
        return Refusal(
            problem="its windows do not all have one number of elements",
            node=label(node),
            expected="no padding, or count_include_pad, and no ceil_mode",
        )
    return kernel, kept
