"""structure_findings: what is wrong with the graphs and functions of a model, whatever its operators mean.

Everything behind `load` takes for granted that tensors have names, each its own, and are made somewhere; that graphs
have no cycles; and that calls of functions fit them, and end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from anybit.budget import current_limits
from anybit.errors import Finding
from anybit.graph.order import cycle_of
from anybit.graph.walk import all_nodes, graphs_of, is_undefined, label
from anybit.io.checks.protobuf import nameless, repeated, tensor_name
from anybit.ops.standard_schemas import newest_opset

_NODE_BYTES = 4096  # of a node in memory, with its values
_MOST_NODES = 1_000_000  # that calls of functions may stand for
NAMELESS = "operator"
"""Rule of the finding that a node has no operator: nothing can be made of such a model."""
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def structure_findings(model: ir.Model) -> Iterator[Finding]:
    """All findings about the graph, its subgraphs and the functions; the model need not be sorted."""
    for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
        yield from _unknown_opset(imports)
    yield from _Walk(model, "the graph", frozenset()).root(model.graph)
    for function in model.functions.values():
        where = f"function '{function.domain}::{function.name}'"
        yield from _Walk(model, where, frozenset(function.attributes)).root(function.graph)
    yield from _recursion(model)


def _unknown_opset(imports: Mapping[str, int]) -> Iterator[Finding]:
    """A version of the standard operators that nothing here knows: what the nodes look like is not known either."""
    version = imports.get("", imports.get("ai.onnx", 1))
    if not 1 <= version <= newest_opset():
        yield opset_finding(version, oldest=1)


def opset_finding(version: int, *, oldest: int) -> Finding:
    """The finding that the standard operators have a version which is older than `oldest`, or newer than is known."""
    return Finding(
        rule="opset",
        problem="opset of the standard operators",
        got=str(version),
        expected=f"{oldest} .. {newest_opset()}",
        hint="export the model at opset 13 to 21, or upgrade onnx",
    )


class _Walk:
    """One walk through a graph and those inside its nodes.

    Args:
        model: The model, whose functions may be called.
        where: How messages name the graph.
        attributes: Names of the attributes that its nodes may refer to.
    """

    def __init__(self, model: ir.Model, where: str, attributes: frozenset[str]) -> None:
        self._functions, self._where, self._attributes = model.functions, where, attributes
        self._seen: set[ir.Value | None] = {None}  # an input that is left out
        self._unsorted = False

    def root(self, graph: ir.Graph) -> Iterator[Finding]:
        """All findings about a graph, those inside its nodes included, and the first of its cycles."""
        yield from self._graph(graph)
        cycle = [label(node) for node in cycle_of(graph)] if self._unsorted else []
        if cycle:
            way = " -> ".join([*cycle, cycle[0]])
            yield Finding(rule="cycle", problem="the graph has a cycle", node=cycle[0], got=way)

    def _graph(self, graph: ir.Graph) -> Iterator[Finding]:
        seen, functions = self._seen, self._functions
        yield from _ends(graph)
        first = dict.fromkeys((*graph.inputs, *graph.initializers.values()))
        seen.update(first)
        names = [v.name for v in first]
        for node in graph:
            if not node.op_type:
                yield Finding(rule="operator", problem="a node without an operator", node=f"node {node.name!r}")
            if not seen.issuperset(node.inputs):
                yield from self._unseen(node)
            for attribute in node.attributes.data.values():
                if attribute.type in _GRAPHS or attribute.is_ref():
                    yield from self._inside(attribute, node)
            if functions and (function := functions.get(node.op_identifier())) is not None:
                yield from _misfit(node, function)
            seen.update(node.outputs)
            names += [v.name for v in node.outputs]
        yield from (_undefined(o) for o in graph.outputs if o not in seen and is_undefined(o))
        yield from map(tensor_name, repeated(n for n in names if n))

    def _unseen(self, node: ir.Node) -> Iterator[Finding]:
        """Inputs that nothing makes, or a later node."""
        for value in node.inputs:
            if value is not None and is_undefined(value):
                yield Finding(rule="undefined", problem=f"input '{value.name}' comes from nowhere", node=label(node))
            elif value not in self._seen:
                self._unsorted = True

    def _inside(self, attribute: ir.Attr, node: ir.Node) -> Iterator[Finding]:
        if attribute.is_ref():
            yield from self._reference(attribute, label(node))
        for body in graphs_of(attribute):
            yield from self._graph(body)

    def _reference(self, attribute: ir.Attr, where: str) -> Iterator[Finding]:
        if attribute.ref_attr_name not in self._attributes:
            yield Finding(
                rule="attribute",
                problem=f"attribute '{attribute.name}' refers to one that {self._where} does not have",
                node=where,
                got=repr(attribute.ref_attr_name),
                expected=", ".join(sorted(self._attributes)) or "a value",
            )


def _ends(graph: ir.Graph) -> Iterator[Finding]:
    """Inputs and outputs without a name, and inputs that are one tensor."""
    for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
        if not all(v.name for v in values):
            yield nameless(kind, f"graph '{graph.name}'")
    if len(set(graph.inputs)) < len(graph.inputs):
        yield Finding(rule="tensor-name", problem="one tensor is several inputs", node=f"graph '{graph.name}'")


def _undefined(output: ir.Value) -> Finding:
    return Finding(rule="undefined", problem="a graph output comes from nowhere", node=f"output '{output.name}'")


def _misfit(node: ir.Node, function: ir.Function) -> Iterator[Finding]:
    """A call with more inputs or outputs than the function has."""
    for rule, given, formal in (
        ("inputs", len(node.inputs), len(function.inputs)),
        ("outputs", len(node.outputs), len(function.outputs)),
    ):
        if given > formal:
            problem = f"number of {rule} of a call"
            yield Finding(rule=rule, problem=problem, node=label(node), got=str(given), expected=f"0 .. {formal}")


def size_findings(model: ir.Model) -> Iterator[Finding]:
    """Functions that call others many times over: a few lines of a file may stand for billions of nodes.

    Args:
        model: Model whose functions do not call themselves.
    """
    sizes: dict[ir.OperatorIdentifier, int] = {}

    def size(root: ir.Graph) -> int:
        return sum(1 if (key := n.op_identifier()) not in model.functions else sizes[key] for n in all_nodes(root))

    waiting = list(model.functions)
    while waiting:
        key = waiting[-1]
        needed = {n.op_identifier() for n in all_nodes(model.functions[key])} & model.functions.keys() - sizes.keys()
        if needed:
            waiting += needed
            continue
        sizes[waiting.pop()] = size(model.functions[key].graph)
    count, most = size(model.graph) if sizes else 0, min(_MOST_NODES, current_limits().memory // _NODE_BYTES)
    if count > most:
        yield Finding(
            rule="size",
            problem="calls of functions stand for more nodes than the limit",
            node=f"graph '{model.graph.name}'",
            got=f"{count:,}",
            expected=f"{most:,} at most",
            hint="inline them, or write them as loops",
        )


def _recursion(model: ir.Model) -> Iterator[Finding]:
    """Functions that call themselves, at once or by others."""
    called = {
        key: {n.op_identifier() for n in all_nodes(f)} & model.functions.keys() for key, f in model.functions.items()
    }
    done = set[ir.OperatorIdentifier]()
    for start in called:
        path: list[ir.OperatorIdentifier] = []
        waiting: list[tuple[ir.OperatorIdentifier, bool]] = [(start, False)]
        while waiting:
            key, left = waiting.pop()
            if left:
                path.pop()
                done.add(key)
                continue
            if key in path:
                circle = [f"{domain}::{name}" for domain, name, _ in (*path[path.index(key) :], key)]
                yield Finding(
                    rule="recursion",
                    problem="a function calls itself",
                    node=f"function '{circle[0]}'",
                    got=" -> ".join(circle),
                )
                return
            if key in done:
                continue
            path.append(key)
            waiting += [(key, True), *((inner, False) for inner in called[key])]
