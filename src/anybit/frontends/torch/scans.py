"""scans: what `anybit.frontends.torch.steps` calls at each step, translated once, as the body of a Scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import fx

from anybit.frontends.torch.captured import Captured
from anybit.frontends.torch.free_axes import Shapes, Tensors
from anybit.frontends.torch.steps import is_steps

_PLACEHOLDER = "anybit.steps"  # domain of the nodes that stand for a Scan until it is made

_FREE = 2  # elements of a free axis in an example: torch takes one for fixed


@dataclass(frozen=True)
class Loop:
    """A call of `steps`.

    Attributes:
        name: Its node in the captured graph.
        body: What it calls, by the path of the module that calls it.
        states: Number of states.
        axis: Axis of the steps.
        reverse: Whether the last element comes first.
        example: Arguments of one step, and what is free in them.
    """

    name: str
    body: str
    states: int
    axis: int
    reverse: bool
    example: tuple[Tensors, Shapes]

    @property
    def prefix(self) -> str:
        """What the names of all that its body has begin with."""
        return f"{self.name}/"

    def output(self, index: int) -> str:
        """The name of a result of the call: the states behind the last step, and the first behind each.

        It is no identifier, as the names of what the body has are.
        """
        return f"{self.prefix}output-{index}"


def loops(captured: Captured) -> list[Loop]:
    """The calls of `steps` in a graph that depend on its inputs."""
    return [_loop(n) for n in captured.module.graph.nodes if is_steps(n.target) and n in captured.varying]


def _loop(node: fx.Node) -> Loop:
    arguments: list[Any] = list(node.args)
    states, sequence, parameters, body, axis, reverse = arguments
    element = sequence.meta["val"].select(axis, 0)
    given = [*(n.meta["val"] for n in states), element, *(n.meta["val"] for n in parameters)]
    return Loop(node.name, body, len(states), axis, reverse, _example(given))


def _example(values: Sequence[torch.Tensor]) -> tuple[Tensors, Shapes]:
    """Tensors of these shapes; free axes of one length are free together."""
    dims: dict[str, Any] = {}
    tensors: list[torch.Tensor] = []
    shapes: list[dict[int, Any]] = []
    for value in values:
        sizes = list[Any](value.shape)
        free = {axis: str(size) for axis, size in enumerate(sizes) if not isinstance(size, int)}
        for name in free.values():
            dims.setdefault(name, torch.export.Dim(f"free_{len(dims)}"))
        size = [_FREE if axis in free else int(length) for axis, length in enumerate(sizes)]
        tensors.append(torch.zeros(size, dtype=value.dtype))
        shapes.append({axis: dims[name] for axis, name in free.items()})
    return tuple(tensors), tuple(shapes) if dims else None


def mark(captured: Captured) -> None:
    """Lets the calls of `steps` say which they are."""
    for node in captured.module.graph.nodes:
        if is_steps(node.target):
            node.args = (*node.args[:3], node.name, *node.args[4:])


def placeholder(inputs: Sequence[ir.Value], call: str, *, outputs: int) -> ir.Node:
    """What stands for a call of `steps` until `place` has made a Scan of it."""
    return ir.Node(_PLACEHOLDER, "Steps", inputs, [ir.AttrString("call", call)], num_outputs=outputs, version=1)


def place(model: ir.Model, loop: Loop, body: ir.Model) -> None:
    """Puts a Scan into the place of what stands for a call of `steps`; the body becomes part of the model.

    What in the body depends on parameters alone is computed in front of the Scan.
    """
    stands = next(
        (n for n in model.graph if n.domain == _PLACEHOLDER and n.attributes["call"].as_string() == loop.name), None
    )
    if stands is None:  # nothing reads it
        return
    for domain, version in body.opset_imports.items():
        model.opset_imports.setdefault(domain, version)
    graph, given = body.graph, list(stands.inputs)
    for value in _values(graph):
        value.name = f"{loop.prefix}{value.name}"
        value.shape = None if loop.example[1] is not None else value.shape
    for node in graph:
        node.name = f"{loop.prefix}{node.name}"
    count = loop.states + 1
    for inner, outer in zip(list(graph.inputs)[count:], given[count:], strict=True):
        ir.convenience.replace_all_uses_with(inner, outer)  # pyright: ignore[reportArgumentType]
    constants = list(graph.initializers.values())
    graph.initializers.clear()
    for value in constants:
        model.graph.register_initializer(value)
    inputs = list(graph.inputs)[:count]
    outside, inside = _parted(graph, inputs)
    outputs = list(graph.outputs)
    graph.outputs.clear()
    graph.inputs.clear()
    graph.remove([*outside, *inside])
    for node in outside:
        model.graph.insert_before(stands, node)
    own: list[ir.Node] = []
    results = [_made_inside(v, inside, own, loop, i) for i, v in enumerate(outputs)]
    kept = _identity(results[0], f"{loop.prefix}element-out")
    own.append(kept)
    scan = ir.Node(
        "",
        "Scan",
        given[:count],
        [
            ir.AttrGraph("body", ir.Graph(inputs, [*results, kept.outputs[0]], nodes=[*inside, *own], name=loop.name)),
            ir.AttrInt64("num_scan_inputs", 1),
            ir.AttrInt64s("scan_input_axes", [loop.axis]),
            ir.AttrInt64s("scan_input_directions", [int(loop.reverse)]),
            ir.AttrInt64s("scan_output_axes", [loop.axis]),
            ir.AttrInt64s("scan_output_directions", [int(loop.reverse)]),
        ],
        num_outputs=loop.states + 1,
        name=loop.name,
    )
    model.graph.insert_before(stands, scan)
    for index, value in enumerate(scan.outputs):
        value.name = loop.output(index)
    for old, new in zip(stands.outputs, scan.outputs, strict=True):
        new.type, new.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    model.graph.remove(stands, safe=True)
    model.opset_imports.pop(_PLACEHOLDER, None)


def _values(graph: ir.Graph) -> list[ir.Value]:
    made = [v for node in graph for v in node.outputs]
    return list(dict.fromkeys([*graph.inputs, *graph.initializers.values(), *made]))


def _parted(graph: ir.Graph, inputs: Sequence[ir.Value]) -> tuple[list[ir.Node], list[ir.Node]]:
    """Nodes that depend on parameters alone, and all others."""
    varying = set(inputs)
    outside: list[ir.Node] = []
    inside: list[ir.Node] = []
    for node in graph:
        if any(v in varying for v in node.inputs):
            varying.update(node.outputs)
            inside.append(node)
        else:
            outside.append(node)
    return outside, inside


def _made_inside(value: ir.Value, inside: Sequence[ir.Node], own: list[ir.Node], loop: Loop, index: int) -> ir.Value:
    """The value, or a copy of what the body does not compute."""
    if value.producer() in inside:
        return value
    own.append(_identity(value, f"{loop.prefix}state-{index}"))
    return own[-1].outputs[0]


def _identity(value: ir.Value, name: str) -> ir.Node:
    node = ir.Node("", "Identity", [value], num_outputs=1, name=name)
    output = node.outputs[0]
    output.name, output.type, output.shape = name, value.type, value.shape
    return node
