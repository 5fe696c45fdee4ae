"""NodeBuilder: new nodes and constants for a model, under names that nothing else in it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.annotations import annotate_number_format
from anybit.graph.constants import new_initializer
from anybit.graph.names import Names


class NodeBuilder:
    """Makes nodes and constants for a model, under names that nothing else in it has.

    Args:
        model: The model they are for.
    """

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self._names: Names | None = None

    def name(self, wish: str) -> str:
        """`wish`, or `wish` and a number where that is taken."""
        self._names = self._names or Names.of_tensors(self.model)
        return self._names.fresh(wish)

    def constant(self, wish: str, array: Array, *, like: ir.Value | None = None) -> ir.Value:
        """A new initializer of the outermost graph; it has the annotations of `like`, but for the number format."""
        value = new_initializer(self.model.graph, self.name(wish), array)
        if like is not None and like.meta:
            value.meta.update(like.meta)
            annotate_number_format(value, None)
        return value

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        output: str | ir.Value,
        *,
        like: ir.Value | None = None,
        domain: str = "",
        attributes: Mapping[str, ir.Attr] | None = None,
    ) -> ir.Node:
        """A node of one output, in no graph yet; the output is given, or named, with the type and shape of `like`."""
        if isinstance(output, str):
            output = ir.Value(name=self.name(output))
            output.type = None if like is None else like.type
            output.shape = None if like is None or like.shape is None else like.shape.copy()
        name = f"{output.name}/{op_type}"
        return ir.Node(domain, op_type, inputs, dict(attributes or {}).values(), outputs=[output], name=name)
