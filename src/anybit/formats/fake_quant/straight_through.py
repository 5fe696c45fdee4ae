"""straight_through: x + (q(x) - x), the straight-through estimator, as q(x) where float32 makes the same of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.arrays import is_power_of_two
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Refusal
from anybit.formats.zero_signs import Told, keep_positive_zeros
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import label
from anybit.ops.evaluate import known_value
from anybit.quantizers.clip_fusion import before_clip, clip_limits
from anybit.quantizers.quantizer import Quantizer, read_quant

_EXACT = float(1 << 23)  # steps of a grid up to which differences from it are exact in float32


@dataclass(frozen=True)
class _Estimator:
    """sum = x + (q - x)."""

    x: ir.Value
    q: ir.Value
    sum: ir.Node


def shorten(edit: Editor, nodes: Sequence[ir.Node], told: Told) -> None:
    """Lets the readers of x + (Round(x) - x) read Round(x), in place.

    Both are one number for every finite x: where |x| < 0.5 the difference is -x, elsewhere it is a multiple of the last
    place of x, and at most 0.5. Of infinity the sum makes NaN.
    """
    for node in nodes:
        if node.op_type != "Round":
            continue
        for found in _estimators(node.outputs[0]):
            if found.x is node.inputs[0]:
                _replace(edit, found, told)


def join(edit: Editor, quantizers: Sequence[ir.Node], told: Told) -> list[Refusal]:
    """Lets the readers of x + (q - x) read q, in place, q being a quantiser's output.

    Where x is constant that is tried. Else x is what the quantiser reads, perhaps held between two numbers: the
    difference is exact if the step of the grid is a power of two and |x| at most 2^23 steps.

    Returns:
        A refusal for each sum that may be another number.
    """
    refusals, ranges = list[Refusal](), _Ranges(edit.model)
    for node, estimator in [(n, e) for n in quantizers for e in _estimators(_last(n))]:
        if not _is_exact_at_constants(edit.model, estimator):
            refusal = _departure(node, estimator, edit.model, ranges)
            if refusal is not None:
                refusals.append(refusal)
                continue
        _replace(edit, estimator, told)
    return refusals


def _last(quantizer: ir.Node) -> ir.Value:
    """The output of a Quant, or of the Clip that alone reads it."""
    uses = list(quantizer.outputs[0].uses())
    is_clipped = len(uses) == 1 and uses[0][0].op_type == "Clip" and uses[0][1] == 0
    return uses[0][0].outputs[0] if is_clipped else quantizer.outputs[0]


def _estimators(q: ir.Value) -> Iterator[_Estimator]:
    """The sums x + (q - x), and x + (-x + q), of a tensor."""
    for user, place in list(q.uses()):
        x = _subtracted(user, place)
        if x is None:
            continue
        for value in _unchanged(user.outputs[0]):
            for outer, at in list(value.uses()):
                if _is_standard(outer, "Add") and outer.inputs[1 - at] is x and outer.graph is user.graph:
                    yield _Estimator(x, q, outer)


def _subtracted(node: ir.Node, place: int) -> ir.Value | None:
    """What a node takes off its input at a place, None if it does something else."""
    if _is_standard(node, "Sub") and place == 0:
        return node.inputs[1]
    other = node.inputs[1 - place] if _is_standard(node, "Add") else None
    negation = None if other is None else other.producer()
    return negation.inputs[0] if negation is not None and _is_standard(negation, "Neg") else None


def _unchanged(value: ir.Value) -> Iterator[ir.Value]:
    """A value, and what Identity and Mul by 1 make of it."""
    yield value
    for user, place in value.uses():
        factor = constant(user.inputs[1 - place]) if _is_standard(user, "Mul") else None
        if _is_standard(user, "Identity") or (factor is not None and bool((factor == 1).all())):
            yield user.outputs[0]


def _is_standard(node: ir.Node, op_type: str) -> bool:
    return node.domain == "" and node.op_type == op_type


def _is_exact_at_constants(model: ir.Model, estimator: _Estimator) -> bool:
    x = constant(estimator.x)
    q = None if x is None else known_value(estimator.q, model.opset_imports)
    if x is None or q is None or x.dtype != np.float32:
        return False
    with np.errstate(all="ignore"):
        return np.array_equal(np.asarray(x + np.asarray(q - x)), q)


def _departure(quantizer: ir.Node, estimator: _Estimator, model: ir.Model, ranges: _Ranges) -> Refusal | None:
    """Why x + (q - x) may be another number than q."""
    where, meaning = label(estimator.sum), read_quant(quantizer, model)
    held = _held(estimator.x, quantizer.inputs[0])
    if isinstance(meaning, Quantizer):
        narrowed = before_clip(quantizer, meaning)
        meaning = meaning if narrowed is None else narrowed[1]
    if isinstance(meaning, Refusal) or held is None or not _fits(meaning, held):
        return Refusal(
            problem="x + (q(x) - x) may be rounded twice",
            node=where,
            expected="x that the quantiser reads, to nearest, and a power of two as its step",
        )
    most, reached = _EXACT * float(meaning.scale.min()), max(-held[0], held[1])
    if reached > most:
        reached = min(reached, ranges.largest(estimator.x))
    if reached <= most:
        return None
    return Refusal(
        problem="x + (q(x) - x) is not q(x) for large x",
        node=where,
        got=f"|x| up to {reached:g}",
        expected=f"at most {most:g}",
        hint="bound the input of the model, or export it without the straight-through estimator",
    )


def _fits(quantizer: Quantizer, held: tuple[float, float]) -> bool:
    """Whether steps are powers of two, and numbers beyond those between which x is held are quantised as these."""
    ends = [quantizer(np.asarray(e, np.float32)) for pair in zip(held, (-np.inf, np.inf), strict=True) for e in pair]
    same = np.array_equal(ends[0], ends[1]) and np.array_equal(ends[2], ends[3])
    return same and quantizer.is_half_even and bool(is_power_of_two(quantizer.scale).all())


def _held(value: ir.Value, x: ir.Value | None, depth: int = 4) -> tuple[float, float] | None:
    """The numbers between which a value holds x, infinite where it is x; None where it is something else."""
    if value is x:
        return (-np.inf, np.inf)
    node = value.producer()
    if node is None or node.domain != "" or not depth:
        return None
    if node.op_type == "Where":
        return _held_by_where(node, x, depth)
    first = node.inputs[0] if node.inputs else None
    inner = None if first is None else _held(first, x, depth - 1)
    limits = _limits(node)
    if inner is None or limits is None:
        return None
    low, high = (min(max(end, limits[0]), limits[1]) for end in inner)
    return low, high


def _limits(node: ir.Node) -> tuple[float, float] | None:
    """Between what a node holds its first input."""
    if node.op_type == "Relu":
        return (0.0, np.inf)
    if node.op_type == "Clip":
        return clip_limits(node)
    bound = constant(node.inputs[1]) if node.op_type in ("Max", "Min") and len(node.inputs) == 2 else None
    if bound is None or bound.size != 1:
        return None
    number = float(bound.reshape(()))
    return (number, np.inf) if node.op_type == "Max" else (-np.inf, number)


def _held_by_where(node: ir.Node, x: ir.Value | None, depth: int) -> tuple[float, float] | None:
    """Where(x <= c, x, c), x held or not."""
    condition, inside, beyond = node.inputs
    test = None if condition is None else condition.producer()
    inner = None if inside is None else _held(inside, x, depth - 1)
    if test is None or inner is None or not _is_standard(test, "LessOrEqual") or test.inputs[0] is not x:
        return None
    bounds = [constant(v) for v in (test.inputs[1], beyond)]
    numbers = {float(b.flat[0]) for b in bounds if b is not None and b.size and (b == b.flat[0]).all()}
    if len(numbers) != 1 or any(b is None for b in bounds):
        return None
    bound = numbers.pop()
    return (min(inner[0], bound), min(inner[1], bound))


def _replace(edit: Editor, estimator: _Estimator, told: Told) -> None:
    """Lets the readers of the sum read q, which takes the sum's name where that is one of the graph's outputs.

    A sum that is 0 is +0.
    """
    old, q = estimator.sum.outputs[0], estimator.q
    keep_positive_zeros(edit, old, q, told)
    if not old.is_graph_output():
        edit.redirect(old, q)
    elif not q.is_graph_output():
        edit.replace(old, q)
    else:
        edit.replace(old, edit.node("Identity", [q], f"{old.name}/copy", like=old))


@dataclass
class _Ranges:
    """How large the numbers of a model can be; it is analysed, as it is then, when the first question comes."""

    model: ir.Model
    _values: Values | None = None

    def largest(self, value: ir.Value) -> float:
        """The largest magnitude."""
        if self._values is None:
            InferShapes()(self.model)
            self._values = values_of(self.model)
        known = self._values[value]
        return max(-float(known.lo.min(initial=0)), float(known.hi.max(initial=0)))
