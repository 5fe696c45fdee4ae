"""MergeSlices: Slices that follow one another become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.graph.annotations import ANNOTATIONS
from anybit.graph.constants import constant
from anybit.graph.editor import Editor

_FIRST_INPUTS_OPSET = 10  # before it, what is cut was in attributes
_Cuts = dict[int, tuple[int, int, int]]


@dataclass(frozen=True)
class MergeSlices(ir.passes.InPlacePass):
    """Merges a Slice of a Slice into one, where their parameters are constant and they cut different axes.

    Before: ``z = Slice(Slice(x, [0], [9], axes=[2], steps=[2]), [1], [9], axes=[3], steps=[2])``; after: ``z =
    Slice(x, [0, 1], [9, 9], axes=[2, 3], steps=[2, 2])``. The first Slice stays for its other readers. Elements are
    selected only, so that results are the same bit for bit.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="merge-slices") as edit:
            if model.opset_imports.get("", 1) >= _FIRST_INPUTS_OPSET:
                for node in edit.nodes("Slice"):
                    _merge(edit, node)
        return edit.result()


def _merge(edit: Editor, node: ir.Node) -> None:
    source = node.inputs[0]
    first = None if source is None else source.producer()
    if source is None or first is None or first.domain != "" or first.op_type != "Slice":
        return
    if source.is_graph_output() or source.meta.get(ANNOTATIONS):
        return
    inner, outer = _cuts(first), _cuts(node)
    if inner is None or outer is None or inner.keys() & outer.keys():
        return
    if min((*inner, *outer), default=0) < 0 <= max((*inner, *outer), default=0):
        return  # axes counted from both ends may be one and the same
    cuts = dict(sorted((inner | outer).items()))
    starts, ends, steps = ([cut[k] for cut in cuts.values()] for k in range(3))
    edit.rewire(node, 0, first.inputs[0])
    edit.discard(*node.inputs[1:])
    node.resize_inputs(5)
    for position, (name, numbers) in enumerate(
        (("starts", starts), ("ends", ends), ("axes", list(cuts)), ("steps", steps)), start=1
    ):
        made = edit.constant(f"{node.outputs[0].name}/{name}", np.array(numbers, np.int64))
        node.replace_input_with(position, made)


def _cuts(node: ir.Node) -> _Cuts | None:
    """By axis, what a Slice of constant parameters cuts; None for another one."""
    arrays = [None if v is None else constant(v) for v in (*node.inputs[1:], None, None)[:4]]
    given = [a is not None or v is None for a, v in zip(arrays, (*node.inputs[1:], None, None)[:4], strict=True)]
    starts, ends, axes, steps = arrays
    if not all(given) or starts is None or ends is None:
        return None
    axes = np.arange(starts.size) if axes is None else axes
    steps = np.ones(starts.size, np.int64) if steps is None else steps
    if not starts.size == ends.size == axes.size == steps.size == len(set(axes.tolist())):
        return None
    rows = zip(starts.tolist(), ends.tolist(), steps.tolist(), strict=True)
    return dict(zip(axes.tolist(), rows, strict=True))
