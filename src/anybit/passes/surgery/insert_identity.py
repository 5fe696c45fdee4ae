"""InsertIdentity: a place of its own for a tensor, before the graph's outputs or beside given tensors."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import onnx_ir as ir

from anybit.errors import Finding, Severity, UsageError
from anybit.graph.editor import EditResult
from anybit.graph.names import Names, all_values, unknown_tensor


class Side(enum.Enum):
    """Which of the two tensors beside an Identity keeps the name."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True)
class InsertIdentity(ir.passes.InPlacePass):
    """Inserts Identity before each graph output, and before or after given tensors.

    Before: ``y = Relu(x); z = Neg(y)``, outputs ``y, z``; after: ``y_identity = Relu(x); y = Identity(y_identity)``,
    and the like for ``z``; Neg reads ``y_identity``. ``InsertIdentity(("h",), outputs=False)``: ``h`` stays what it
    was, and all that read it read ``h_identity = Identity(h)``; with `Side.BEFORE`, ``h = Identity(h_identity)``.

    Attributes:
        tensors: Names of tensors, subgraphs included.
        side: Where the Identity stands, seen from the tensor that keeps the name. The name of a graph output always
            stays with the output.
        outputs: Whether graph outputs get one.
    """

    tensors: tuple[str, ...] = ()
    side: Side = Side.AFTER
    outputs: bool = True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: A tensor is not in the model, or it is a graph input, before which nothing can stand.
        """
        given = self._given(model.graph)
        names, outputs = Names.of_tensors(model), _Outputs()
        modified, notes = bool(given), list[Finding]()
        for value in given:
            keeps = self.side is Side.AFTER and not value.is_graph_output()
            _insert(value, names, outputs, keeps_name=keeps, behind_all=True)
        for value in dict.fromkeys(model.graph.outputs) if self.outputs else ():
            if value.is_graph_input():
                notes.append(_is_input(value))
                continue
            _insert(value, names, outputs, keeps_name=False, behind_all=False)
            modified = True
        return EditResult(model, modified, tuple(notes))

    def _given(self, graph: ir.Graph) -> list[ir.Value]:
        known = {str(v.name): v for v in all_values(graph) if v.name} if self.tensors else {}
        for name in self.tensors:
            if name not in known:
                raise unknown_tensor(name, known)
            value = known[name]
            if value.is_graph_input() and (self.side is Side.BEFORE or value.is_graph_output()):
                raise UsageError(
                    "nothing can stand before a graph input", got=repr(name), expected="a tensor that a node makes"
                )
        return [known[name] for name in dict.fromkeys(self.tensors)]


def _is_input(value: ir.Value) -> Finding:
    return Finding(
        rule="insert-identity",
        problem="a graph output that is a graph input: both would need the name",
        node=f"output '{value.name}'",
        severity=Severity.WARNING,
    )


@dataclass
class _Outputs:
    """Where tensors stand among the outputs of their graphs, so that not all outputs are searched for each of them."""

    _places: dict[ir.Graph, dict[ir.Value, list[int]]] = field(default_factory=dict)

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Puts `new` where `old` is an output."""
        graph = old.graph
        if graph is None or not old.is_graph_output():
            return
        if graph not in self._places:
            self._places[graph] = {}
            for place, value in enumerate(graph.outputs):
                self._places[graph].setdefault(value, []).append(place)
        self._places[graph][new] = self._places[graph].pop(old)
        for place in self._places[graph][new]:
            graph.outputs[place] = new


def _insert(value: ir.Value, names: Names, outputs: _Outputs, *, keeps_name: bool, behind_all: bool) -> None:
    """Makes the graph's output, or all that reads the value, read an Identity of it."""
    name, uses = str(value.name), list(value.uses())
    fresh = names.fresh(f"{name}_identity")
    node = ir.node("Identity", [value], name=f"Identity_{fresh}")
    made = node.outputs[0]
    made.type = value.type
    made.shape = None if value.shape is None else value.shape.copy()
    made.meta.update(value.meta)
    made.metadata_props.update(value.metadata_props)
    if not keeps_name:
        value.name = fresh
    made.name = fresh if keeps_name else name
    _place(value, node)
    outputs.replace(value, made)
    for user, index in uses if behind_all else ():
        user.replace_input_with(index, made)


def _place(value: ir.Value, node: ir.Node) -> None:
    producer, graph = value.producer(), value.graph
    if producer is not None:
        producer.append(node)
    elif graph is not None and len(graph) > 0:
        graph.insert_before(graph[0], node)
    elif graph is not None:
        graph.append(node)
