"""Factors and offsets that put sums on rounding boundaries, as short binary fractions with the same levels.

Quant(s * k + b) = Quant'(m * 2^-n * k + b')  for every integer k that occurs;  s = 1 / 12: m = 21, n = 8
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import as_float64, lowest_bit
from anybit.errors import Refusal
from anybit.exact.fixed_point import Ties, fixed_point
from anybit.exact.integer_layers import PRODUCTS
from anybit.exact.runs import beside_steps
from anybit.exact.step_function import Proof, StepFunction
from anybit.exact.thresholds import Steps, steps_of
from anybit.graph.constants import constant
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.rounding import Rounding
from anybit.targets.hls4ml.repairs import Repairs, Step, quant_step
from anybit.targets.hls4ml.ties import Path, are_exact, inexact, paths, risk_of

_SUMS = PRODUCTS | frozenset(("Add", "Sub", "AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"))
_MANTISSA = 24  # bits of float32
_MOST_SNAP_BITS = 18
_EXACT = float(1 << 24)


def rewrite_requantizers(repairs: Repairs) -> None:
    """Rewrites what stands before each quantiser where a sum lies on a boundary, if the model has one level for it.

    Where float32 rounds the summands of the model that was handed over, it may come to either side of a boundary. Sums
    that are near one by chance get the level of the exact sum, rounded once; others are left to the checker.
    """
    model = repairs.model
    quantizers = [n for n in model.graph if is_call(n, QUANT) and n.inputs and inexact(n)]
    if not quantizers:
        return
    values, given = values_of(model), None
    for node in reversed(quantizers):  # what is known of the tensors before them stays so
        ways = paths(node, model, values)
        risk = risk_of(ways[0], model) if ways is not None and len(ways) == 1 else None
        if ways is None or risk is None or not risk.count:
            continue
        given = values_of(repairs.source) if given is None else given
        exact = _are_exact(_sums_before(node, repairs.source), given)
        noise = None if exact else risk_of(ways[0], model, Path.noise)
        decided = exact or (noise is not None and not noise.count)
        if decided or risk.is_chance:
            _rewrite(repairs, ways[0])


def _are_exact(sums: Sequence[ir.Node], values: Values) -> bool:
    """Whether float32 holds all that comes to these nodes, and their sums: scales are short, numbers of few bits."""
    for node in sums:
        accumulator = values.accumulators.get(node)
        if accumulator is not None:
            known = [(accumulator.scale, accumulator.proven.format.bits)]
        else:
            grids = [values[v].grid for v in node.inputs if v is not None and constant(v) is None]
            known = [(g.scale, g.smallest.bits) for g in grids if g is not None]
            if len(known) < len(grids):
                return False
        if any(_significant(as_float64(scale)) + bits > _MANTISSA for scale, bits in known):
            return False
    return True


def _sums_before(node: ir.Node, source: ir.Model) -> list[ir.Node]:
    """The nodes of the model as it was handed over that add up numbers between a quantiser and those before it.

    The quantiser is found by what comes behind it: the first tensor whose name is still that of one of the model.
    """
    named = {str(o.name): o for n in source.graph for o in n.outputs}
    behind = list(node.outputs)
    at = next((named[str(v.name)] for v in behind if str(v.name) in named), None)
    while behind and at is None:
        behind = [o for v in behind for user, _ in v.uses() for o in user.outputs]
        at = next((named[str(v.name)] for v in behind if str(v.name) in named), None)
    if at is None:
        return [n for n in source.graph if n.op_type in _SUMS]
    quantizers = [maker] if (maker := at.producer()) is not None and _ends(maker) else _until_quantizers(at)[1]
    return [n for q in quantizers if q.inputs[0] is not None for n in _until_quantizers(q.inputs[0])[0]]


def _until_quantizers(value: ir.Value) -> tuple[list[ir.Node], list[ir.Node]]:
    """The nodes that add up numbers on the way back from a tensor to the nearest quantisers, and those."""
    sums: list[ir.Node] = []
    quantizers: list[ir.Node] = []
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        at = waiting.pop()
        maker = None if at in seen else at.producer()
        seen.add(at)
        if maker is not None and _ends(maker):
            quantizers.append(maker)
        elif maker is not None:
            sums += [maker] if maker.op_type in _SUMS else []
            waiting += [v for v in maker.inputs if v is not None]
    return sums, quantizers


def _ends(node: ir.Node) -> bool:
    """Whether it is a quantiser of an activation."""
    return is_call(node, QUANT, BIPOLAR_QUANT) and constant(node.inputs[0]) is None


def _significant(array: Float64s) -> int:
    """How many bits the longest number has, from its first 1 to its last."""
    nonzero = np.abs(array[array != 0].reshape(-1))
    return int((np.frexp(nonzero)[1] - np.frexp(lowest_bit(nonzero))[1]).max(initial=0)) + 1


def _rewrite(repairs: Repairs, path: Path) -> None:
    function = path.function(repairs.model)
    if isinstance(function, Refusal):
        return
    bounds, scale = (int(path.levels.lo), int(path.levels.hi)), np.asarray(path.scale, np.float32)
    steps = steps_of(function)
    for rounding in (Rounding.FLOOR, Rounding.ROUND):
        lines = None if isinstance(steps, Refusal) else _lines(steps, bounds, rounding)
        if lines is None:
            continue
        factor, offset = lines[0] * path.scale / path.root.unit.reshape(-1)[0], lines[1] * path.scale
        if not (are_exact(factor) and are_exact(offset)):
            continue
        made = [Step("Mul", (factor.astype(np.float32),))]
        made += [Step("Add", (offset.astype(np.float32),))] if offset.any() else []
        made.append(quant_step(*bounds, scale=scale, rounding=rounding))
        repairs.add(path.quantizer, "factors before it become short binary fractions with the same levels")
        repairs.replace(path.quantizer, path.root.value, made)
        return
    bits = _snap_bits(path, function)
    if bits is not None:
        lo, hi = ((b + d) << bits for b, d in zip(bounds, (-1, 1), strict=True))
        repairs.add(path.quantizer, "a finer quantiser before it puts numbers on boundaries exactly there")
        finer = quant_step(lo, hi, scale=(scale * 2.0**-bits).astype(np.float32))
        repairs.settled.add(repairs.before(path.quantizer, 0, finer))


def _snap_bits(path: Path, function: StepFunction) -> int | None:
    """Bits behind the point of levels to which numbers can be rounded first with the levels unchanged."""
    tried = beside_steps(function) if function.proof is Proof.COMPOSITION else function.every()
    if isinstance(tried, Refusal):
        return None
    wanted, heights = function(tried), path.heights(tried)
    error, rounded = path.errors(heights), path.levels.rounding
    for bits in range(_MOST_SNAP_BITS, 0, -1):
        moved = (np.rint((heights + e) * 2.0**bits) / 2.0**bits for e in (-error, 0.0, error))
        if all((np.clip(rounded(m), path.levels.lo, path.levels.hi) == wanted).all() for m in moved):
            return bits
    return None


def _lines(steps: Steps, bounds: tuple[int, int], rounding: Rounding) -> tuple[Float64s, Float64s] | None:
    """By channel, factor and offset of a line whose rounded heights are the levels; None where one has no line."""
    factors, offsets = [], []
    for channel in range(len(steps.first)):
        line = _line(steps.of(np.asarray([channel])), bounds, rounding)
        if line is None:
            return None
        factors.append(line[0])
        offsets.append(line[1])
    return np.array(factors), np.array(offsets)


def _line(steps: Steps, bounds: tuple[int, int], rounding: Rounding) -> tuple[float, float] | None:
    lo, hi, first = int(steps.lo[0]), int(steps.hi[0]), int(steps.first[0])
    reached = [int(t) for t in steps.thresholds[0] if t <= hi]
    if first > bounds[0]:  # the line itself has to keep above the level below
        reached, first = [lo, *reached], first - 1
    last = first + len(reached)
    thresholds = [*reached, hi + 1] if last < bounds[1] else reached
    if not thresholds:
        return 0.0, float(first)
    even = Ties.EVEN if first % 2 == 0 else Ties.ODD
    modes: Sequence[Ties] = (Ties.UP,) if rounding is Rounding.FLOOR else (even,)
    ends = np.array([lo]), np.array([hi])
    found = fixed_point(np.array([thresholds], np.int64), *ends, ties=modes)
    if found is None:
        return None
    multiplier, unit = int(found.multiplier[0]), 2.0**-found.shift
    bias = int(found.bias[0]) + (first << found.shift)
    if rounding is Rounding.ROUND:
        bias, multiplier, unit = 2 * bias - (1 << found.shift), 2 * multiplier, unit / 2
    if max(abs(bias), multiplier, multiplier * max(abs(lo), abs(hi)) + abs(bias)) >= _EXACT:
        return None
    return multiplier * unit * float(steps.sign[0]), bias * unit
