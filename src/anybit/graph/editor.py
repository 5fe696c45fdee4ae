"""Editor: a block in which nodes of a model are replaced; it keeps names, annotations, metadata and doc strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Finding, InvalidModelError, Refusal, Severity
from anybit.graph.builder import NodeBuilder
from anybit.graph.origins import Origins
from anybit.graph.walk import all_nodes, label

_BROADCASTING_OPSET = 7  # from here on arithmetic broadcasts like numpy


@dataclass
class EditResult(ir.passes.PassResult):
    """What a pass did, and what it had to leave.

    Attributes:
        notes: The nodes that stay as they are, and why, in the order in which the pass met them.
    """

    notes: tuple[Finding, ...] = ()


class Editor(NodeBuilder):
    """Replaces nodes of a model, in place, inside a ``with`` block.

    A tensor that takes the place of another one gets its name and its annotations; a node that takes the place of
    another one gets its metadata and doc string. What was discarded and is not read any more is removed when the block
    ends. After an exception nothing is removed: the model is as it was then.

    Args:
        model: What is edited.
        rule: Name of the pass in the notes about nodes that it leaves.

    Example:
        >>> from anybit.graph.editor import Editor
        >>> def negated_twice(model):
        ...     with Editor(model, rule="negated-twice") as edit:
        ...         for node in edit.nodes("Neg"):
        ...             inner = edit.node("Neg", node.inputs, f"{node.outputs[0].name}/inner")
        ...             outer = edit.node("Identity", inner.outputs, f"{node.outputs[0].name}/outer")
        ...             edit.replace(node.outputs[0], [inner, outer])
        ...     return edit.result()
    """

    def __init__(self, model: ir.Model, *, rule: str) -> None:
        super().__init__(model)
        self.rule = rule
        self._origins: Origins | None = None
        self._is_done = False
        self._modified = False
        self._notes: list[Finding] = []
        self._stale: dict[ir.Value, None] = {}
        self._successors: list[ir.Value] = []
        self._replaced: dict[ir.Value, ir.Value] = {}

    def __enter__(self) -> Self:
        if self._origins is not None or self._is_done:
            raise RuntimeError("an editor has one block")
        self._origins = Origins(self.model)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        origins, self._origins = self._origins, None
        if kind is not None or origins is None:
            return
        self._remove_stale()
        for value in self._successors:
            maker = value.producer()
            if maker is None or (maker.graph is None and value.uses()):
                raise RuntimeError(f"no node of the model makes '{value.name}', which took the place of a tensor")
        origins.bequeath(self._replaced)
        self._is_done = True

    @property
    def modified(self) -> bool:
        """Whether anything was changed."""
        return self._modified

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What had to stay as it is, and why."""
        return tuple(self._notes)

    def result(self) -> EditResult:
        """What a pass returns.

        Raises:
            RuntimeError: The block has not ended, or ended with an exception.
        """
        if not self._is_done:
            raise RuntimeError("the block of the editor has not ended")
        return EditResult(self.model, self._modified, self.notes)

    # --- what is there

    def nodes(self, *op_types: str) -> list[ir.Node]:
        """The standard nodes of these types, in all graphs, in order."""
        return [n for n in all_nodes(self.model.graph) if n.domain == "" and n.op_type in op_types]

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

    # --- what stays

    def leave(self, node: ir.Node, refusal: Refusal) -> None:
        """Notes that a node stays as it is."""
        self.note(
            Finding(
                rule=self.rule,
                node=label(node),
                problem=refusal.problem,
                got=refusal.got,
                expected=refusal.expected,
                hint=refusal.hint,
                severity=Severity.WARNING,
            )
        )

    def note(self, finding: Finding) -> None:
        """Notes a finding about a node that stays as it is."""
        self._notes.append(finding)

    # --- what changes

    def constant(self, wish: str, array: Array, *, like: ir.Value | None = None) -> ir.Value:
        """A new initializer of the outermost graph; it has the annotations of `like`, but for the number format."""
        self.touch()
        return super().constant(wish, array, like=like)

    def touch(self) -> None:
        """Says that the model was changed by other means than this editor's.

        Raises:
            RuntimeError: This is not inside of the block.
        """
        self._open()
        self._modified = True

    def insert(
        self,
        nodes: ir.Node | Sequence[ir.Node],
        *,
        before: ir.Node | None = None,
        after: ir.Node | None = None,
        of: ir.Node | None = None,
    ) -> None:
        """Puts nodes into the graph beside another one.

        Args:
            nodes: New nodes, in order.
            before: The node that they stand before, or
            after: behind.
            of: The node in whose place they compute, if it is not the one that makes a tensor they take the place of.
        """
        self.touch()
        made = [nodes] if isinstance(nodes, ir.Node) else list(nodes)
        if (before is None) is (after is None):
            raise ValueError("nodes stand before one node, or after one")
        if before is not None:
            before.prepend(made)
        if after is not None:
            after.append(made)
        if of is not None:
            self._open().state(made, of)

    def insert_behind(self, value: ir.Value, nodes: Sequence[ir.Node]) -> None:
        """Puts nodes that read a tensor right behind it, and lets all else that reads it read the last of them.

        An output of the graph stays as it is.
        """
        readers = [(node, position) for node, position in value.uses() if node not in nodes]
        producer, graph = value.producer(), value.graph
        if producer is not None:
            self.insert(nodes, after=producer)
        elif graph is not None and len(graph):
            self.insert(nodes, before=graph[0])
        for node, position in readers:
            node.replace_input_with(position, nodes[-1].outputs[0])

    def replace(
        self,
        old: ir.Value,
        new: ir.Node | Sequence[ir.Node] | ir.Value,
        *,
        before: ir.Node | None = None,
        suffix: str = "replaced",
    ) -> None:
        """Lets the output of the last of the new nodes, or another tensor, stand for a tensor, under its name.

        The nodes are put in front of the one that makes the tensor. That one goes when the block ends, with what it
        alone has read, if nothing reads its other outputs.

        Args:
            old: The tensor; it is renamed.
            new: Nodes that are in no graph yet, in order, or a tensor that is.
            before: Where to put the nodes instead.
            suffix: What is added to the name of the old tensor.
        """
        self.touch()
        if not isinstance(new, ir.Value):
            made = [new] if isinstance(new, ir.Node) else list(new)
            place = before or old.producer()
            if place is None or not made:
                raise ValueError(f"no place for nodes that stand for '{old.name}'")
            place.prepend(made)
            new = made[-1].outputs[0]
        self._take_over(new, old, suffix)
        self.discard(old)

    def successor(self, old: ir.Value, suffix: str) -> ir.Value:
        """A value that takes name, annotations and uses of `old`, which is renamed; a new node has to make it.

        That there is one is checked when the block ends.
        """
        self.touch()
        new = ir.Value(name=old.name, type=old.type, shape=None if old.shape is None else old.shape.copy())
        self._take_over(new, old, suffix)
        self._successors.append(new)
        return new

    def redirect(self, old: ir.Value, new: ir.Value) -> None:
        """Lets what reads `old` read `new`, which has the same elements and keeps its own name; `old` is discarded."""
        self.touch()
        for key, entry in old.meta.items():
            new.meta.setdefault(key, entry)
        old.replace_all_uses_with(new)
        self._replaced[old] = new
        self.discard(old)

    def rewire(self, node: ir.Node, position: int, value: ir.Value | None) -> None:
        """Gives a node another input; the one that it had is discarded."""
        self.touch()
        self.discard(node.inputs[position])
        node.replace_input_with(position, value)

    def remove(self, node: ir.Node) -> None:
        """Removes a node whose outputs nothing reads, at once; its inputs are discarded."""
        self.touch()
        self.discard(*node.inputs)
        if node.graph is not None:
            node.graph.remove(node, safe=True)

    def discard(self, *values: ir.Value | None) -> None:
        """Marks constants, and what is made of them, to be removed when the block ends, if nothing reads them then."""
        self._open()
        self._stale.update(dict.fromkeys(v for v in values if v is not None))

    def _open(self) -> Origins:
        if self._origins is None:
            raise RuntimeError("an editor changes a model inside of its block only")
        return self._origins

    def _take_over(self, new: ir.Value, old: ir.Value, suffix: str) -> None:
        new.name, old.name = old.name, self.name(f"{old.name}/{suffix}")
        new.meta.update(old.meta)
        new.metadata_props.update(old.metadata_props)
        new.doc_string = new.doc_string or old.doc_string
        old.meta.clear()
        old.metadata_props.clear()
        old.replace_all_uses_with(new, replace_graph_outputs=True)

    def _remove_stale(self) -> None:
        # In rounds, each value once a round: to ask for the uses of a value takes as long as it has uses.
        while self._stale:
            stale, self._stale = self._stale, {}
            for value in stale:
                if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
                    self._remove_value(value)

    def _remove_value(self, value: ir.Value) -> None:
        producer = value.producer()
        if value.is_initializer() and value.graph is not None:
            del value.graph.initializers[str(value.name)]
        elif producer is not None and producer.graph is not None and len(producer.outputs) == 1:
            self._stale.update(dict.fromkeys(v for v in producer.inputs if v is not None))
            producer.graph.remove(producer, safe=True)
