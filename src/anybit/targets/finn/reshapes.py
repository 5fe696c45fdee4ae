"""write_reshapes: Squeeze and Unsqueeze as FINN takes them, which has a Flatten in front of a product alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.cleanup.remove_unused import RemoveUnused
from anybit.exact.integer_layers import PRODUCTS
from anybit.graph.editor import Editor
from anybit.graph.walk import label, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.evaluate import known_value
from anybit.ops.quant import QUANT
from anybit.targets.handover import Rewrite

_FLATTENING = ("Flatten", "Reshape")
_ELEMENTWISE = frozenset(("Add", "Clip", "Div", "LeakyRelu", "Mul", "Relu", "Sub"))
_MATRIX, _IMAGE = 2, 4


def write_reshapes(model: ir.Model) -> list[Rewrite]:
    """Puts reshapes in front of the hardware, or makes them a Flatten, in place.

    An Unsqueeze, or a Reshape that makes an image, is put in front of the quantisers that it reads, where the host
    computes it, and an Unsqueeze that undoes a Squeeze goes with it. One that makes an image of one pixel is put in
    front of products, too, which become convolutions of that pixel. A Squeeze of an image to a matrix is a Flatten; a
    Flatten or Reshape behind a Squeeze reads the image itself. A Flatten of an image is put behind what has one number
    for all elements: Relu, quantisers, arithmetic. All of them keep the order of the elements, and the first axis.
    """
    rewrites: list[Rewrite] = []
    for _ in range(len(model.graph)):  # one node up at a time: a reshape has been in front of all of them then
        with Editor(model, rule="reshapes") as edit:
            _raise(edit, rewrites)
        if not edit.modified:
            break
    for rewrite in (_cancel, _flatten, _lower):
        with Editor(model, rule="reshapes") as edit:
            rewrite(edit, rewrites)
    RemoveUnused()(model)
    return rewrites


def lower_reshapes(model: ir.Model) -> list[Rewrite]:
    """Puts a Flatten of an image that a product is in behind what does the same to all elements, in place."""
    rewrites: list[Rewrite] = []
    with Editor(model, rule="reshapes") as edit:
        _lower(edit, rewrites)
    RemoveUnused()(model)
    return rewrites


def _maker(node: ir.Node) -> ir.Node | None:
    return None if not node.inputs or node.inputs[0] is None else node.inputs[0].producer()


def _raise(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Moves what adds axes one node up: in front of a quantiser with one scale, or, for a pixel, of a product."""
    for node in edit.nodes("Unsqueeze", "Reshape"):
        maker = _maker(node)
        if maker is None or (node.op_type == "Reshape" and not _adds_axes(node)):
            continue
        if _is_pixel(node) and _is_product(maker, edit.model):
            _raise_past_product(edit, node, maker)
            rewrites.append(Rewrite(problem="put in front of a product", node=label(node), got=label(maker)))
        elif _is_by_tensor(maker, edit.model) or (
            _is_pixel(node) and _is_alone(maker) and _does_the_same_to_all(maker, edit.model)
        ):
            _raise_past(edit, node, maker)
            rewrites.append(Rewrite(problem="put in front of a quantiser", node=label(node), got=label(maker)))


def _raise_past(edit: Editor, node: ir.Node, maker: ir.Node) -> None:
    made, old = node.outputs[0], maker.outputs[0]
    at = next(
        i for i, v in enumerate(maker.inputs) if v is not None and known_value(v, edit.model.opset_imports) is None
    )
    first = edit.node(node.op_type, [maker.inputs[at], *node.inputs[1:]], f"{made.name}/raised", like=made)
    first.attributes.update(node.attributes)
    inputs = [first.outputs[0] if i == at else v for i, v in enumerate(maker.inputs)]
    second = edit.node(
        maker.op_type, inputs, f"{made.name}/levels", like=made, domain=maker.domain, attributes=maker.attributes
    )
    second.name = maker.name
    edit.replace(made, [first, second])
    edit.discard(old)


def _is_pixel(node: ir.Node) -> bool:
    """Whether a reshape makes an image of one pixel of each row of a matrix."""
    before, after = (None if v is None else shape_of(v) for v in (node.inputs[0], node.outputs[0]))
    return before is not None and len(before) == _MATRIX and after == (*before, 1, 1)


def _is_alone(node: ir.Node) -> bool:
    return len(node.outputs[0].uses()) == 1 and not node.outputs[0].is_graph_output()


