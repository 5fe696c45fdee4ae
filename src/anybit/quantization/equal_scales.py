"""Equal scales: tensors that an Add or Concat puts together get one scale, as hardware without requantisation needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.ops.traits import MOVING
from anybit.quantization.plan import ActivationPlan, Plan
from anybit.quantization.prepare import Prepared
from anybit.quantization.ranges import ActivationHistogram, Range, error_at, find_range
from anybit.quantization.recipe import Scales, Target
from anybit.quantization.simulation import Simulation

_JOINING = ("Add", "Concat", "Sub", "Sum")


def joined_activations(prepared: Prepared) -> list[tuple[str, ...]]:
    """The activations that meet in an Add, Sub, Sum or Concat, by group."""
    placed = set(prepared.placement.activations)
    group: dict[ir.Value, set[ir.Value]] = {}
    for node in prepared.work.graph:
        if node.domain != "" or node.op_type not in _JOINING:
            continue
        met = {root for v in node.inputs if v is not None and (root := _placed_root(v, placed)) is not None}
        if len(met) < 2:
            continue
        whole = set(met).union(*(group.get(v, set()) for v in met))
        for value in whole:
            group[value] = whole
    found: dict[frozenset[ir.Value], None] = {frozenset(g): None for g in group.values()}
    return [tuple(str(v.name) for v in prepared.placement.activations if v in g) for g in found]


def with_equal_scales(prepared: Prepared, plan: Plan, blocks: Iterable[Mapping[str, Array]]) -> Plan:
    """The plan with one scale for all tensors that meet: that of least squared error on what the float model makes.

    Args:
        prepared: The model.
        plan: Bit widths; scales that it has stay.
        blocks: Some samples.
    """
    groups = joined_activations(prepared)
    planned = {t.tensor: t for t in plan.activations}
    if not groups:
        return plan
    changed: dict[str, ActivationPlan] = {}
    with Simulation(prepared, blocks, scales=plan.scales, zero_points=False) as simulation:
        for group in groups:
            members = [planned[n] for n in group if planned[n].bits is not None]
            histograms = {t.tensor: simulation.histogram(t.tensor) for t in members}
            changed |= _tied(members, histograms, plan)
    return replace(plan, activations=tuple(changed.get(t.tensor, t) for t in plan.activations))


def _tied(
    members: list[ActivationPlan], histograms: Mapping[str, ActivationHistogram], plan: Plan
) -> dict[str, ActivationPlan]:
    if plan.target is Target.FINN:
        signed = any(histograms[t.tensor].lowest < 0 for t in members)
        bits = max(t.bits or 0 for t in members)
        members = [replace(t, bits=bits, signed=signed if t.signed is None else t.signed) for t in members]
    own: list[Range] = [
        find_range(histograms[t.tensor], t.bits or 0, scales=plan.scales, zero_points=False, signed=t.signed)
        for t in members
    ]
    stated = {t.scale for t in members if t.scale is not None}
    tried = sorted(stated or {r.scale for r in own} | {(a.scale * b.scale) ** 0.5 for a in own for b in own})
    if not stated and plan.scales is Scales.POWER_OF_TWO:
        tried = sorted({r.scale for r in own})
    totals = [
        sum(
            error_at(histograms[t.tensor], r.grid, scale) * max(histograms[t.tensor].elements, 1)
            for t, r in zip(members, own, strict=True)
        )
        for scale in tried
    ]
    best = float(np.float32(tried[int(np.argmin(totals))]))
    return {
        t.tensor: replace(t, scale=best, signed=r.grid.signed, zero_point=0) for t, r in zip(members, own, strict=True)
    }


def _placed_root(value: ir.Value, placed: set[ir.Value]) -> ir.Value | None:
    """The quantised tensor whose elements the given one holds."""
    while value not in placed:
        node = value.producer()
        if node is None or node.domain != "" or node.op_type not in MOVING or node.inputs[0] is None:
            return None
        value = node.inputs[0]
    return value
