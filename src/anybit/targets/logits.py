"""cut_softmax: a classifier that ends in its logits, as no tool computes a Softmax exactly."""

from __future__ import annotations

import onnx_ir as ir

from anybit.cleanup.remove_unused import RemoveUnused
from anybit.graph.walk import label
from anybit.targets.handover import Rewrite

_LAST = ("Softmax", "LogSoftmax")


def cut_softmax(model: ir.Model) -> list[Rewrite]:
    """Lets outputs of the model be what a Softmax at the end reads; the largest one is the same."""
    rewrites: list[Rewrite] = []
    for output in list(model.graph.outputs):
        node = output.producer()
        if node is None or node.op_type not in _LAST or output.uses() or node.inputs[0] is None:
            continue
        rewrites.append(Rewrite(problem="cut off: the output is what it reads", node=label(node)))
        x, name = node.inputs[0], output.name
        output.name = f"{name}/probabilities"
        output.replace_all_uses_with(x, replace_graph_outputs=True)
        x.name = name if not x.is_graph_input() else x.name
    RemoveUnused()(model)
    return rewrites
