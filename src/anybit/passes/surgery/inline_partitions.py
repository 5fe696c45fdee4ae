"""InlinePartitions: the nodes of partitions in the place of their calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from anybit.cleanup.sort_nodes import SortNodes
from anybit.errors import InvalidModelError, Refusal, UsageError
from anybit.graph.constants import fed_inputs
from anybit.graph.editor import Editor
from anybit.graph.names import Names, all_values
from anybit.graph.walk import all_nodes, label
from anybit.io.checks.model import sound_copy
from anybit.ops.operator import DOMAIN
from anybit.passes.surgery.create_partitions import PARTITION_FILE, PARTITIONS
from anybit.passes.surgery.inline_submodel import own_outputs
from anybit.passes.surgery.merge_models import add_functions, require_same_opsets


@dataclass(frozen=True)
class InlinePartitions(ir.passes.InPlacePass):
    """Puts the nodes of partitions in the place of their calls: it undoes `CreatePartitions`.

    Before: ``b = block(x, w); y = h(b)``; after: ``a = f(x, w); b = g(a); y = h(b)``. Tensors keep their names where
    the model has no other of the name.

    Attributes:
        names: Names of the partitions, or of the nodes that call them; all where left out.
        folder: Where the files of GenericPartition nodes are. Of the path in a node only the last part is read: a model
            never makes a file outside of this folder be opened. Without it these nodes stay.
    """

    names: tuple[str, ...] = ()
    folder: str | None = None

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: The model has no partition of a name.
            ModelFileError: The file of a partition cannot be read.
            InvalidModelError: A partition has other inputs or outputs than its call, or is broken.
        """
        calls = [n for n in model.graph if n.domain == PARTITIONS or _is_file(n)]
        known = {str(n.name) for n in calls} | {n.op_type for n in calls if n.domain == PARTITIONS}
        for name in self.names:
            if name not in known:
                raise UsageError("no partition of this name", got=repr(name), expected=", ".join(sorted(known)))
        chosen = [n for n in calls if not self.names or n.op_type in self.names or n.name in self.names]
        SortNodes()(model)
        names = _NamesOfAll.of(model.graph)
        with Editor(model, rule="inline-partitions") as edit:
            for node in chosen:
                if _is_file(node) and self.folder is None:
                    edit.leave(node, Refusal(problem="its file is not read", hint="say where it is: folder=..."))
                    continue
                edit.touch()
                self._inline(model, node, names)
            if edit.modified:
                _drop_functions(model)
        return edit.result()

    def _inline(self, model: ir.Model, node: ir.Node, names: _NamesOfAll) -> None:
        graph = self._from_file(model, node) if _is_file(node) else _from_function(model, node)
        inputs = [v for v in graph.inputs if v in set(fed_inputs(graph))] if _is_file(node) else list(graph.inputs)
        given = list(node.inputs)
        if len(inputs) != len(given) or len(graph.outputs) != len(node.outputs) or None in given:
            got = f"{len(inputs)} inputs, {len(graph.outputs)} outputs"
            expected = f"{len(given)} inputs, {len(node.outputs)} outputs, as the call"
            raise InvalidModelError("a partition does not fit its call", node=label(node), got=got, expected=expected)
        made = own_outputs(graph)
        replaced = {inner: value for inner, value in zip(inputs, given, strict=True) if value is not None}
        names.make_room(graph, set(replaced) | set(made))
        _move(graph, node, replaced)
        for old, new in zip(list(node.outputs), made, strict=True):
            new.name, old.name = old.name, None
            new.meta.update(old.meta)
            new.type, new.shape = new.type or old.type, old.shape if new.shape is None else new.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)

    def _from_file(self, model: ir.Model, node: ir.Node) -> ir.Graph:
        named = node.attributes.get_string("model", "")
        name = Path(named.replace("\\", "/")).name
        if not name or self.folder is None:
            raise InvalidModelError("a partition names no file", node=label(node), got=repr(named))
        part = sound_copy(Path(self.folder) / name)
        require_same_opsets(model, part)
        add_functions(model, part)
        model.ir_version = max(model.ir_version, part.ir_version)
        return part.graph


@dataclass(frozen=True)
class _NamesOfAll:
    """The names of tensors and nodes that are taken."""

    tensors: Names
    nodes: Names

    @classmethod
    def of(cls, graph: ir.Graph) -> _NamesOfAll:
        """Those of a graph and its subgraphs; functions, which are about to go, have names of their own."""
        tensors = {v.name for v in all_values(graph) if v.name}
        return cls(Names(tensors), Names({n.name for n in all_nodes(graph) if n.name}))

    def make_room(self, graph: ir.Graph, kept: set[ir.Value]) -> None:
        """Gives what moves from a graph into the model names that the model has not; values of `kept` keep theirs."""
        for value in [v for v in all_values(graph) if v.name and v not in kept]:
            value.name = self.tensors.fresh(str(value.name))
        for node in [n for n in all_nodes(graph) if n.name]:
            node.name = self.nodes.fresh(str(node.name))


def _move(graph: ir.Graph, call: ir.Node, replaced: Mapping[ir.Value, ir.Value]) -> None:
    """Moves nodes and constants of a graph to the place of a call, whose inputs stand for those of the graph."""
    graph.outputs.clear()
    graph.inputs.clear()
    for inner, outer in replaced.items():
        inner.replace_all_uses_with(outer)
    for value in list(graph.initializers.values()):
        del graph.initializers[str(value.name)]
        if value not in replaced and call.graph is not None:  # else it is a default that is fed now
            call.graph.register_initializer(value)
    nodes = list(graph)
    graph.remove(nodes)
    call.prepend(nodes)


def _is_file(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type == PARTITION_FILE


def _from_function(model: ir.Model, node: ir.Node) -> ir.Graph:
    function = model.functions.get(node.op_identifier())
    if function is None:
        raise InvalidModelError("the model has no function of this partition", node=label(node))
    for domain, version in function.opset_imports.items():
        if model.opset_imports.setdefault(domain, version) != version:
            got = f"version {version} of '{domain}'"
            raise InvalidModelError("a partition is of another opset than the model", node=label(node), got=got)
    return function.graph.clone()


def _drop_functions(model: ir.Model) -> None:
    """Takes away the partitions that nothing calls any more."""
    scopes: Sequence[ir.Graph] = [model.graph, *(f.graph for f in model.functions.values())]
    called = {n.op_identifier() for graph in scopes for n in all_nodes(graph)}
    for identifier in [i for i in model.functions if i[0] == PARTITIONS and i not in called]:
        del model.functions[identifier]
    if all(domain != PARTITIONS for domain, _, _ in called):
        model.opset_imports.pop(PARTITIONS, None)
