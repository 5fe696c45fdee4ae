"""structure_findings: what is wrong with the graphs and functions of a model, whatever its operators mean.

Everything behind `load` takes for granted that tensors have names, each its own, and are made somewhere; that graphs
have no cycles; and that calls of functions fit them, and end.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from anybit.errors import Finding
from anybit.io.file_checks import nameless, repeated, tensor_name
from anybit.io.order import cycle_of
from anybit.ops.nodes import is_undefined, label


def structure_findings(model: ir.Model) -> Iterator[Finding]:
    """All findings about the graph, its subgraphs and the functions; the model need not be sorted."""
    functions = model.functions
    roots = [model.graph, *(f.graph for f in functions.values())]
    for root in roots:
        yield from _undefined(root)
    for graph in (part for root in roots for part in (root, *root.subgraphs())):
        yield from _names(graph)
    for root in roots:
        yield from _cycles(root)
    yield from _references(model.graph, "the graph", frozenset())
    for function in functions.values():
        where = f"function '{function.domain}::{function.name}'"
        yield from _references(function.graph, where, frozenset(function.attributes))
    for root in roots if functions else ():
        for node in root.all_nodes():
            yield from _call(node, functions.get(node.op_identifier()))
    yield from _recursion(model)


def _undefined(root: ir.Graph) -> Iterator[Finding]:
    """Tensors that nothing makes, in subgraphs too."""
    for node in root.all_nodes():
        for value in node.inputs:
            if value is not None and is_undefined(value):
                yield Finding(rule="undefined", problem=f"input '{value.name}' comes from nowhere", node=label(node))
    for part in (root, *root.subgraphs()):
        for output in part.outputs:
            if is_undefined(output):
                problem = "a graph output comes from nowhere"
                yield Finding(rule="undefined", problem=problem, node=f"output '{output.name}'")


def _names(graph: ir.Graph) -> Iterator[Finding]:
    """Tensors without a name that need one, and names that two tensors of one graph have."""
    for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
        if not all(v.name for v in values):
            yield nameless(kind, f"graph '{graph.name}'")
    own = {id(v): v for v in (*graph.inputs, *graph.initializers.values(), *(o for n in graph for o in n.outputs))}
    yield from map(tensor_name, repeated(v.name for v in own.values() if v.name))
    if len({id(v) for v in graph.inputs}) < len(graph.inputs):
        yield Finding(rule="tensor-name", problem="one tensor is several inputs", node=f"graph '{graph.name}'")


def _cycles(root: ir.Graph) -> Iterator[Finding]:
    cycle = [label(node) for node in cycle_of(root)]
    if cycle:
        way = " -> ".join([*cycle, cycle[0]])
        yield Finding(rule="cycle", problem="the graph has a cycle", node=cycle[0], got=way)


def _references(root: ir.Graph, where: str, known: frozenset[str]) -> Iterator[Finding]:
    """Attributes that stand for one of the function around, of which there is none of that name."""
    for node in root.all_nodes():
        for attribute in node.attributes.values():
            if attribute.is_ref() and attribute.ref_attr_name not in known:
                yield Finding(
                    rule="attribute",
                    problem=f"attribute '{attribute.name}' refers to one that {where} does not have",
                    node=label(node),
                    got=repr(attribute.ref_attr_name),
                    expected=", ".join(sorted(known)) or "a value",
                )


def _call(node: ir.Node, function: ir.Function | None) -> Iterator[Finding]:
    """A call with more inputs or outputs than the function has."""
    if function is None:
        return
    for rule, given, formal in (
        ("inputs", len(node.inputs), len(function.inputs)),
        ("outputs", len(node.outputs), len(function.outputs)),
    ):
        if given > formal:
            problem = f"number of {rule} of a call"
            yield Finding(rule=rule, problem=problem, node=label(node), got=str(given), expected=f"0 .. {formal}")


def _recursion(model: ir.Model) -> Iterator[Finding]:
    """Functions that call themselves, at once or by others."""
    called = {
        key: {n.op_identifier() for n in f.all_nodes()} & model.functions.keys() for key, f in model.functions.items()
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
