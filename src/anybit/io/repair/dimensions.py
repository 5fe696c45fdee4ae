"""Dimensions of a file that are no sizes and no names: what stands for "unknown" becomes unknown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

from anybit.graph.walk import all_graphs, all_nodes

# What exporters call every free dimension, whatever its size; with a number behind it as in unk__1.
_PLACEHOLDER = re.compile(
    r"(none|null|nan|unk|unknown|undefined|dyn|dynamic|any|free|var|variable)?[\W\d_]*", re.IGNORECASE
)


def repair_dimensions(model: ir.Model, record: Callable[[str, str], None]) -> None:
    """Makes unknown, in place: negative sizes anywhere, a batch of 0, and names that several free dimensions share.

    A name that stands twice in the shape of one input, or is a placeholder and stands in several, says nothing about
    sizes. Other names that inputs share, such as N, do: sessions hold callers to them.

    Args:
        model: Model to repair.
        record: Takes the rule and the text of each repair.
    """
    for value in _values(model):
        value.shape = _without_negative(value.shape, record)
    for node, attribute in list(_type_attributes(model)):
        stated = attribute.value
        shape = _without_negative(stated.shape, record)
        if shape is not stated.shape:
            node.attributes[attribute.name] = ir.AttrTypeProto(attribute.name, ir.TypeAndShape(stated.type, shape))
    inputs = [v for v in model.graph.inputs if v.const_value is None]
    for value in inputs:
        if value.shape is not None and value.shape.rank() and value.shape[0] == 0:
            value.shape = ir.Shape([None, *list(value.shape)[1:]])
            record("zero-batch", "batch of 0 read as unknown")
    careless = _careless(inputs)
    for value in inputs:
        if value.shape is not None and any(_name(d) in careless for d in value.shape):
            value.shape = ir.Shape([None if _name(d) in careless else d for d in value.shape])
            record("dimension-name", "one name for several dimensions read as unknown")


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        for part in all_graphs(graph):
            yield from part.inputs
            for node in part:
                yield from node.outputs


def _type_attributes(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Attr]]:
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        for node in all_nodes(graph):
            kinds = (a for a in node.attributes.values() if a.type == ir.AttributeType.TYPE_PROTO and not a.is_ref())
            yield from ((node, kind) for kind in kinds)


def _without_negative(shape: ir.Shape | None, record: Callable[[str, str], None]) -> ir.Shape | None:
    if shape is None or not any(isinstance(d, int) and d < 0 for d in shape):
        return shape
    record("negative-dimension", "negative dimension read as unknown")
    return ir.Shape([None if isinstance(d, int) and d < 0 else d for d in shape])


def _careless(inputs: Iterable[ir.Value]) -> set[str | None]:
    """Names of several free dimensions that need not be of one size."""
    total = Counter[str]()
    careless = set[str | None]()
    for value in inputs:
        counts = Counter(name for d in value.shape or () if (name := _name(d)) is not None)
        careless |= {name for name, count in counts.items() if count > 1}
        total += counts
    return careless | {name for name, count in total.items() if count > 1 and _PLACEHOLDER.fullmatch(name)}


def _name(dimension: int | ir.SymbolicDim) -> str | None:
    return None if isinstance(dimension, int) else dimension.value