def _is_product(node: ir.Node, model: ir.Model) -> bool:
    """Whether a node is a product of a matrix and known weights, which one node reads."""
    if node.op_type != "MatMul" or node.domain != "" or not _is_alone(node):
        return False
    x, weights = (None if v is None else shape_of(v) for v in node.inputs)
    known = known_value(node.inputs[1], model.opset_imports) is not None
    return known and x is not None and weights is not None and len(x) == len(weights) == _MATRIX


def _raise_past_product(edit: Editor, node: ir.Node, product: ir.Node) -> None:
    """Writes a product whose result becomes a pixel as the convolution of a pixel."""
    made, (x, weights) = node.outputs[0], product.inputs
    first = edit.node(node.op_type, [x, *node.inputs[1:]], f"{made.name}/raised", like=made)
    first.attributes.update(node.attributes)
    sizes = (shape_of(x) or ()) if x is not None else ()
    first.outputs[0].shape = ir.Shape([*sizes, 1, 1])
    columns = [n or 1 for n in (shape_of(weights) or ())] if weights is not None else []
    perm = {"perm": ir.AttrInt64s("perm", [1, 0])}
    turned = edit.node("Transpose", [weights], f"{made.name}/turned", like=weights, attributes=perm)
    turned.outputs[0].shape = ir.Shape(columns[::-1])
    shape = edit.constant(f"{made.name}/shape", np.asarray([*columns[::-1], 1, 1], np.int64))
    kernel = edit.node("Reshape", [turned.outputs[0], shape], f"{made.name}/kernel", like=weights)
    kernel.outputs[0].shape = ir.Shape([*columns[::-1], 1, 1])
    second = edit.node("Conv", [first.outputs[0], kernel.outputs[0]], f"{made.name}/sums", like=made)
    edit.replace(made, [first, turned, kernel, second])


def _adds_axes(node: ir.Node) -> bool:
    """Whether a reshape makes a tensor of more axes, in which each row is one sample still."""
    before, after = (None if v is None else shape_of(v) for v in (node.inputs[0], node.outputs[0]))
    return before is not None and after is not None and len(before) < len(after) and before[0] == after[0]


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


def _lower(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Moves each Flatten of an image behind nodes that do the same to all elements, as far as it goes."""
    for node in edit.nodes(*_FLATTENING):
        current = node
        while (reader := _only_reader(current)) is not None and _does_the_same_to_all(reader, edit.model):
            image, flat, made = current.inputs[0], current.outputs[0], reader.outputs[0]
            if image is None or not _makes_matrix(image, flat) or not _is_computed(image):
                break
            inputs = [image if v is flat else v for v in reader.inputs]
            inner = edit.node(
                reader.op_type,
                inputs,
                f"{made.name}/image",
                like=image,
                domain=reader.domain,
                attributes=reader.attributes,
            )
            inner.name = reader.name
            axis = {"axis": ir.AttrInt64("axis", 1)}
            outer = edit.node("Flatten", inner.outputs, f"{made.name}/flat", like=made, attributes=axis)
            rewrites.append(Rewrite(problem="put behind what is the same for all", node=label(node), got=label(reader)))
            edit.replace(made, [inner, outer], before=reader)
            current = outer


def _is_computed(value: ir.Value) -> bool:
    """Whether a product is in a tensor: what comes before the first one is left to the host."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        at = waiting.pop()
        maker = None if at in seen else at.producer()
        seen.add(at)
        if maker is not None and maker.op_type in PRODUCTS:
            return True
        waiting += [] if maker is None else [v for v in maker.inputs if v is not None]
    return False


def _only_reader(node: ir.Node) -> ir.Node | None:
    made = node.outputs[0]
    readers = [user for user, _ in made.uses()]
    return readers[0] if len(readers) == 1 and not made.is_graph_output() else None


def _does_the_same_to_all(node: ir.Node, model: ir.Model) -> bool:
    """Whether a node does the same to each element of the one tensor that it reads."""
    known = [known_value(v, model.opset_imports) for v in node.inputs]
    if not is_call(node, QUANT, BIPOLAR_QUANT) and (node.domain != "" or node.op_type not in _ELEMENTWISE):
        return False
    return sum(k is None for k in known) == 1 and all(k is None or (k.size == 1 and k.ndim <= 1) for k in known)


def _makes_matrix(image: ir.Value | None, made: ir.Value) -> bool:
    """Whether a tensor is an image whose rows, one a sample, are another one."""
    before, after = None if image is None else shape_of(image), shape_of(made)
    if before is None or after is None or len(before) != _IMAGE or len(after) != _MATRIX:
        return False
    return before[0] == after[0]
