"""write_reshapes: Squeeze and Unsqueeze as FINN takes them, which has a Flatten in front of a product alone."""

from __future__ import annotations

import onnx_ir as ir

from anybit.cleanup.remove_unused import RemoveUnused
from anybit.graph.editor import Editor
from anybit.graph.walk import label, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.evaluate import known_value
from anybit.ops.quant import QUANT
from anybit.targets.handover import Rewrite

_FLATTENING = ("Flatten", "Reshape")
_MATRIX, _IMAGE = 2, 4


def write_reshapes(model: ir.Model) -> list[Rewrite]:
    """Puts reshapes in front of the hardware, or makes them a Flatten, in place.

    An Unsqueeze is put in front of the quantisers that it reads, where the host computes it, and one that undoes a
    Squeeze goes with it. A Squeeze of an image to a matrix is a Flatten; a Flatten or Reshape behind a Squeeze reads
    the image itself. All of them keep the order of the elements, and the first axis.
    """
    rewrites: list[Rewrite] = []
    for rewrite in (_raise, _cancel, _flatten):
        with Editor(model, rule="reshapes") as edit:
            rewrite(edit, rewrites)
    RemoveUnused()(model)
    return rewrites


def _maker(node: ir.Node) -> ir.Node | None:
    return None if not node.inputs or node.inputs[0] is None else node.inputs[0].producer()


def _raise(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Moves each Unsqueeze in front of quantisers with one scale that nothing else reads."""
    for node in edit.nodes("Unsqueeze"):
        current = node
        while (quantizer := _maker(current)) is not None and _is_by_tensor(quantizer, edit.model):
            made, x = current.outputs[0], quantizer.inputs[0]
            first = edit.node("Unsqueeze", [x, *current.inputs[1:]], f"{made.name}/raised", like=made)
            first.attributes.update(current.attributes)
            second = edit.node(
                quantizer.op_type,
                [first.outputs[0], *quantizer.inputs[1:]],
                f"{made.name}/levels",
                like=made,
                domain=quantizer.domain,
                attributes=quantizer.attributes,
            )
            second.name = quantizer.name
            rewrites.append(Rewrite(problem="put in front of a quantiser", node=label(current), got=label(quantizer)))
            edit.replace(made, [first, second])
            current = first


def _is_by_tensor(node: ir.Node, model: ir.Model) -> bool:
    """Whether a node is a quantiser with one scale, whose result one node reads."""
    if not is_call(node, QUANT, BIPOLAR_QUANT) or node.outputs[0].is_graph_output() or len(node.outputs[0].uses()) > 1:
        return False
    parameters = [known_value(v, model.opset_imports) for v in node.inputs[1:]]
    return all(p is not None and p.size == 1 and p.ndim <= 1 for p in parameters)


def _cancel(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Lets what reads an Unsqueeze that undoes a Squeeze read what the Squeeze reads."""
    for node in edit.nodes("Unsqueeze"):
        squeeze, made = _maker(node), node.outputs[0]
        x = None if squeeze is None or squeeze.op_type != "Squeeze" or squeeze.domain != "" else squeeze.inputs[0]
        if x is None or made.is_graph_output() or shape_of(x) is None or shape_of(x) != shape_of(made):
            continue
        rewrites.append(Rewrite(problem="undoes a Squeeze, and goes with it", node=label(node)))
        edit.redirect(made, x)


def _flatten(edit: Editor, rewrites: list[Rewrite]) -> None:
    for node in edit.nodes(*_FLATTENING):
        squeeze = _maker(node)
        if squeeze is None or squeeze.op_type != "Squeeze" or node.attributes.get_int("axis", 1) != 1:
            continue
        if _makes_matrix(squeeze.inputs[0], node.outputs[0]):
            rewrites.append(Rewrite(problem="reads the image in front of the Squeeze", node=label(node)))
            edit.rewire(node, 0, squeeze.inputs[0])
    for node in edit.nodes("Squeeze"):
        if node.outputs[0].uses() and _makes_matrix(node.inputs[0], node.outputs[0]):
            rewrites.append(Rewrite(problem="a Flatten in its place", node=label(node)))
            axis = {"axis": ir.AttrInt64("axis", 1)}
            made = node.outputs[0]
            edit.replace(made, edit.node("Flatten", node.inputs[:1], f"{made.name}/flat", like=made, attributes=axis))


def _makes_matrix(image: ir.Value | None, made: ir.Value) -> bool:
    """Whether a tensor is an image whose rows, one a sample, are another one."""
    before, after = None if image is None else shape_of(image), shape_of(made)
    if before is None or after is None or len(before) != _IMAGE or len(after) != _MATRIX:
        return False
    return before[0] == after[0]
