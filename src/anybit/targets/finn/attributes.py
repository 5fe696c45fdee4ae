"""write_attributes: what FINN reads of windows, and takes no defaults for."""

from __future__ import annotations

import onnx_ir as ir

from anybit.graph.walk import all_nodes, label, shape_of
from anybit.ops.standard.windows import Windows
from anybit.targets.handover import Rewrite

_WINDOWS = frozenset(("AveragePool", "Conv", "MaxPool"))


def write_attributes(model: ir.Model, rewrites: list[Rewrite]) -> None:
    """Writes out kernel, strides, dilations, pads and groups of every convolution and pooling, in place.

    Padding that depends on the size of the input becomes that of the size which it has. A node whose input has no
    known size stays as it is: the checker refuses it.
    """
    for node in all_nodes(model.graph):
        if node.domain == "" and node.op_type in _WINDOWS:
            _write(node, rewrites)


def _write(node: ir.Node, rewrites: list[Rewrite]) -> None:
    x = node.inputs[0]
    shape = None if x is None else shape_of(x)
    weights = shape_of(node.inputs[1]) if node.op_type == "Conv" and node.inputs[1] is not None else None
    stated = node.attributes.get("kernel_shape")
    kernel = list(weights[2:]) if weights is not None else [] if stated is None else list(stated.as_ints())
    if shape is None or None in shape[2:] or None in kernel or not kernel:
        return
    given = {name: a.value for name, a in node.attributes.items()}
    windows = Windows.of([n or 0 for n in shape[2:]], [n or 0 for n in kernel], given)
    numbers = {"kernel_shape": windows.kernel, "strides": windows.strides}
    numbers["pads"] = windows.pads_begin + windows.pads_end
    if node.op_type == "Conv" or "dilations" in given:
        numbers["dilations"] = windows.dilations
    for name, ints in numbers.items():
        node.attributes[name] = ir.AttrInt64s(name, list(ints))
    whole = Windows.of([n or 0 for n in shape[2:]], [n or 0 for n in kernel], {**given, "ceil_mode": 0})
    if given.get("ceil_mode") and whole.output == windows.output:  # windows fill the image
        del node.attributes["ceil_mode"]
    if node.op_type == "Conv":
        node.attributes["group"] = ir.AttrInt64("group", int(given.get("group", 1)))
    if node.attributes.pop("auto_pad", None) is not None:
        rewrites.append(Rewrite(problem="padding written out", node=label(node), got=str(list(numbers["pads"]))))
