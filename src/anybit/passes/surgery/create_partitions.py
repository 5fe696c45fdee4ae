"""CreatePartitions: groups of nodes as functions of the model, or as files of their own."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.sort_nodes import SortNodes
from anybit.errors import InvalidModelError, UsageError
from anybit.graph.walk import label, subgraphs
from anybit.io.save import save
from anybit.ops.operator import DOMAIN
from anybit.passes.surgery.extract_submodel import extract_submodel, reads

PARTITIONS = "anybit.partition"
"""Domain of the functions that partitions become."""
PARTITION_FILE = "GenericPartition"
"""Operator of a node whose attribute `model` names the file that holds its partition."""
_OLDEST_IR_WITH_FUNCTIONS = 8
_NAME = re.compile(r"[A-Za-z0-9_.-]+")

Patterns = Mapping[str, Sequence[str]] | tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class CreatePartitions(ir.passes.InPlacePass):
    """Folds each group of nodes into one call of a function of the model, or of a model file.

    Before: ``a = f(x, w); b = g(a); y = h(b)`` with f and g in nodes ``block/f`` and ``block/g``; after
    ``CreatePartitions({"block": ["block/*"]})``: ``b = block(x, w); y = h(b)``. Weights are handed to the function;
    annotations of tensors inside of a function have no place in a file. `InlinePartitions` undoes it.

    Attributes:
        patterns: By name of a partition, names of the nodes of the outermost graph that it takes, or shell patterns.
        annotation: Key of a metadata property of nodes that names the partition that they belong to; empty for none.
        folder: Where to write each partition as a model, ``partition_NAME.onnx``, whose call is a GenericPartition node
            that names the file; by default they stay in the model, as functions of the domain ``anybit.partition``.
    """

    patterns: Patterns = ()
    annotation: str = ""
    folder: str | None = None

    def __post_init__(self) -> None:
        pairs = self.patterns.items() if isinstance(self.patterns, Mapping) else self.patterns
        frozen = tuple((name, (p,) if isinstance(p, str) else tuple(p)) for name, p in pairs)
        object.__setattr__(self, "patterns", frozen)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: A pattern matches no node, a node belongs to two partitions, or a name is none of a file.
            InvalidModelError: A partition depends on itself through other nodes, or holds a node with subgraphs.
            ModelFileError: A file cannot be written.
        """
        SortNodes()(model)
        groups = self._groups(model)
        if not groups:
            return ir.passes.PassResult(model, modified=False)
        _require_order(model.graph, groups)
        if self.folder is not None:
            _write(model, groups, Path(self.folder))
        else:
            for name, nodes in groups.items():  # each border is that beside the calls made so far
                _fold(model, _Seam.of(name, nodes))
        SortNodes()(model)
        return ir.passes.PassResult(model, modified=True)

    def _groups(self, model: ir.Model) -> dict[str, list[ir.Node]]:
        """The nodes of each partition, in the order of the graph."""
        chosen: dict[ir.Node, str] = {}
        named = {n.name: n for n in model.graph if n.name}
        pairs = self.patterns.items() if isinstance(self.patterns, Mapping) else self.patterns
        wanted = [(name, p) for name, patterns in pairs for p in patterns]
        for name, pattern in wanted:
            exact = [named[pattern]] if pattern in named else [named[n] for n in fnmatch.filter(named, pattern)]
            if not exact:
                raise UsageError("a pattern matches no node", node=f"partition '{name}'", got=repr(pattern))
            for node in exact:
                _assign(chosen, node, name)
        for node in model.graph if self.annotation else ():
            if self.annotation in node.metadata_props:
                _assign(chosen, node, node.metadata_props[self.annotation])
        groups: dict[str, list[ir.Node]] = {}
        for node in model.graph:
            if node in chosen:
                groups.setdefault(chosen[node], []).append(node)
        _require_usable(model, groups)
        return groups


def _assign(chosen: dict[ir.Node, str], node: ir.Node, name: str) -> None:
    if chosen.setdefault(node, name) != name:
        raise UsageError(
            "a node belongs to two partitions", node=label(node), got=f"'{chosen[node]}' and '{name}'", expected="one"
        )


def _require_usable(model: ir.Model, groups: Mapping[str, Sequence[ir.Node]]) -> None:
    for name, nodes in groups.items():
        if not _NAME.fullmatch(name) or set(name) == {"."}:
            raise UsageError("name of a partition", got=repr(name), expected="letters, digits, '_', '-' and '.'")
        if (PARTITIONS, name, "") in model.functions:
            raise UsageError("the model has a partition of this name", got=repr(name), expected="another name")
        for node in nodes:
            if next(iter(subgraphs(node)), None) is not None:
                raise InvalidModelError("a node with subgraphs cannot be in a partition", node=label(node), got=name)


