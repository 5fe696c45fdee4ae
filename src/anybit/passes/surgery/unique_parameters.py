"""UniqueParameters: no two uses share an initializer."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.errors import Finding, Severity
from anybit.graph.editor import EditResult
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes, label
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.registry import QUANTIZERS

_Use = tuple[ir.Node, int]


_OURS = tuple(name for o in (*QUANTIZERS, MULTI_THRESHOLD) for name in (o.name, *o.aliases))


@dataclass(frozen=True)
class UniqueParameters(ir.passes.InPlacePass):
    """Gives each use of an initializer a copy of its own, so that one can be changed without the others.

    Before: ``a = Quant(x, s, z, b); c = Quant(y, s, z, b)``; after: ``c = Quant(y, s_1, z_1, b_1)``. The first use
    keeps the initializer and its name, unless an operator that is not listed reads it too. Copies share the data.

    Attributes:
        operators: Names of the operators that get copies; all of them where empty.
    """

    operators: tuple[str, ...] = _OURS

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        uses: dict[ir.Value, list[_Use]] = {}
        for node in all_nodes(model.graph):
            for index, value in enumerate(node.inputs):
                if value is not None and value.is_initializer():
                    uses.setdefault(value, []).append((node, index))
        names = Names.of_tensors(model)
        modified, notes = False, list[Finding]()
        for value, places in uses.items():
            copied = self._copied(value, places)
            if isinstance(copied, Finding):
                notes.append(copied)
                continue
            for node, index in copied:
                node.replace_input_with(index, _copy(value, names))
            modified = modified or bool(copied)
        return EditResult(model, modified, tuple(notes))

    def _copied(self, value: ir.Value, places: list[_Use]) -> list[_Use] | Finding:
        """The uses that get a copy, or why they cannot have one."""
        own = [use for use in places if not self.operators or use[0].op_type in self.operators]
        others = value.is_graph_output() or (bool(self.operators) and len(own) < len(places))
        copied = own if others else own[1:]
        if not copied or not value.is_graph_input():
            return copied
        return Finding(
            rule="unique-parameters",
            problem=f"initializer '{value.name}' is also a graph input: a copy would not follow it",
            node=label(copied[0][0]),
            hint="make it a constant with fix-defaults",
            severity=Severity.WARNING,
        )


def _copy(value: ir.Value, names: Names) -> ir.Value:
    copy = ir.Value(
        name=names.fresh(str(value.name)),
        shape=None if value.shape is None else value.shape.copy(),
        type=value.type,
        doc_string=value.doc_string,
        const_value=value.const_value,
    )
    copy.meta.update(value.meta)
    copy.metadata_props.update(value.metadata_props)
    graph = value.graph
    if graph is not None:
        graph.register_initializer(copy)
    return copy
