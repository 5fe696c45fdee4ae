"""Chain: a tensor as what a chain of element-wise nodes makes of numbers, channel by channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.exact.monotone import direction, is_elementwise
from anybit.exact.numbers import Floats, Integers, Pairs
from anybit.exact.step_function import Proof, StepFunction
from anybit.graph.walk import label, shape_of
from anybit.ops.evaluate import compiled, known_value
from anybit.ops.multi_threshold import channel_axis
from anybit.ops.standard.kernels import Kernel


@dataclass(frozen=True)
class ChainStep:
    """One element-wise node.

    Attributes:
        node: The node.
        kernel: What computes it.
        position: The input that varies.
        parameters: The other inputs, which broadcast to (n, channels).
        proven: Whether it is proven to rise or to fall.
    """

    node: ir.Node
    kernel: Kernel
    position: int
    parameters: tuple[Array | None, ...]
    proven: bool = True

    def __call__(self, x: Array) -> Array:
        """The node's output for (n, channels) numbers."""
        (y,) = self.kernel([*self.parameters[: self.position], x, *self.parameters[self.position + 1 :]])
        return y

    def of(self, channels: npt.NDArray[np.intp], count: int) -> ChainStep:
        """The node for some of so many channels."""
        by_channel = [p is not None and p.ndim > 0 and count == len(p) for p in self.parameters]
        parameters = zip(self.parameters, by_channel, strict=True)
        return replace(self, parameters=tuple(p[channels] if p is not None and b else p for p, b in parameters))


@dataclass(frozen=True)
class Chain:
    """A tensor of a hub model as element-wise nodes behind numbers.

    Attributes:
        root: The numbers.
        axis: Along which the function varies; None where it does not.
        channels: Number of functions along it, or 1.
        steps: The nodes, in order.
        rising: By channel, 1 where the tensor is proven never to fall with the numbers, -1 where it never rises; None
            where neither is proven.
        private: Whether nothing else reads any tensor between the numbers and this one.
    """

    root: Integers | Floats | Pairs
    axis: int | None
    channels: int
    steps: tuple[ChainStep, ...] = ()
    rising: Float64s | None = field(default_factory=lambda: np.ones(1))
    private: bool = True

    def __call__(self, reals: Array) -> Array:
        """The tensor for reals of the root, (n, channels) or (n, 1); NaN where a tensor on the way is NaN."""
        current = np.broadcast_to(reals, (len(reals), self.channels))
        missing = np.zeros(current.shape, np.bool_)
        for step in self.steps:
            current = step(current)
            missing |= np.isnan(current)  # BipolarQuant and MultiThreshold make numbers of NaN
        return np.where(missing, current.dtype.type(np.nan), current)

    def of(self, channels: npt.NDArray[np.intp], root: Integers | Floats) -> Chain:
        """The chain of some channels, `root` being their numbers."""
        rising = self.rising if self.rising is None or self.rising.size == 1 else self.rising[channels]
        steps = tuple(step.of(channels, self.channels) for step in self.steps)
        return replace(self, root=root, channels=len(channels), steps=steps, rising=rising)

    @property
    def plain(self) -> Integers | None:
        """The numbers, if they are whole and nothing is done to them."""
        return self.root if not self.steps and isinstance(self.root, Integers) else None


def chain_of(root: Integers | Floats | Pairs) -> Chain:
    """The chain without any node: its values are the numbers that it starts from."""
    parts = (root.a, root.b) if isinstance(root, Pairs) else (root,)
    signs = np.broadcast_arrays(*(np.sign(part.scale) for part in parts))
    axis = next((part.axis for part in parts if part.axis is not None), None)
    return Chain(root, axis, len(signs[0]), rising=signs[0] if all((s == signs[0]).all() for s in signs) else None)


def levels_of(chain: Chain, reals: Array, scale: Float64s, zero_point: Float64s | float = 0.0) -> Float64s:
    """The levels, by channel, at the end of a chain that ends in a quantiser of this scale and zero point."""
    return np.rint(chain(reals).astype(np.float64) / scale + zero_point)


