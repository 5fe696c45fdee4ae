"""Repairs: the model that is being prepared, and the list of what was changed; helpers that the repairs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array, as_float64
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import label, shape_of
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.operator import DOMAIN
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import enclosing_grid, grid_between
from anybit.rounding import Rounding
from anybit.targets.handover import Rewrite

ARITHMETIC = ("Add", "Sub", "Mul", "Div")
PRODUCTS = ("MatMul", "Conv")
CHOOSING = frozenset(("Concat", "Flatten", "Max", "MaxPool", "Min", "Reshape", "Transpose"))
"""Operators whose outputs have elements of their inputs."""


@dataclass(frozen=True)
class Step:
    """One node of a chain: its first input is what the node before it makes, the others are constants.

    Attributes:
        op_type: Operator.
        operands: The constants.
        domain: Domain of the operator.
        attributes: Attributes of the node.
    """

    op_type: str
    operands: tuple[Array, ...] = ()
    domain: str = ""
    attributes: Mapping[str, int | str | Sequence[int]] = field(default_factory=dict[str, int | str | Sequence[int]])


def quant_step(lo: int, hi: int, *, scale: Array | None = None, rounding: Rounding = Rounding.ROUND) -> Step:
    """A Quant of zero point 0 with the bounds lo .. hi, or the nearest ones around them that a grid has."""
    grid = grid_between(lo, hi) or enclosing_grid(np.asarray(float(lo)), np.asarray(float(hi)))
    operands = (np.ones((), np.float32) if scale is None else scale, _float(0), _float(grid.bits))
    flags = {"signed": int(grid.signed), "narrow": int(grid.narrow), "rounding_mode": rounding.value}
    return Step(QUANT.name, operands, DOMAIN, flags)


@dataclass
class Repairs:
    """A model on its way to hls4ml; each repair changes it in place and adds what it did.

    Attributes:
        edit: Replaces nodes of the model: one graph, with shapes.
        source: The model as it was handed over.
        done: What was changed, in order.
        settled: Quantisers that are right however a sum on their boundaries is rounded.
    """

    edit: Editor
    source: ir.Model
    done: list[Rewrite]
    settled: set[ir.Node]

    @property
    def model(self) -> ir.Model:
        """The model that is made ready for hls4ml, in place."""
        return self.edit.model

    def add(self, node: ir.Node, problem: str, *, got: str = "", hint: str = "") -> None:
        """Records a change."""
        self.done.append(Rewrite(problem=problem, node=label(node), got=got, hint=hint))

    def nodes(self, *op_types: str) -> list[ir.Node]:
        """The nodes of these types, standard or channels-last, in order."""
        return [n for n in self.model.graph if n.op_type in op_types and n.domain in ("", CHANNELS_LAST)]

    def replace(self, node: ir.Node, x: ir.Value, steps: Sequence[Step]) -> ir.Node:
        """Puts a chain that starts at x in the place of a node; what read the node's output reads the chain's.

        Returns:
            The last node of the chain.
        """
        output = node.outputs[0]
        name = str(output.name)
        final = self.edit.successor(output, "replaced")
        made = node
        for count, step in enumerate(steps, 1):
            target = final if count == len(steps) else f"{name}/{step.op_type.lower()}"
            made = self._node(step, x, target, like=final)
            self.edit.insert(made, before=node)
            x = made.outputs[0]
        self.edit.remove(node)
        return made

    def behind(self, node: ir.Node, steps: Sequence[Step]) -> ir.Node:
        """Puts a chain behind a node; what read its output reads the chain's, which has the output's name.

        Returns:
            The last node of the chain.
        """
        output = node.outputs[0]
        final = self.edit.successor(output, "inner")
        last = node
        for count, step in enumerate(steps, 1):
            target = final if count == len(steps) else f"{final.name}/{step.op_type.lower()}"
            made = self._node(step, last.outputs[0], target, like=final)
            self.edit.insert(made, after=last)
            last = made
        return last

    def chain(self, node: ir.Node, x: ir.Value, steps: Sequence[Step]) -> ir.Value:
        """Puts a chain that starts at x in front of a node; nothing reads it yet.

        Returns:
            What the chain makes.
        """
        output = node.outputs[0]
        for step in steps:
            made = self._node(step, x, f"{output.name}/{step.op_type.lower()}", like=output)
            self.edit.insert(made, before=node)
            x = made.outputs[0]
        return x

    def join(self, node: ir.Node, op_type: str, a: ir.Value, b: ir.Value) -> ir.Value:
        """Puts an operator of two computed tensors in front of a node; nothing reads it yet."""
        output = node.outputs[0]
        made = self.edit.node(op_type, [a, b], f"{output.name}/{op_type.lower()}", like=output)
        self.edit.insert(made, before=node)
        return made.outputs[0]

    def replace_joined(self, node: ir.Node, op_type: str, a: ir.Value, b: ir.Value) -> None:
        """Puts an operator of two computed tensors in the place of a node."""
        final = self.edit.successor(node.outputs[0], "replaced")
        self.edit.insert(self.edit.node(op_type, [a, b], final, like=final), before=node)
        self.edit.remove(node)

    def before(self, node: ir.Node, position: int, step: Step) -> ir.Node:
        """Puts a node in front of one input of another node."""
        x = node.inputs[position]
        if x is None:
            raise ValueError(f"{label(node)} has no input {position}")
        made = self._node(step, x, f"{x.name}/{step.op_type.lower()}", like=x)
        self.edit.insert(made, before=node)
        node.replace_input_with(position, made.outputs[0])
        return made

    def keep_apart(self, node: ir.Node, position: int) -> bool:
        """Puts a Reshape to the same shape in front of an input: hls4ml's optimiser does not look across it.

        Returns:
            False where the shape is not known.
        """
        value = node.inputs[position]
        shape = None if value is None else shape_of(value)
        if shape is None or None in shape:
            return False
        self.before(node, position, Step("Reshape", (np.array([1, *(d or 1 for d in shape[1:])], np.int64),)))
        return True

    def _node(self, step: Step, x: ir.Value, output: str | ir.Value, *, like: ir.Value) -> ir.Node:
        name = output if isinstance(output, str) else str(output.name)
        constants = [self.edit.constant(f"{name}/operand", a) for a in step.operands]
        attributes = {k: ir.convenience.convert_attribute(k, v) for k, v in step.attributes.items()}
        return self.edit.node(
            step.op_type, [x, *constants], output, like=like, domain=step.domain, attributes=attributes
        )


def split(node: ir.Node | None) -> tuple[ir.Value, Array, int] | None:
    """Of arithmetic with one constant operand: the other operand, the constant, and which input the constant is."""
    if node is None or node.domain != "" or node.op_type not in ARITHMETIC or len(node.inputs) != 2:
        return None
    known = [constant(v) for v in node.inputs]
    if (known[0] is None) == (known[1] is None):
        return None
    position = 0 if known[0] is not None else 1
    x, array = node.inputs[1 - position], known[position]
    return None if x is None or array is None else (x, array, position)


def affine(value: ir.Value | None) -> ir.Node | None:
    """The arithmetic with a constant that makes a value, None if something else does."""
    node = None if value is None else value.producer()
    return None if split(node) is None else node


@dataclass(frozen=True)
class Chain:
    """factor * start + offset: arithmetic with constants in a row, which hls4ml makes one of.

    Attributes:
        start: What it starts from.
        factor: By channel, or scalar.
        offset: Likewise.
        forked: Whether something else reads its start or a step of it.
    """

    start: ir.Value
    factor: Float64s
    offset: Float64s
    forked: bool

    @classmethod
    def of(cls, value: ir.Value) -> Chain:
        """The chain that ends in a value; it has no steps where something else makes the value."""
        factor, offset, forked = np.ones(()), np.zeros(()), False
        steps: list[tuple[str, Array, int]] = []
        while True:
            forked |= len(value.uses()) + value.is_graph_output() > 1
            node = affine(value)
            known = split(node)
            if node is None or known is None:
                break
            value = known[0]
            steps.append((node.op_type, as_float64(known[1]), known[2]))
        with np.errstate(all="ignore"):  # of constants that are no finite numbers
            for op_type, operand, position in reversed(steps):
                if op_type in ("Mul", "Div"):
                    by = operand if op_type == "Mul" else 1 / operand
                    factor, offset = factor * by, offset * by
                else:
                    sign = -1.0 if op_type == "Sub" and position == 0 else 1.0
                    added = -operand if op_type == "Sub" and position else operand
                    factor, offset = factor * sign, offset * sign + added
        return cls(value, factor, offset, forked)

    @property
    def is_identity(self) -> bool:
        """Whether its steps cancel."""
        return bool((self.factor == 1).all() and (self.offset == 0).all())


def compact(array: Array) -> Array:
    """The array as a scalar where all its elements are equal."""
    return array.reshape(-1)[0].reshape(()) if array.size and (array == array.flat[0]).all() else array


def _float(number: float) -> Array:
    return np.asarray(number, np.float32)
