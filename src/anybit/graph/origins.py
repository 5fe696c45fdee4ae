"""Origins: which new nodes stand for which old ones, so that what a file says of a node is not lost with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from anybit.graph.walk import all_nodes

_Place = tuple[ir.Graph | ir.Function | None, str]


@dataclass(frozen=True)
class _Trace:
    """Where a node stood: the tensors that it made, by graph and name, and the nodes that read them."""

    outputs: tuple[ir.Value, ...]
    places: tuple[_Place, ...]
    readers: tuple[ir.Node, ...]


class Origins:
    """The nodes of a model at one moment, by which those of a later moment inherit their metadata and doc strings.

    A new node stands for an old one if it was put in its place by name, if it makes a tensor that the old one made
    before, or if only such a node reads it. An old node that is gone, and whose tensors are gone, is part of what its
    readers became.

    Args:
        model: The model; nothing is kept of one whose nodes have neither metadata nor doc strings.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._stated: dict[ir.Node, list[ir.Node]] = {}
        nodes = list(all_nodes(model.graph))
        self._old = {n: _trace(n) for n in nodes} if any(n.metadata_props or n.doc_string for n in nodes) else {}

    def state(self, made: Iterable[ir.Node], old: ir.Node) -> None:
        """Says for which old node new ones stand."""
        if self._old:
            self._stated.setdefault(old, []).extend(made)

    def bequeath(self, replaced: Mapping[ir.Value, ir.Value]) -> None:
        """Gives the nodes that stand for old ones what was said of those.

        Args:
            replaced: Which tensors stand for which old ones, where that is another tensor's name.
        """
        if not self._old:
            return
        heirs = _Heirs(self._model, self._old, self._stated, replaced)
        found = [(n, heirs.of(n)) for n in self._old if n.metadata_props or n.doc_string]
        for direct in (True, False):
            for old, (nodes, is_direct) in found:
                for node in nodes if is_direct is direct else ():
                    _inherit(node, old)


def _trace(node: ir.Node) -> _Trace:
    outputs = tuple(node.outputs)
    places = tuple((node.graph, o.name) for o in outputs if o.name)
    return _Trace(outputs, places, tuple(dict.fromkeys(user for o in outputs for user, _ in o.uses())))


class _Heirs:
    """The nodes of a model that stand for old ones."""

    def __init__(
        self,
        model: ir.Model,
        old: Mapping[ir.Node, _Trace],
        stated: Mapping[ir.Node, list[ir.Node]],
        replaced: Mapping[ir.Value, ir.Value],
    ) -> None:
        self._old, self._stated, self._replaced = old, stated, replaced
        self._present = set(all_nodes(model.graph))
        self._makers: dict[_Place, ir.Node] = {(n.graph, o.name): n for n in self._present for o in n.outputs if o.name}
        places = {place for trace in old.values() for place in trace.places}
        self._settled = {n for nodes in stated.values() for n in nodes}
        self._settled |= {maker for place, maker in self._makers.items() if place in places}
        self._settled |= {maker for value in replaced.values() if (maker := value.producer()) is not None}
        self._found: dict[ir.Node, tuple[ir.Node, ...]] = {}

    def of(self, node: ir.Node) -> tuple[tuple[ir.Node, ...], bool]:
        """The nodes that stand for an old one, and whether they stand in its own place, not in that of its readers."""
        own = self._in_place_of(node)
        if own or node in self._present:
            return tuple(own), True
        waiting, seen = list(self._old[node].readers), {node}
        inherited: dict[ir.Node, None] = {}
        while waiting:
            reader = waiting.pop()
            if reader in seen or reader not in self._old:
                continue
            seen.add(reader)
            own = self._in_place_of(reader)
            inherited.update(dict.fromkeys(own))
            if reader in self._present:
                inherited[reader] = None
            elif not own:
                waiting += self._old[reader].readers
        return tuple(inherited), False

    def _in_place_of(self, node: ir.Node) -> tuple[ir.Node, ...]:
        if node not in self._found:
            trace = self._old[node]
            ends = [m for place in trace.places if (m := self._makers.get(place)) is not None]
            ends += [n for n in (node, *self._stated.get(node, ())) if n in self._present]
            ends += [n for v in trace.outputs if (n := self._maker_of(v)) is not None]
            self._found[node] = tuple(self._with_new_inputs(ends))
        return self._found[node]

    def _maker_of(self, value: ir.Value) -> ir.Node | None:
        """The node that makes what stands for a value now."""
        seen = {value}
        while value in self._replaced and self._replaced[value] not in seen:
            value = self._replaced[value]
            seen.add(value)
        maker = value.producer() if len(seen) > 1 else None
        return maker if maker in self._present else None

    def _with_new_inputs(self, ends: Iterable[ir.Node]) -> Iterable[ir.Node]:
        """Nodes, and the new ones before them that stand for no other node."""
        waiting = list(ends)
        found = dict.fromkeys(waiting)
        while waiting:
            for value in waiting.pop().inputs:
                maker = None if value is None else value.producer()
                if maker is None or maker in found or maker in self._old or maker in self._settled:
                    continue
                if maker in self._present:
                    found[maker] = None
                    waiting.append(maker)
        return found


def _inherit(node: ir.Node, old: ir.Node) -> None:
    if node is old:
        return
    for key, text in old.metadata_props.items():
        node.metadata_props[key] = _joined(node.metadata_props.get(key), text)
    if old.doc_string:
        node.doc_string = _joined(node.doc_string, old.doc_string)


def _joined(known: str | None, text: str) -> str:
    """Both texts, one below the other; one of them where it says what the other says."""
    if not known:
        return text
    return known if text in known else f"{known}\n{text}"