def _require_order(graph: ir.Graph, groups: Mapping[str, Sequence[ir.Node]]) -> None:
    """Raises where a partition needs what other nodes make of its own tensors: it could not run as one node."""
    group_of: dict[ir.Node, object] = {n: name for name, nodes in groups.items() for n in nodes}
    needs: dict[object, set[object]] = {}
    feeds: dict[object, set[object]] = {}
    for node in graph:
        key = group_of.get(node, node)
        makers = {group_of.get(p, p) for v in reads(node) if (p := v.producer()) is not None} - {key}
        needs.setdefault(key, set()).update(makers)
        for maker in makers:
            feeds.setdefault(maker, set()).add(key)
    ready = [key for key, makers in needs.items() if not makers]
    done = 0
    while ready:
        key = ready.pop()
        done += 1
        for user in feeds.get(key, ()):
            needs[user].discard(key)
            if not needs[user]:
                ready.append(user)
    if done < len(needs):
        stuck = sorted(name for name in groups if needs[name])
        raise InvalidModelError(
            "a partition depends on itself through nodes outside of it",
            node=", ".join(f"partition '{name}'" for name in stuck),
            hint="take the nodes between into it",
        )


@dataclass(frozen=True)
class _Seam:
    """A partition and the tensors at its border: what it reads and what others read of it, each in order."""

    name: str
    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]

    @classmethod
    def of(cls, name: str, nodes: Sequence[ir.Node]) -> _Seam:
        inside = set(nodes)
        read = dict.fromkeys(v for n in nodes for v in n.inputs if v is not None and v.producer() not in inside)
        made = [o for n in nodes for o in n.outputs if o.name]
        outputs = [o for o in made if o.is_graph_output() or any(user not in inside for user, _ in o.uses())]
        return cls(name, tuple(nodes), tuple(read), tuple(outputs))


def _replace(model: ir.Model, seam: _Seam, call: ir.Node) -> None:
    """Puts the call in the place of the nodes, which leave the graph; its outputs take names, annotations and uses."""
    inside, graph = set(seam.nodes), model.graph
    for old, new in zip(seam.outputs, call.outputs, strict=True):
        new.name, new.type, new.shape = old.name, old.type, None if old.shape is None else old.shape.copy()
        new.meta.update(old.meta)
        new.metadata_props.update(old.metadata_props)
        for user, index in [(n, i) for n, i in old.uses() if n not in inside]:
            user.replace_input_with(index, new)
        for place in [i for i, v in enumerate(graph.outputs) if v is old]:
            graph.outputs[place] = new
    seam.nodes[-1].append(call)
    graph.remove(seam.nodes)


def _fold(model: ir.Model, seam: _Seam) -> None:
    inputs = [ir.Value(name=v.name, type=v.type, shape=v.shape) for v in seam.inputs]
    call = ir.node(
        seam.name, seam.inputs, domain=PARTITIONS, name=f"partition_{seam.name}", num_outputs=len(seam.outputs)
    )
    _replace(model, seam, call)
    inner = dict(zip(seam.inputs, inputs, strict=True))
    for node in seam.nodes:
        for index, value in enumerate(node.inputs):
            if value is not None and value in inner:
                node.replace_input_with(index, inner[value])
    domains = dict.fromkeys(["", *(n.domain for n in seam.nodes)])
    imports = {d: model.opset_imports[d] for d in domains if d in model.opset_imports}
    graph = ir.Graph(inputs, seam.outputs, nodes=seam.nodes, opset_imports=imports, name=seam.name)
    function = ir.Function(PARTITIONS, seam.name, "", graph=graph, attributes=[])
    model.functions[function.identifier()] = function
    model.opset_imports[PARTITIONS] = 1
    model.ir_version = max(model.ir_version, _OLDEST_IR_WITH_FUNCTIONS)


def _part(model: ir.Model, seam: _Seam) -> ir.Model:
    inputs = [str(v.name) for v in seam.inputs if not v.is_initializer()]
    return extract_submodel(model, inputs=inputs, outputs=[str(v.name) for v in seam.outputs])


def _write(model: ir.Model, groups: Mapping[str, Sequence[ir.Node]], folder: Path) -> None:
    InferShapes()(model)
    parts = {name: _part(model, _Seam.of(name, nodes)) for name, nodes in groups.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, nodes in groups.items():
        path = folder / f"partition_{name}.onnx"
        save(parts[name], path)
        seam = _Seam.of(name, nodes)
        call = ir.node(
            PARTITION_FILE,
            [v for v in seam.inputs if not v.is_initializer()],
            {"model": str(path)},
            domain=DOMAIN,
            name=f"{PARTITION_FILE}_{seam.name}",
            num_outputs=len(seam.outputs),
        )
        _replace(model, seam, call)
        for node in nodes:
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)  # onnx-ir keeps the uses of a removed node
        for value in seam.inputs:
            if value.is_initializer() and not (value.uses() or value.is_graph_output() or value.is_graph_input()):
                del model.graph.initializers[str(value.name)]
    model.opset_imports.setdefault(DOMAIN, 1)
