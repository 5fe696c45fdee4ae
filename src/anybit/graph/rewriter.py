"""Rewriter: how the structure passes add nodes and constants, hand over names, and note what they leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Finding, InvalidModelError, Refusal, Severity
from anybit.graph.annotations import annotate_number_format
from anybit.graph.constants import new_initializer
from anybit.graph.names import Names
from anybit.graph.notes import note
from anybit.graph.walk import label

_BROADCASTING_OPSET = 7  # from here on arithmetic broadcasts like numpy


@dataclass
class Rewriter:
    """Adds nodes and constants to a model, under names that nothing else in it has.

    Attributes:
        model: What is rewritten.
        rule: Name of the pass in the notes about nodes that it leaves.
    """

    model: ir.Model
    rule: str
    _names: Names | None = None
    _stale: dict[ir.Value, None] = field(default_factory=dict[ir.Value, None])

    def nodes(self, *op_types: str) -> list[ir.Node]:
        """The standard nodes of these types, in all graphs, in order."""
        return [n for n in self.model.graph.all_nodes() if n.domain == "" and n.op_type in op_types]

    def require_broadcasting(self, nodes: Sequence[ir.Node]) -> None:
        """Raises, if there are nodes to rewrite, where the model's opset has no arithmetic that broadcasts.

        Raises:
            InvalidModelError: The opset is too old.
        """
        opset = self.model.opset_imports.get("", _BROADCASTING_OPSET)
        if nodes and opset < _BROADCASTING_OPSET:
            raise InvalidModelError(
                "the opset is too old", node=label(nodes[0]), got=opset, expected="7 or later", hint="convert it first"
            )

    def leave(self, node: ir.Node, refusal: Refusal) -> None:
        """Notes that a node stays as it is."""
        finding = Finding(
            rule=self.rule,
            node=label(node),
            problem=refusal.problem,
            got=refusal.got,
            expected=refusal.expected,
            hint=refusal.hint,
            severity=Severity.WARNING,
        )
        note(self.model, finding)

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

    def successor(self, old: ir.Value, suffix: str) -> ir.Value:
        """A value that nothing makes yet and that takes name, annotations and uses of `old`, which is renamed."""
        new = ir.Value(name=old.name, type=old.type, shape=None if old.shape is None else old.shape.copy())
        self.take_over(new, old, suffix)
        return new

    def take_over(self, new: ir.Value, old: ir.Value, suffix: str = "replaced") -> None:
        """Gives `new` the name, annotations and uses of `old`, which is renamed."""
        new.name, old.name = old.name, self.name(f"{old.name}/{suffix}")
        new.meta.update(old.meta)
        new.metadata_props.update(old.metadata_props)
        old.meta.clear()
        old.metadata_props.clear()
        old.replace_all_uses_with(new, replace_graph_outputs=True)

    def discard(self, *values: ir.Value | None) -> None:
        """Marks constants, and what is made of them, to be removed by `result` if nothing reads them then."""
        self._stale.update(dict.fromkeys(v for v in values if v is not None))

    def result(self, modified: bool) -> ir.passes.PassResult:  # noqa: FBT001  it is the result's only other field
        """Removes what was discarded and is not read any more, and ends the pass."""
        # In rounds, each value once a round: to ask for the uses of a value takes as long as it has uses.
        while self._stale:
            stale, self._stale = self._stale, {}
            for value in stale:
                if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
                    self._remove(value)
        return ir.passes.PassResult(self.model, modified)

    def _remove(self, value: ir.Value) -> None:
        producer = value.producer()
        if value.is_initializer() and value.graph is not None:
            del value.graph.initializers[str(value.name)]
        elif producer is not None and producer.graph is not None and len(producer.outputs) == 1:
            self.discard(*producer.inputs)
            producer.graph.remove(producer, safe=True)
