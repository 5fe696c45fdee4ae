"""finished: a plan without what nothing reads, its epilogues with their products, and a place in memory for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from anybit.plan.memory import Life, place
from anybit.plan.plan import Join, Move, Plan, Product, Requantize, Step, Table, Tensor, reads

_ALIGNMENT = 64


def finished(plan: Plan) -> Plan:
    """The plan as it is executed."""
    made = {p.tensor for p in plan.outputs}
    steps = _without_identities(_used(plan.steps, made), plan.tensors, made)
    steps = _with_moves_in_weights(_with_epilogues(steps), plan.tensors)
    kept = sorted({t for s in steps for t in (*reads(s), s.y)} | {p.tensor for p in plan.outputs})
    number = {old: new for new, old in enumerate(kept)}
    steps = [_renumbered(s, number) for s in steps]
    inputs = tuple(replace(p, tensor=number[p.tensor]) for p in plan.inputs if p.tensor in number)
    outputs = tuple(replace(p, tensor=number[p.tensor]) for p in plan.outputs)
    held = {p.tensor for p in (*inputs, *outputs)}
    tensors, arena = _placed([plan.tensors[old] for old in kept], steps, held)
    return replace(plan, tensors=tensors, steps=tuple(steps), inputs=inputs, outputs=outputs, arena=arena)


def _used(steps: Sequence[Step], outputs: set[int]) -> list[Step]:
    needed, kept = set(outputs), list[Step]()
    for step in reversed(steps):
        if step.y in needed:
            kept.append(step)
            needed.update(reads(step))
    return kept[::-1]


def _without_identities(steps: Sequence[Step], tensors: Sequence[Tensor], held: set[int]) -> list[Step]:
    """Steps without tables that change no byte, such as those of a quantiser behind a pool."""
    same: dict[int, int] = {}
    kept: list[Step] = []
    for step in steps:
        changed = _renumbered(step, _Renamed(same))
        if isinstance(changed, Table) and changed.y not in held and _is_identity(changed, tensors):
            same[changed.y] = changed.x
        else:
            kept.append(changed)
    return kept


class _Renamed(dict[int, int]):
    """Numbers of tensors, those that are not named being the same."""

    def __missing__(self, key: int) -> int:
        return key


def _is_identity(step: Table, tensors: Sequence[Tensor]) -> bool:
    x, y = tensors[step.x], tensors[step.y]
    bytes_ = np.arange(x.lo, x.hi + 1)
    return x.zero == y.zero and bool((step.table[:, x.lo : x.hi + 1] == bytes_).all())


def _with_epilogues(steps: Sequence[Step]) -> list[Step]:
    """Products that make bytes at once, where nothing else reads their sums."""
    users = _users(steps)
    makers = {s.y: s for s in steps if isinstance(s, Product)}
    fused: dict[int, Product] = {}
    for step in steps:
        if isinstance(step, Requantize) and step.selector is None and step.x in makers and users[step.x] == 1:
            fused[step.y] = replace(makers[step.x], y=step.y, epilogue=step.epilogue)
    gone = {s.x for s in steps if isinstance(s, Requantize) and s.y in fused}
    return [fused.get(s.y, s) for s in steps if s.y not in gone]


def _with_moves_in_weights(steps: Sequence[Step], tensors: Sequence[Tensor]) -> list[Step]:
    """Matrix products that read a vector in the order in which it lies, in the place of one that was moved."""
    users = _users(steps)
    makers = {s.y: s for s in steps if isinstance(s, Move)}
    changed: dict[int, Step] = {}
    gone: set[int] = set()
    for step in steps:
        move = makers.get(step.x) if isinstance(step, Product) else None
        if not isinstance(step, Product) or move is None or users[step.x] > 1 or step.group > 1:
            continue
        size = step.weights.shape[3]
        whole = step.weights.shape[1:3] == (1, 1) and size == tensors[step.x].elements == tensors[move.x].elements
        if whole and np.array_equal(np.sort(move.index), np.arange(size)):
            weights = np.empty_like(step.weights)
            weights[..., move.index] = step.weights
            changed[step.y] = replace(step, x=move.x, weights=weights)
            gone.add(move.y)
    return [changed.get(s.y, s) for s in steps if s.y not in gone]


def _users(steps: Sequence[Step]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for step in steps:
        for tensor in reads(step):
            counts[tensor] = counts.get(tensor, 0) + 1
    return counts


def _renumbered(step: Step, number: dict[int, int]) -> Step:
    changed: dict[str, Any] = {"y": number[step.y]}
    if isinstance(step, Join):
        changed["xs"] = tuple(number[x] for x in step.xs)
    for name in ("x", "a", "b", "selector"):
        old = getattr(step, name, None)
        if old is not None:
            changed[name] = number[old]
    return replace(step, **changed)


def _placed(tensors: Sequence[Tensor], steps: Sequence[Step], held: set[int]) -> tuple[tuple[Tensor, ...], int]:
    """The tensors with their offsets, and the bytes of the arena."""
    first = {s.y: i for i, s in enumerate(steps)}
    last = {t: i for i, s in enumerate(steps) for t in (*reads(s), s.y)}
    lives = [Life(i, tensors[i].nbytes, first[i], last[i]) for i in first if i not in held]
    places = place(lives, _ALIGNMENT)
    offsets = {p.life.tensor: p.begin for p in places}
    arena = max((p.end for p in places), default=0)
    return tuple(replace(t, offset=offsets.get(i, -1)) for i, t in enumerate(tensors)), arena
