"""Names of tensors: which are taken, and new ones beside them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

import onnx_ir as ir

from anybit.errors import UsageError
from anybit.graph.walk import all_graphs


class Names:
    """Names that are taken, and new ones beside them: a name that is taken gets the lowest free number."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._next: dict[str, int] = {}

    @classmethod
    def of_tensors(cls, model: ir.Model) -> Names:
        """The names of all tensors, those of subgraphs, which see the names around them, and functions included."""
        graphs = (model.graph, *(f.graph for f in model.functions.values()))
        return cls({value.name for graph in graphs for value in all_values(graph) if value.name})

    def fresh(self, name: str) -> str:
        """`name` if it is free, else `name` and a number; taken from now on."""
        unique = name
        while unique in self._taken:
            self._next[name] = self._next.get(name, 0) + 1
            unique = f"{name}_{self._next[name]}"
        self._taken.add(unique)
        return unique


def all_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every tensor that the graph or one of its subgraphs defines."""
    for inner in all_graphs(graph):
        yield from inner.inputs
        yield from (v for v in inner.initializers.values() if not v.is_graph_input())
        for node in inner:
            yield from node.outputs


def unknown_tensor(name: str, known: Iterable[str], inner: Iterable[str] = ()) -> UsageError:
    """The error for a tensor that the model does not have, with the names that come close.

    Args:
        name: What was asked for.
        known: Names that could have been meant.
        inner: Names inside subgraphs, where they cannot be used.
    """
    close = difflib.get_close_matches(name, list(known), n=3)
    expected = ", ".join(map(repr, close)) if close else "a tensor of the outermost graph"
    hint = "it is inside a subgraph, where it cannot be reached" if name in set(inner) else ""
    return UsageError("no such tensor", got=repr(name), expected=expected, hint=hint)