def step_function_of(
    chain: Chain, root: Integers | Floats, scale: Float64s, node: ir.Node, zero_point: Float64s | float = 0.0
) -> StepFunction:
    """The function from the numbers of a chain to the levels of the quantiser that it ends in.

    Args:
        chain: Numbers, and the nodes up to and with the quantiser.
        root: The numbers, which are no pairs.
        scale: By channel, what one level stands for.
        node: The quantiser.
        zero_point: By channel, the level of 0.
    """
    rising = None if chain.rising is None else np.broadcast_to(np.where(chain.rising > 0, 1.0, -1.0), chain.channels)
    return StepFunction(
        lo=np.broadcast_to(root.lo, chain.channels),
        hi=np.broadcast_to(root.hi, chain.channels),
        channels=chain.channels,
        evaluate=lambda numbers: levels_of(chain, root.reals(numbers), scale, zero_point),
        direction=rising,
        proof=Proof.NONE if rising is None else Proof.COMPOSITION,
        node=label(node),
        doubtful=next((label(s.node) for s in chain.steps if not s.proven), ""),
    )


def extended(chain: Chain, node: ir.Node, position: int, opsets: Mapping[str, int]) -> Chain | Refusal:
    """The chain and one more node, or why that does not act channel by channel."""
    kernel = compiled(node, opsets)
    x = node.inputs[position]
    if x is None or kernel is None or not is_elementwise(node, position, opsets):
        return Refusal(problem="not known to act element by element", node=label(node))
    shape = shape_of(x)
    if shape is None or shape != shape_of(node.outputs[0]) or node.outputs[0].dtype != ir.DataType.FLOAT:
        return Refusal(problem="it changes the shape or the type", node=label(node), expected="FLOAT")
    axis, channels = chain.axis, chain.channels
    parameters: list[Array | None] = []
    for index, value in enumerate(node.inputs):
        known = None if index == position else known_value(value, opsets)
        if known is None and value is not None and index != position:
            return Refusal(problem="a parameter is computed", node=label(node), got=str(value.name))
        if known is not None and known.size != 1:
            place = 1 if node.op_type == "BatchNormalization" else _place(known, len(shape), axis)
            fits = place is not None and shape[place] in (None, known.size)
            if place is None or not fits or (channels > 1 and (place, known.size) != (axis, channels)):
                return Refusal(problem="a parameter that is not one by channel", node=label(node), got=str(known.shape))
            axis, channels = place, known.size
        flat = None if known is None else known.reshape(-1)
        parameters.append(
            flat[0] if flat is not None and flat.size == 1 and known is not None and not known.ndim else flat
        )
    rising = direction(node, position, opsets)
    along = None if chain.rising is None or rising is None else chain.rising * rising.reshape(-1)
    step = ChainStep(node, kernel, position, tuple(parameters), proven=rising is not None)
    return replace(
        chain, axis=axis, channels=channels, steps=(*chain.steps, step), rising=along, private=is_private(chain, x)
    )


def thresholded(chain: Chain, node: ir.Node, opsets: Mapping[str, int]) -> Chain | Refusal:
    """The chain and a MultiThreshold, whose rows of thresholds are by channel."""
    x, kernel, rows = node.inputs[0], compiled(node, opsets), known_value(node.inputs[1], opsets)
    shape = None if x is None else shape_of(x)
    if x is None or kernel is None or rows is None or shape is None or x.dtype != ir.DataType.FLOAT:
        return Refusal(problem="thresholds that are computed, or a tensor of unknown shape", node=label(node))
    axis, channels = chain.axis, chain.channels
    if len(rows) > 1:
        layout = node.attributes.get_string("data_layout", "NCHW")
        place = channel_axis(layout, len(shape))
        if channels > 1 and (place, len(rows)) != (axis, channels):
            return Refusal(problem="rows of thresholds for other channels than its input has", node=label(node))
        axis, channels = place, len(rows)
    rises = node.attributes.get_float("out_scale", 1.0) >= 0
    rising = None if chain.rising is None else chain.rising * (1.0 if rises else -1.0)
    step = ChainStep(node, kernel, 0, (None, np.broadcast_to(rows, (channels, rows.shape[1]))))
    return replace(
        chain, axis=axis, channels=channels, steps=(*chain.steps, step), rising=rising, private=is_private(chain, x)
    )


def is_private(chain: Chain, value: ir.Value) -> bool:
    """Whether only one node reads the tensor, and what it is computed from."""
    return chain.private and len(value.uses()) == 1 and not value.is_graph_output()


def _place(parameter: Array, rank: int, axis: int | None) -> int | None:
    """The axis of the output along which a parameter varies, if it is one: that of the channels, never of a batch."""
    long = [i for i, n in enumerate(parameter.shape) if n != 1]
    place = rank - parameter.ndim + long[0] if long else 0
    return place if len(long) == 1 and (place >= 1 or place == axis) else None
