"""MergeMovements: chains of operators that only rename positions become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.cleanup.sizes.formula import ONE, Formula
from anybit.cleanup.sizes.model import reshape_target, sizes_of
from anybit.cleanup.sizes.symbolic import SymbolicSizes
from anybit.graph.annotations import ANNOTATIONS
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.ops.traits import Movement, standard

_FIRST_TARGET_OPSET = 5  # before it, the target of a Reshape was an attribute
_ORDER = standard(lambda t: t.movement is Movement.ORDER)


@dataclass(frozen=True)
class MergeMovements(ir.passes.InPlacePass):
    """Merges Reshapes, Squeezes and the like that follow one another, and Transposes that do.

    Before: ``z = Reshape(Transpose(Unsqueeze(x, 0), [1, 0, 2]), [-1, 8])`` with ``float[N,8] x``; after: ``x``.
    A Transpose that moves no axis but those of size 1 keeps the order of the elements, as a Reshape does. A chain
    becomes one Reshape where its target can be told in numbers, sizes that stay and one size that is left; it
    disappears where the shape is the one before. Two Transposes become one, with the product of their permutations.
    Elements are moved only, so that results are the same bit for bit. Tensors in between that are annotated, or that
    are outputs, stay.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="merge-movements") as edit:
            nodes = edit.nodes("Transpose", *_ORDER)
            if len(nodes) < 2 or model.opset_imports.get("", 1) < _FIRST_TARGET_OPSET:
                return ir.passes.PassResult(model, modified=False)
            sizes = sizes_of(model)
            for node in nodes:
                if node.op_type == "Transpose":
                    _merge_transposes(edit, node)
                _merge_reshapes(edit, node, sizes)
        return edit.result()


def _before(node: ir.Node) -> ir.Node | None:
    """The node that makes the first input, if nothing is stated of that tensor that would be lost."""
    source = node.inputs[0] if node.inputs else None
    maker = None if source is None else source.producer()
    if source is None or maker is None or maker.domain != "" or len(maker.outputs) != 1:
        return None
    return None if source.is_graph_output() or source.meta.get(ANNOTATIONS) else maker


def _merge_transposes(edit: Editor, node: ir.Node) -> None:
    first = _before(node)
    if first is None or first.op_type != "Transpose":
        return
    orders = [n.attributes.get_ints("perm", ()) for n in (first, node)]
    inner, outer = (list(order) for order in orders)
    if not inner or sorted(inner) != sorted(outer) or sorted(inner) != list(range(len(inner))):
        return
    edit.rewire(node, 0, first.inputs[0])
    node.attributes["perm"] = ir.AttrInt64s("perm", [inner[axis] for axis in outer])


def _merge_reshapes(edit: Editor, node: ir.Node, sizes: SymbolicSizes) -> None:
    output = node.outputs[0]
    shape = sizes.shape(output)
    if shape is None or Formula(0) in shape or node.graph is None or not _keeps_order(node, sizes):
        return
    root, length, maker = node.inputs[0], 1, _before(node)
    while maker is not None and _keeps_order(maker, sizes) and maker.inputs[0] is not None:
        root, length, maker = maker.inputs[0], length + 1, _before(maker)
    before = sizes.shape(root)
    if root is None or before is None or (length == 1 and before != shape):
        return
    if before == shape and not output.is_graph_output() and not _are_stated(output, root):
        edit.redirect(output, root)
        edit.remove(node)
        return
    target = reshape_target(shape, before)
    if length < 2 or target is None:
        return
    _become_reshape(edit, node, root, target)


def _keeps_order(node: ir.Node, sizes: SymbolicSizes) -> bool:
    if node.op_type in _ORDER:
        return True
    x = sizes.shape(node.inputs[0]) if node.op_type == "Transpose" else None
    if x is None:
        return False
    order = node.attributes.get_ints("perm", range(len(x))[::-1])
    moved = [axis for axis in order if axis < len(x) and x[axis] != ONE]
    return moved == sorted(moved)


def _are_stated(output: ir.Value, root: ir.Value) -> bool:
    """Whether annotations of two tensors contradict each other."""
    stated, other = ((v.meta.get(ANNOTATIONS) or {}) for v in (output, root))
    return any(other.get(key) != text for key, text in stated.items())


def _become_reshape(edit: Editor, node: ir.Node, root: ir.Value, target: Sequence[int]) -> None:
    wanted = np.array(target, np.int64)
    known = constant(node.inputs[1]) if node.op_type == "Reshape" else None
    if node.inputs[0] is not root:
        edit.rewire(node, 0, root)
    if known is not None and np.array_equal(known, wanted):
        return
    edit.discard(*node.inputs[1:])
    node.op_type = "Reshape"
    node.attributes.clear()
    node.resize_inputs(2)
    node.replace_input_with(1, edit.constant(f"{node.outputs[0].name}/target", wanted))
