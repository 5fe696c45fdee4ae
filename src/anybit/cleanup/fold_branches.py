"""FoldBranches: an If whose condition is known becomes the branch that is taken."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.graph.names import Names, all_values
from anybit.graph.walk import all_nodes


@dataclass(frozen=True)
class FoldBranches(ir.passes.InPlacePass):
    """Puts the nodes of the branch that is taken in the place of an If whose condition is constant.

    Before: ``y = If(True, then: Neg(x), else: Abs(x))``; after: ``y = Neg(x)``. Names that would be another tensor's
    get a number.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified, names = False, Names.of_tensors(model)
        pending = [n for n in all_nodes(model.graph) if _taken(n) is not None]
        for node in pending:
            branch = _taken(node)
            if branch is not None and node.graph is not None and _can_stand_for(node, branch):
                _inline(model.graph, node, branch, names)
                modified = True
        return ir.passes.PassResult(model, modified)


def _taken(node: ir.Node) -> ir.Graph | None:
    condition = constant(node.inputs[0]) if node.op_type == "If" and node.domain == "" and node.inputs else None
    if condition is None or condition.size != 1:
        return None
    branch = node.attributes.get("then_branch" if condition.any() else "else_branch")
    return None if branch is None or branch.is_ref() else branch.as_graph()


def _can_stand_for(node: ir.Node, branch: ir.Graph) -> bool:
    """Whether each output of the If that is an output of its graph is made by a node of the branch, once."""
    exposed = [v for o, v in zip(node.outputs, branch.outputs, strict=True) if o.is_graph_output()]
    made = [v.producer() is not None and v.graph is branch for v in exposed]
    return all(made) and len(set(exposed)) == len(exposed)


def _inline(root: ir.Graph, node: ir.Node, branch: ir.Graph, names: Names) -> None:
    outputs, place = list(branch.outputs), node.graph
    branch.outputs.clear()
    for value in list(all_values(branch)):  # initializers are kept by their names
        value.name = names.fresh(str(value.name)) if value.name else value.name
    for value in list(branch.initializers.values()):
        del branch.initializers[next(name for name, v in branch.initializers.items() if v is value)]
        root.register_initializer(value)
    nodes = list(branch)
    branch.remove(nodes)
    if place is not None:
        place.insert_before(node, nodes)
    for old, new in zip(node.outputs, outputs, strict=True):
        name, is_output = old.name, old.is_graph_output()
        new.meta.update({key: entry for key, entry in old.meta.items() if key not in new.meta})
        new.type, new.shape = new.type or old.type, new.shape or old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        if is_output:
            old.name, new.name = f"{name}/folded", name
    if place is not None:
        place.remove(node, safe=True)
