"""Every tensor that a model holds: initializers and attributes, in the graph, its subgraphs and the functions."""

from __future__ import annotations

from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager

import onnx_ir as ir

from anybit.graph.walk import all_graphs, all_nodes, graphs_of, label

Change = Callable[[str, ir.TensorProtocol], ir.TensorProtocol]
"""What stands for a tensor, given how messages name it; the tensor itself where it stays."""


def replace_tensors(model: ir.Model, change: Change) -> None:
    """Applies `change` to every tensor of the model, in place."""
    functions = model.functions.values()
    defaults = [a for f in functions for a in f.attributes.values()]
    for function in functions:
        _replace_attributes(function.attributes, f"function '{function.name}'", change)
    for graph in (model.graph, *(f.graph for f in functions), *(g for a in defaults for g in graphs_of(a))):
        replace_initializers(graph, change)
        for node in all_nodes(graph):
            _replace_attributes(node.attributes, label(node), change)


def replace_initializers(graph: ir.Graph, change: Change) -> None:
    """Applies `change` to the initializers of a graph and of those inside its nodes, in place."""
    for inner in all_graphs(graph):
        for value in inner.initializers.values():
            if value.const_value is not None:
                value.const_value = change(f"initializer '{value.name}'", value.const_value)


def tensors_of(model: ir.Model) -> list[ir.TensorProtocol]:
    """All tensors of the model; one that is held in several places is listed for each."""
    found: list[ir.TensorProtocol] = []

    def note(_: str, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        found.append(tensor)
        return tensor

    replace_tensors(model, note)
    return found


@contextmanager
def replaced(replace: Callable[[Change], None], change: Change) -> Generator[None]:
    """Other tensors inside the block, those of before after it.

    Args:
        replace: Applies a change to the tensors in question, as `replace_tensors` does.
        change: What stands for each of them inside the block.
    """
    before: dict[int, tuple[ir.TensorProtocol, ir.TensorProtocol]] = {}

    def swap(where: str, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        made = change(where, tensor)
        before[id(made)] = (made, tensor)  # both are kept alive: their ids stay theirs
        return made

    def restore(_: str, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        return before.get(id(tensor), (tensor, tensor))[1]

    try:
        replace(swap)
        yield
    finally:
        replace(restore)


def _replace_attributes(attributes: MutableMapping[str, ir.Attr], owner: str, change: Change) -> None:
    for name, attribute in list(attributes.items()):
        if attribute.is_ref():
            continue
        where = f"attribute '{name}' of {owner}"
        if attribute.type == ir.AttributeType.TENSOR:
            made = change(where, attribute.value)
            if made is not attribute.value:
                attributes[name] = ir.AttrTensor(name, made, doc_string=attribute.doc_string)
        elif attribute.type == ir.AttributeType.TENSORS:
            several = [change(where, t) for t in attribute.value]
            if any(a is not b for a, b in zip(several, attribute.value, strict=True)):
                attributes[name] = ir.AttrTensors(name, several, doc_string=attribute.doc_string)
