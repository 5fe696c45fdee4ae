"""SortCommutative: constants behind computed tensors among the inputs of operators whose inputs may change places."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.graph.editor import Editor

_COMMUTATIVE = ("Add", "And", "Max", "Min", "Mul", "Or", "Sum", "Xor")
_TWO = 2  # of more summands the order changes what float32 rounds


@dataclass(frozen=True)
class SortCommutative(ir.passes.InPlacePass):
    """Puts the constant of Add, Mul and the like behind the computed tensor.

    Before: ``y = Mul(c, x)``; after: ``y = Mul(x, c)``. Nodes of more than two inputs stay. Results are the same bit
    for bit; which of two NaN comes through is open.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="sort-commutative") as edit:
            for node in edit.nodes(*_COMMUTATIVE):
                if len(node.inputs) != _TWO or "axis" in node.attributes:
                    continue
                first, second = node.inputs
                if constant(first) is None or constant(second) is not None:
                    continue
                edit.touch()
                node.replace_input_with(0, second)
                node.replace_input_with(1, first)
        return edit.result()
