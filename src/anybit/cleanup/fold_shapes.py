"""FoldShapes: shapes that are known become constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.fold_constants import FoldConstants
from anybit.cleanup.sizes.formula import Formula
from anybit.cleanup.sizes.model import reshape_target, sizes_of
from anybit.cleanup.sizes.symbolic import SymbolicSizes
from anybit.graph.constants import constant, drop_unused, is_replaceable, new_initializer, replace_by_constant
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes
from anybit.io.shapes import Inference

_ROUNDS = 8  # what becomes known by what was folded takes another one; more would make the pass slow
_FIRST_TARGET_OPSET = 5  # before it, the target of a Reshape was an attribute


@dataclass(frozen=True)
class FoldShapes(ir.passes.InPlacePass):
    """Replaces Shape and Size of tensors of known shape, and what is computed from them, by constants.

    Before: ``Reshape(x, Concat(Unsqueeze(Gather(Shape(x), 0)), [-1]))`` with ``float[1,1,28,28] x``;
    after: ``Reshape(x, [1, -1])``. Sizes are followed as formulas in the free dimensions of the inputs, through
    arithmetic, comparisons and operators that change shapes; with ``float[N,1,28,28] x`` the target is ``[0, -1]``:
    a Reshape is told numbers, which sizes stay, and that one size is what is left.
    A shape that only the file states is not known. Known integers that their element type does not hold are not
    followed; free sizes are taken to be so small that nothing computed of them wraps around. Comparisons are decided
    for empty dimensions, too; a size that a Reshape or Expand is given, or that divides another one, is taken to be at
    least 1.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, fold_shapes(model))


def fold_shapes(model: ir.Model, inference: Inference | None = None) -> bool:
    """Does what `FoldShapes` does, and says whether anything changed.

    Args:
        model: The model.
        inference: What inference gave of the model as it is, where that is known.
    """
    modified = False
    for _ in range(_ROUNDS):
        sizes = sizes_of(model, None if modified else inference)
        names = Names.of_tensors(model)
        folded = [n for n in list(all_nodes(model.graph)) if _fold(model.graph, n, sizes, names)]
        if not folded:
            break
        FoldConstants()(model)
        modified = True
    return modified


def _fold(graph: ir.Graph, node: ir.Node, sizes: SymbolicSizes, names: Names) -> bool:
    if node.domain != "" or node.graph is None:
        return False
    if node.op_type == "Reshape":
        return _fold_target(graph, node, sizes, names)
    array = _known(node, sizes)
    if array is None or not is_replaceable(graph, node.outputs[0]):
        return False
    replace_by_constant(graph, node.outputs[0], array, names)
    node.graph.remove(node, safe=True)
    return True


def _known(node: ir.Node, sizes: SymbolicSizes) -> Array | None:
    """The value of what a node computes of sizes, if it is the same whatever the free dimensions are."""
    output = node.outputs[0] if node.outputs else None
    if output is None or node.op_type == "Constant" or len(node.outputs) != 1:
        return None
    numbers, shape, dtype = sizes.numbers(output), sizes.shape(output), output.dtype
    if numbers is None or shape is None or dtype is None or dtype.bitwidth < 8:
        return None
    wide = np.array(numbers, np.int64)
    array = wide.astype(dtype.numpy())
    return array.reshape([len(numbers)] if shape else []) if np.array_equal(array.astype(np.int64), wide) else None


def _fold_target(graph: ir.Graph, node: ir.Node, sizes: SymbolicSizes, names: Names) -> bool:
    """Gives a Reshape to a computed shape a constant one."""
    old = node.inputs[1] if len(node.inputs) > 1 else None
    if old is None or sizes.opset < _FIRST_TARGET_OPSET or constant(old) is not None:
        return False
    x, asked = sizes.shape(node.inputs[0]), sizes.contents(old)
    made = sizes.shape(node.outputs[0])
    target = None if made is None or Formula(0) in made else reshape_target(made, x)
    if target is None and asked is not None and not node.attributes.get_int("allowzero", 0):
        target = reshape_target(asked, x)
    if target is None:
        return False
    value = new_initializer(graph, names.fresh(f"{node.outputs[0].name}/target"), np.array(target, np.int64))
    node.replace_input_with(1, value)
    node.attributes.pop("allowzero", None)
    drop_unused(old)
    return True
