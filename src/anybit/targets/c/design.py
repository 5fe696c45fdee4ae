"""Design: a plan as its C has it: pools inside products, integers at the ends, a place in memory for all between."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from anybit.plan.memory import Life, Place, place
from anybit.plan.plan import (
    Compare,
    Dequantize,
    Element,
    LookUp,
    Plan,
    Pool,
    PoolKind,
    Product,
    Quantize,
    Requantize,
    Step,
    Tensor,
    Window,
    reads,
)
from anybit.targets.c.levels import LevelRule, levels_of

_ALIGNMENT = 4


@dataclass(frozen=True)
class FusedStep:
    """A step of the integer part.

    Attributes:
        step: Of the plan; its `y` is that of the pool where there is one.
        levels: How its bytes come from sums; None where they do not.
        pool: The window of whose sums the largest is taken first; None where there is no pool.
    """

    step: Step
    levels: LevelRule | None = None
    pool: Window | None = None


@dataclass(frozen=True)
class Design:
    """A plan as its C has it.

    Attributes:
        tensors: Those of the plan.
        layers: The steps between bytes and bytes or sums.
        quantizers: Those from floats to the bytes that the caller may give.
        dequantizers: Those from what the caller may get to floats.
        inputs: Bytes that the caller may give, as tensors of the plan.
        outputs: Bytes or sums that the caller may get, likewise.
        offsets: By tensor, its first byte in the arena; of inputs and outputs, where floats are asked for.
        arena: Bytes of the arena of the integer part.
        float_arena: Bytes of the arena with inputs and outputs in it.
    """

    tensors: tuple[Tensor, ...]
    layers: tuple[FusedStep, ...]
    quantizers: tuple[Quantize | Compare, ...]
    dequantizers: tuple[Dequantize | LookUp, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    offsets: dict[int, int]
    arena: int
    float_arena: int


def design_of(plan: Plan) -> Design:
    """The design of a whole plan."""
    quantizers = tuple(s for s in plan.steps if isinstance(s, Quantize | Compare))
    dequantizers = tuple(s for s in plan.steps if isinstance(s, Dequantize | LookUp))
    inner = [s for s in plan.steps if not isinstance(s, Quantize | Compare | Dequantize | LookUp)]
    inputs = tuple(s.y for s in quantizers)
    outputs = tuple(dict.fromkeys(s.x for s in dequantizers if s.x not in inputs))
    layers = _with_pools([_layer(s, plan) for s in inner], set(outputs))
    inside = place(_lives(plan, layers, set(inputs) | set(outputs)), _ALIGNMENT)
    end = len(layers)
    last = {t: i for i, layer in enumerate(layers) for t in reads(layer.step)}
    made = {layer.step.y: i for i, layer in enumerate(layers)}
    kept = {s.x for s in dequantizers}
    ends = [Life(t, plan.tensors[t].nbytes, -1, end if t in kept else last.get(t, -1)) for t in inputs]
    ends += [Life(t, plan.tensors[t].nbytes, made[t], end) for t in outputs]
    places = place(ends, _ALIGNMENT, around=inside)
    offsets = {p.life.tensor: p.begin for p in places}
    return Design(
        plan.tensors, tuple(layers), quantizers, dequantizers, inputs, outputs, offsets, _size(inside), _size(places)
    )


def _size(places: tuple[Place, ...]) -> int:
    return max((p.end for p in places), default=0)


def _lives(plan: Plan, layers: list[FusedStep], held: set[int]) -> list[Life]:
    first = {layer.step.y: i for i, layer in enumerate(layers)}
    last = {t: i for i, layer in enumerate(layers) for t in (*reads(layer.step), layer.step.y)}
    return [Life(t, plan.tensors[t].nbytes, first[t], last[t]) for t in first if t not in held]


def _layer(step: Step, plan: Plan) -> FusedStep:
    if isinstance(step, Product) and step.epilogue is not None:
        return FusedStep(step, levels_of(step.epilogue, step.lo, step.hi))
    if isinstance(step, Requantize):
        x = plan.tensors[step.x]
        lo, hi = (np.full(step.channels, n, np.int32) for n in (x.lo, x.hi))
        return FusedStep(step, levels_of(step.epilogue, lo, hi))
    return FusedStep(step)


def _with_pools(layers: list[FusedStep], outputs: set[int]) -> list[FusedStep]:
    """Products that take the largest of each window themselves, and make the levels of that, where no sum is lost.

    Windows that overlap would ask for sums more than once. The largest sum has the largest level where levels rise.
    """
    users: dict[int, int] = {}
    for layer in layers:
        for tensor in reads(layer.step):
            users[tensor] = users.get(tensor, 0) + 1
    made: dict[int, FusedStep] = {}
    for layer in layers:
        step, before = layer.step, made.get(reads(layer.step)[0])
        private = before is not None and users[before.step.y] == 1 and before.step.y not in outputs
        if before is not None and private and _takes(before, layer):
            del made[before.step.y]
            window = step.window if isinstance(step, Pool) else before.pool
            longer = FusedStep(replace(before.step, y=step.y), layer.levels or before.levels, window)
            made[step.y] = longer
        else:
            made[step.y] = layer
    return list(made.values())


def _takes(product: FusedStep, layer: FusedStep) -> bool:
    """Whether a product can do a pool, or make the levels behind one, itself."""
    step = layer.step
    if not isinstance(product.step, Product):
        return False
    if isinstance(step, Requantize):
        return step.selector is None and product.levels is None
    if not isinstance(step, Pool) or step.kind is not PoolKind.MAX or product.pool is not None:
        return False
    window = step.window
    apart = all(s >= k for s, k in zip(window.strides, window.kernel, strict=True))
    return apart and window.dilations == (1, 1) and (product.levels is None or product.levels.rises)


def is_byte(tensor: Tensor) -> bool:
    """Whether a tensor is of bytes: else it is of sums."""
    return tensor.element is Element.BYTE
