"""Spine: the arithmetic around a rounding operator, one rising operator after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.constants import constant
from anybit.ops.evaluate import EVALUATION_ERRORS, evaluate_node
from anybit.quantizers.clip_fusion import clip_limits
from anybit.rounding import Rounding

ROUNDINGS = {"Round": Rounding.ROUND, "Floor": Rounding.FLOOR, "Ceil": Rounding.CEIL}
"""Operators that make integers, and how."""

BOUNDING = frozenset(("Clip", "Max", "Min", "Relu"))
"""Operators that only bound numbers."""

_SCALING = frozenset(("Div", "Mul"))
_LONGEST = 8  # operators on each side


@dataclass(frozen=True)
class PatternStep:
    """One operator of a spine, and the position of the input that varies."""

    node: ir.Node
    place: int

    @property
    def output(self) -> ir.Value:
        """What it makes."""
        return self.node.outputs[0]

    @property
    def source(self) -> ir.Value | None:
        """What varies."""
        return self.node.inputs[self.place]

    @property
    def factor(self) -> Array | None:
        """What a Mul or Div multiplies with, in float64; None for other operators."""
        if self.node.op_type not in _SCALING:
            return None
        other = self._operand()
        return 1 / other if self.node.op_type == "Div" else other

    @property
    def is_one(self) -> bool:
        """Whether it multiplies by 1."""
        factor = self.factor
        return factor is not None and factor.size == 1 and bool((factor == 1).all())

    @property
    def operands(self) -> Iterator[Array]:
        """Its constants."""
        for place, value in enumerate(self.node.inputs):
            array = None if place == self.place else constant(value)
            if array is not None:
                yield array

    def _operand(self) -> Array:
        return next(self.operands, np.ones(())).astype(np.float64)


def step_of(node: ir.Node) -> PatternStep | None:
    """The node as a step that never falls when its input rises; None where it is none, or two inputs vary."""
    if node.domain != "" or len(node.outputs) != 1 or not node.inputs:
        return None
    varying = [i for i, v in enumerate(node.inputs) if v is not None and constant(v) is None]
    if len(varying) > 1:
        return None
    place = varying[0] if varying else 0
    step = PatternStep(node, place)
    match node.op_type:
        case "Round" | "Floor" | "Ceil" | "Relu" | "Cast" | "Identity":
            return step
        case "Clip":
            return step if place == 0 and clip_limits(node) is not None else None
        case "Max" | "Min" | "Add":
            return step if len(node.inputs) == 2 else None
        case "Sub":
            return step if place == 0 else None
        case "Mul" | "Div":
            operands = list(step.operands)
            rising = len(operands) == 1 and operands[0].size > 0 and bool((operands[0] > 0).all())
            return step if rising and (node.op_type == "Mul" or place == 0) else None
        case _:
            return None


def behind(value: ir.Value) -> PatternStep | None:
    """The step that alone reads a value."""
    uses = value.uses()
    if value.is_graph_output() or len(uses) != 1:
        return None
    node, place = next(iter(uses))
    step = step_of(node)
    return step if step is not None and step.place == place and node.graph is value.graph else None


def before(value: ir.Value) -> PatternStep | None:
    """The step that makes a value."""
    node = value.producer()
    return None if node is None else step_of(node)


@dataclass(frozen=True)
class Spine:
    """All that stands around one rounding operator.

    Attributes:
        upper: Steps up to the rounding operator, the nearest first.
        core: The rounding operator, and what bounds its integers behind it.
        lower: Steps behind.
    """

    upper: Sequence[PatternStep]
    core: Sequence[PatternStep]
    lower: Sequence[PatternStep]

    @property
    def rounding(self) -> Rounding:
        """How it rounds."""
        return ROUNDINGS[self.core[0].node.op_type]

    @property
    def is_meant(self) -> bool:
        """Whether it is meant as a quantiser: scales on both sides, and more than the Floor or Ceil of a remainder."""
        scaled = all(any(s.factor is not None for s in side) for side in (self.upper, self.lower))
        steps = (*self.upper, *self.core, *self.lower)
        return scaled and (self.rounding is Rounding.ROUND or any(s.node.op_type in BOUNDING for s in steps))

    def between(self, ups: int, downs: int) -> list[PatternStep]:
        """The steps with so many of the upper and the lower ones, in order."""
        return [*reversed(self.upper[:ups]), *self.core, *self.lower[:downs]]


def spine_of(node: ir.Node) -> Spine | None:
    """The spine of a Round, Floor or Ceil."""
    first = step_of(node)
    if first is None or node.op_type not in ROUNDINGS or first.source is None:
        return None
    upper, value = list[PatternStep](), first.source
    while len(upper) < _LONGEST and constant(value) is None and (step := before(value)) is not None:
        if step.node.op_type in ROUNDINGS or step.source is None:
            break
        upper.append(step)
        value = step.source
    core, lower = [first], list[PatternStep]()
    while len(lower) < _LONGEST and (step := behind(([*core, *lower])[-1].output)) is not None:
        if step.node.op_type in ROUNDINGS:
            break
        (core if step.node.op_type in BOUNDING and not lower else lower).append(step)
    return Spine(upper, core, lower)


def evaluate(steps: Sequence[PatternStep], x: Array, opsets: Mapping[str, int]) -> Array | None:
    """What the steps make of numbers; None where they have no reference, or cast a number to integers without it."""
    with np.errstate(all="ignore"):
        for step in steps:
            if step.node.op_type == "Cast" and _is_left(step.node, x):
                return None
            inputs = [x if i == step.place else constant(v) for i, v in enumerate(step.node.inputs)]
            try:
                made = evaluate_node(step.node, inputs, opsets)
            except EVALUATION_ERRORS:
                return None
            if made is None:
                return None
            x = made[0]
    return x


def _is_left(cast: ir.Node, x: Array) -> bool:
    """Whether a Cast goes to integers that do not hold all numbers: what becomes of those, the processor decides."""
    to = ir.DataType(cast.attributes.get_int("to", ir.DataType.FLOAT))
    if to in (ir.DataType.BOOL, ir.DataType.STRING):
        return True
    if not to.is_integer() or x.dtype.kind != "f":
        return False
    limits = ml_dtypes.iinfo(to.numpy())
    return bool(((x <= float(limits.min) - 1) | (x >= float(limits.max) + 1)).any())
