"""fake_quant: quantisers that are written as arithmetic, as Quant.

    Mul(Clip(Round(Div(x, s)), lo, hi), s)  =  Quant(x), of scale s

Whatever the order of scaling, zero point, bounds and rounding: Quant takes the place of a piece with a scale on both
sides for which that changes no float32 result, see `same_steps`. A product with a reciprocal, for one, is a
quotient only for some scales, or for the values that x can have. Where there is no such piece, the rounding operator
and its bounds are a Quant of scale 1, and the scaling stays arithmetic around it. NaN aside: Quant keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.formats.dialect import Outcome
from anybit.formats.fake_quant.pattern import ROUNDINGS, PatternStep, Spine, evaluate, spine_of
from anybit.formats.fake_quant.same_function import is_same, is_same_at
from anybit.formats.fake_quant.straight_through import join, shorten
from anybit.formats.zero_signs import Told
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.ops.calls import is_call
from anybit.ops.operator import DOMAIN
from anybit.ops.quant import QUANT
from anybit.ops.zero_sign import refusal_where_told, tensors_of_told_zeros
from anybit.quantizers.possible_values import Enumeration
from anybit.quantizers.quantizer import Quantizer, quant_nodes

_WIDEST = 1 << 24  # float32 holds all integers up to it
_NEAR = 1e-5  # by which the scales of both sides may part, relatively, to be tried


def read_fake_quant(model: ir.Model) -> Outcome:
    """Makes Quant of arithmetic, in place.

    Returns:
        A refusal for each rounding operator between two scales that no quantiser stands for, and for each
        straight-through estimator that is not known to pass its quantiser's numbers on.
    """
    nodes = [n for n in all_nodes(model.graph) if n.domain == "" and n.op_type in ROUNDINGS]
    if not nodes and all(n.domain != DOMAIN for n in all_nodes(model.graph)):
        return Outcome()
    infer_missing(model, [v for n in nodes for v in (*n.inputs, *n.outputs)])
    told = tensors_of_told_zeros(model)
    with Editor(model, rule="read") as edit:  # a block of its own: what has lost its readers is a reader no more
        shorten(edit, nodes, told)
    with Editor(model, rule="read") as edit:
        refusals, is_any = _replace_all(_FakeQuantReader(edit, Enumeration(model), told), nodes)
        refusals += [r for n in nodes if (r := _by_sign(n)) is not None]
        quants = [n for n in all_nodes(model.graph) if is_call(n, QUANT)]
        refusals += join(edit, quants, told)
    if is_any:
        model.opset_imports.setdefault(DOMAIN, 1)
    return Outcome(tuple(refusals))


def _replace_all(reader: _FakeQuantReader, nodes: Sequence[ir.Node]) -> tuple[list[Refusal], bool]:
    """Puts quantisers in the place of rounding operators; why some of them stay, and whether any was replaced."""
    made, rest = list[ir.Node](), list[ir.Node]()
    for node in nodes:
        plan = reader.everywhere(node)
        rest += [node] if plan is None else []
        made += [reader.apply(plan)] if plan is not None else []
    refusals: list[Refusal] = []
    for node, spine in [(n, s) for n in rest if (s := spine_of(n)) is not None]:
        plan = reader.plan(spine, label(node))
        if isinstance(plan, _QuantPlan):
            made.append(reader.apply(plan))
        elif spine.is_meant:
            refusals.append(plan)
    return refusals, bool(made)


@dataclass(frozen=True)
class _QuantPlan:
    """Steps, and the quantiser that takes their place."""

    steps: Sequence[PatternStep]
    quantizer: Quantizer


@dataclass(frozen=True)
class _FakeQuantReader:
    edit: Editor
    enumeration: Enumeration
    told: Told

    def everywhere(self, node: ir.Node) -> _QuantPlan | None:
        """The quantiser of scales on both sides of a node that stands for them whatever x is."""
        spine = spine_of(node)
        if spine is None or not _is_float(spine) or self._told_apart(spine) is not None:
            return None
        return self._of_scales(spine, at_any=True)

    def plan(self, spine: Spine, where: str) -> _QuantPlan | Refusal:
        """What else stands for a spine: a quantiser for the values that x has, or one of scale 1."""
        if not _is_float(spine):
            return Refusal(problem="element type", node=where, expected="FLOAT")
        told = self._told_apart(spine)
        if told is not None:
            return replace(told, node=where)
        return self._of_scales(spine, at_any=False) or self._of_scale_one(spine, where)

    def _told_apart(self, spine: Spine) -> Refusal | None:
        """Why arithmetic that may make another zero than Quant has to stay."""
        refusals = (refusal_where_told(s.output, self.told) for s in (*spine.core, *spine.lower))
        return next((r for r in refusals if r is not None), None)

    def _of_scales(self, spine: Spine, *, at_any: bool) -> _QuantPlan | None:
        for ups in _lengths(spine.upper):
            for downs in _lengths(spine.lower):
                plan = self._with_scale(spine, ups, downs, at_any=at_any)
                if plan is not None:
                    return plan
        return None

    def _with_scale(self, spine: Spine, ups: int, downs: int, *, at_any: bool) -> _QuantPlan | None:
        steps = spine.between(ups, downs)
        ends = self._ends(steps)
        if ends is None or spine.lower[downs - 1].output.dtype not in (None, ir.DataType.FLOAT):
            return None
        for scale in _scales(spine, ups, downs):
            reached = evaluate(steps, _row(ends, _rank(steps)), self._opsets)
            if reached is None or not np.isfinite(reached).all():
                return None
            levels = np.rint(reached.astype(np.float64) / scale)
            if np.abs(levels).max(initial=0) > _WIDEST:
                return None
            lowest, highest = (_last_axes(level, _rank(steps)) for level in levels)
            centred = Quantizer(scale, np.zeros(()), lowest, highest, spine.rounding).between(lowest, highest)
            for candidate in self._with_zero_points(centred, spine.upper[:ups]):
                if self._agrees(steps, candidate, ends, at_any=at_any):
                    return _QuantPlan(
                        spine.between(_past_ones(spine.upper, ups), _past_ones(spine.lower, downs)), candidate
                    )
        return None

    def _with_zero_points(self, centred: Quantizer, upper: Sequence[PatternStep]) -> Iterator[Quantizer]:
        """The quantiser, and that which adds the integer that 0 becomes above the rounding operator."""
        yield centred
        zero = evaluate(list(reversed(upper)), np.zeros((), np.float32), self._opsets)
        if zero is None or zero.size != 1 or not zero.any() or zero != np.rint(zero):
            return
        z = float(zero.reshape(()))
        moved = Quantizer(centred.scale, np.asarray(z), centred.lo, centred.hi, centred.rounding)
        yield moved.between(centred.lo + z, centred.hi + z)

    def _of_scale_one(self, spine: Spine, where: str) -> _QuantPlan | Refusal:
        """The rounding operator and its bounds, which those of what stands above it may be."""
        steps, above = spine.core, list(reversed(spine.upper))
        ends = self._ends([*above, *steps])
        reached = None if ends is None else evaluate(above, _row(ends, _rank(steps)), self._opsets)
        made = None if reached is None else evaluate(steps, reached.astype(np.float32), self._opsets)
        if reached is None or made is None or not np.isfinite(made).all():
            return Refusal(problem="its integers are not bounded", node=where, expected="Clip, or Min and Max")
        lo, hi = float(made.min()), float(made.max())
        if max(-lo, hi) > _WIDEST or lo != np.rint(lo) or hi != np.rint(hi):
            return Refusal(problem="its integers", node=where, got=f"{lo:g} .. {hi:g}", expected="at most 24 bits")
        one = np.ones((), np.float32)
        plain = Quantizer(one, np.zeros(()), np.asarray(lo), np.asarray(hi), spine.rounding).between(lo, hi)
        within = (float(reached.min()), float(reached.max()))
        if not is_same(steps, plain, _rank(steps), self._opsets, within):
            return Refusal(problem="it rounds as no quantiser does", node=where, got=f"{lo:g} .. {hi:g}")
        return _QuantPlan(steps, plain)

    def _agrees(
        self, steps: Sequence[PatternStep], quantizer: Quantizer, ends: tuple[float, float], *, at_any: bool
    ) -> bool:
        """Whether the quantiser stands for the steps at all float32 numbers, or at all values that they meet."""
        x = steps[0].source
        stored = constant(x)
        if stored is not None:
            return is_same_at(steps, quantizer, stored, self._opsets)
        rank = _rank(steps)
        if max(quantizer.scale.ndim, quantizer.lo.ndim) > rank:
            return False
        if at_any:
            return is_same(steps, quantizer, rank, self._opsets, ends)
        points = self.enumeration.points(x) if x is not None else None
        return points is not None and is_same_at(steps, quantizer, points, self._opsets)

    def _ends(self, steps: Sequence[PatternStep]) -> tuple[float, float] | None:
        """The smallest and the largest number that the steps start from."""
        stored = constant(steps[0].source)
        if stored is None:
            return (-np.inf, np.inf)
        finite = stored.size > 0 and stored.dtype == np.float32 and bool(np.isfinite(stored).all())
        return (float(stored.min()), float(stored.max())) if finite else None

    @property
    def _opsets(self) -> dict[str, int]:
        return self.edit.model.opset_imports

    def apply(self, plan: _QuantPlan) -> ir.Node:
        """Puts the quantiser in the place of the steps; the Quant."""
        old = plan.steps[-1].output
        source = plan.steps[0].node.inputs[plan.steps[0].place]
        nodes = quant_nodes(self.edit, source or old, plan.quantizer, str(old.name))
        nodes[-1].outputs[0].shape = None if old.shape is None else old.shape.copy()
        self.edit.replace(old, nodes, before=plan.steps[-1].node)
        return nodes[0]


def _lengths(side: Sequence[PatternStep]) -> list[int]:
    """How many steps of a side to try: up to its scales, the farthest first, then up to what else there is."""
    ends = [i + 1 for i, step in enumerate(side) if not step.is_one]
    scales = [i for i in reversed(ends) if side[i - 1].factor is not None]
    return [*scales, *(i for i in ends if i not in scales)]


def _past_ones(side: Sequence[PatternStep], length: int) -> int:
    """The length, and further factors of 1, which change nothing."""
    while length < len(side) and side[length].is_one:
        length += 1
    return length


def _by_sign(node: ir.Node) -> Refusal | None:
    """Why sign(x) * floor(|x| + 0.5) stays: float32 adds 0.49999997 and 0.5 to 1, HALF_UP makes 0 of it."""
    if (node.domain, node.op_type) != ("", "Floor"):
        return None
    above = None if node.inputs[0] is None or node.graph is None else node.inputs[0].producer()
    sources = () if above is None else [v.producer() for v in above.inputs if v is not None]
    if not any(n is not None and n.domain == "" and n.op_type == "Abs" for n in sources):
        return None
    problem = "the floor of a magnitude and a half is no rounding mode: it makes 1 of 0.49999997"
    return Refusal(problem=problem, node=label(node), expected="Round", hint="export it with Round")


def _is_float(spine: Spine) -> bool:
    x, y = spine.core[0].source, spine.core[-1].output
    return x is not None and x.dtype == ir.DataType.FLOAT and y.dtype in (None, ir.DataType.FLOAT)


def _rank(steps: Sequence[PatternStep]) -> int:
    """The number of axes of what the steps start from; 0 where it is not known."""
    x = steps[0].source
    return len((None if x is None else shape_of(x)) or ())


def _row(ends: tuple[float, float], rank: int) -> Array:
    """Both ends along a new first axis."""
    return np.asarray(ends, np.float32).reshape(2, *[1] * rank)


def _last_axes(level: Array, rank: int) -> Array:
    """Levels by channel as they broadcast to x, scalars where that is one number."""
    return level.reshape(()) if level.size == 1 else level.reshape(level.shape[-rank:] if rank else ())


def _scales(spine: Spine, ups: int, downs: int) -> Iterator[Array]:
    """The scales that both sides may mean: none, if they do not undo each other."""
    up, down = ([f for s in side if (f := s.factor) is not None] for side in (spine.upper[:ups], spine.lower[:downs]))
    if not up or not down:
        return
    with np.errstate(all="ignore"):
        try:
            before, behind = (np.asarray(np.prod(np.broadcast_arrays(*side), axis=0)) for side in (up, down))
            apart = np.abs(before * behind - 1)
        except ValueError:  # factors of shapes that do not fit each other
            return
        if not (apart < _NEAR).all():
            return
        for scale in (behind, 1 / before):
            single = scale.astype(np.float32)
            if np.isfinite(single).all() and (single > 0).all():
                yield single.reshape(()) if single.size == 1 else single
