"""Held: a tensor of a model as functions of the numbers of a tensor of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.exact.chain import Chain, ChainStep, extended, step_function_of
from anybit.exact.numbers import Floats, Integers
from anybit.exact.ordinals import INFINITY
from anybit.exact.step_function import StepFunction
from anybit.graph.walk import label
from anybit.ops.evaluate import compiled
from anybit.plan.geometry import Layout


@dataclass(frozen=True)
class Held:
    """A tensor of the model, element by element a function of numbers of the plan.

    Attributes:
        chains: One function, or one for each byte of the tensor that selects.
        tensor: The tensor of the plan whose numbers they start from; -1 for reals.
        layout: How both lie.
        selector: The tensor of bytes that selects the function of each element; None where there is one function.
    """

    chains: tuple[Chain, ...]
    tensor: int
    layout: Layout
    selector: int | None = None

    @property
    def plain(self) -> Integers | None:
        """The numbers of the plan, where they stand for the tensor itself."""
        return self.chains[0].plain if self.selector is None else None

    @property
    def root(self) -> Integers | Floats | None:
        """The numbers that the functions start from."""
        root = self.chains[0].root
        return root if isinstance(root, Integers | Floats) else None

    @property
    def channels(self) -> int:
        """Number of functions along the channels, or 1."""
        return max(c.channels for c in self.chains)

    @property
    def is_aligned(self) -> bool:
        """Whether what varies by channel varies along the axis that lies last."""
        axes = {c.axis for c in self.chains if c.channels > 1 and c.axis is not None}
        return all(self.layout.is_along(axis) for axis in axes)


def behind(held: Held, node: ir.Node, extend: Callable[[Chain], Chain | Refusal]) -> Held | Refusal:
    """The functions and one more node, or why that does not act channel by channel."""
    chains: list[Chain] = []
    for chain in held.chains:
        found = extend(chain)
        if isinstance(found, Refusal):
            return found
        chains.append(found)
    longer = replace(held, chains=tuple(chains))
    if not longer.is_aligned:
        return Refusal(problem="it varies along an axis that is not that of the channels", node=label(node))
    return longer


def elementwise(held: Held, node: ir.Node, position: int, opsets: Mapping[str, int]) -> Held | Refusal:
    """The functions and an element-wise node of one tensor."""
    return behind(held, node, lambda chain: extended(chain, node, position, opsets))


def paired(
    selector: Held,
    numbers: Held,
    node: ir.Node,
    positions: tuple[int, int],
    count: int,
    zero: int,
    opsets: Mapping[str, int],
) -> Held | Refusal:
    """An element-wise node of two tensors: for each level of one, a function of the numbers of the other.

    Args:
        selector: Levels.
        numbers: The other tensor, of one function.
        node: The node.
        positions: Of the two among its inputs.
        count: Number of bytes of the levels.
        zero: The byte of level 0.
        opsets: Version by domain.
    """
    levels, kernel = selector.plain, compiled(node, opsets)
    if levels is None or numbers.selector is not None or kernel is None or len(node.inputs) != 2:
        return Refusal(problem="no function of two levels", node=label(node))
    chain = numbers.chains[0]
    reals = levels.reals(np.arange(count, dtype=np.float64)[:, None] - zero)
    width = reals.shape[1]
    if width > 1 < chain.channels and (levels.axis, width) != (chain.axis, chain.channels):
        return Refusal(problem="two tensors whose channels differ", node=label(node))
    axis, channels = (chain.axis, chain.channels) if chain.channels > 1 else (levels.axis, width)
    chains: list[Chain] = []
    for row in reals:
        parameter = row if width > 1 else row[0]
        given: list[Array | None] = [None, None]
        given[positions[0]] = np.asarray(parameter)
        direction = _direction(node, positions[1], row)
        rising = None if direction is None or chain.rising is None else chain.rising * direction
        step = ChainStep(node, kernel, positions[1], tuple(given), proven=direction is not None)
        chains.append(replace(chain, axis=axis, channels=channels, steps=(*chain.steps, step), rising=rising))
    return replace(numbers, chains=tuple(chains), selector=selector.tensor)


def _direction(node: ir.Node, position: int, other: Array) -> Float64s | None:
    """Whether a node of two tensors rises or falls with one of them, the other one being known."""
    match node.op_type:
        case "Add" | "Max" | "Min":
            return np.ones(1)
        case "Sub":
            return np.ones(1) if position == 0 else -np.ones(1)
        case "Mul":
            return np.where(other < 0, -1.0, 1.0)
        case _:
            return None


def function_of(held: Held, scale: Float64s, node: ir.Node) -> StepFunction:
    """From the numbers to the levels of a quantiser of this scale, for each selected function and channel in turn.

    Infinities count among the reals.
    """
    chain, width = _joined(held), held.channels
    root = chain.root
    if isinstance(root, Floats):
        ends = np.full(1, float(INFINITY))
        root = replace(root, lo=-ends, hi=ends)
    elif not isinstance(root, Integers):
        raise TypeError("no numbers")
    along = np.tile(np.broadcast_to(scale, width), chain.channels // width) if scale.size > 1 else scale
    return step_function_of(chain, root, np.broadcast_to(along, chain.channels), node)


def _joined(held: Held) -> Chain:
    """The functions of all bytes that select as one of so many times the channels: numpy takes them at once."""
    first, count, width = held.chains[0], len(held.chains), held.channels
    root = first.root
    if count == 1 or not isinstance(root, Integers):
        return first

    def tiled(array: Array) -> Array:
        return np.tile(np.broadcast_to(array.reshape(-1), width), count)

    steps: list[ChainStep] = []
    for position, step in enumerate(first.steps):
        rows = [c.steps[position].parameters for c in held.chains]
        parameters: list[Array | None] = []
        for index, given in enumerate(step.parameters):
            each = [row[index] for row in rows]
            known = [np.broadcast_to(np.asarray(e).reshape(-1), width) for e in each if e is not None]
            parameters.append(None if given is None else np.concatenate(known))
        steps.append(replace(step, parameters=tuple(parameters)))
    rising = [c.rising for c in held.chains if c.rising is not None]
    return replace(
        first,
        root=replace(
            root,
            scale=tiled(root.scale),
            lo=tiled(root.lo),
            hi=tiled(root.hi),
            bias=None if root.bias is None else tiled(root.bias),
        ),
        channels=count * width,
        steps=tuple(steps),
        rising=np.concatenate([np.broadcast_to(r, width) for r in rising]) if len(rising) == count else None,
    )
