"""recording: what torch computes for each tensor of a hub model, by the graph that torch.export captured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx
from torch.utils import _pytree

from anybit.arrays import Array
from anybit.cleanup.fold_transpose import TRANSPOSED
from anybit.frontends.comparison.lockstep import Recording
from anybit.frontends.torch.capture import quietly
from anybit.frontends.torch.captured import Captured, attribute, path_of
from anybit.frontends.torch.scans import Loop
from anybit.frontends.torch.steps import elements, is_steps, stacked
from anybit.graph.walk import all_nodes

_ATEN: Any = torch.ops.aten
_MATRIX = 2  # axes, of which there is one order besides their own
_CONVOLUTIONS = frozenset((_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv3d.default))
_SINGLE_OPERATIONS = frozenset(
    (
        _ATEN.add.Tensor,
        _ATEN.add_.Tensor,
        _ATEN.div.Tensor,
        _ATEN.div_.Tensor,
        _ATEN.mul.Tensor,
        _ATEN.mul_.Tensor,
        _ATEN.sqrt.default,
        _ATEN.sub.Tensor,
        _ATEN.sub_.Tensor,
    )
)
"""Operators of torch that are one operation of IEEE 754, unless a factor is given, and are translated to the same."""


@dataclass(frozen=True)
class Traced:
    """A hub model whose tensors are known in torch.

    Attributes:
        model: Clean hub model.
        captured: The graph that it, or the body of a loop in it, was translated from, and the one that was captured.
        nodes: The node of the former that a tensor of the model is the value of, by name.
        loops: The calls of `steps` in the graph, and the body of each.
        prefix: What the names of the graph's tensors begin with in the model.
        path: The module that the graph is of; empty for the outermost one.
    """

    model: ir.Model
    captured: Captured
    nodes: Mapping[str, fx.Node]
    loops: tuple[tuple[Loop, Traced], ...] = ()
    prefix: str = ""
    path: str = ""

    def of_model(self, model: ir.Model) -> Traced:
        """The same graphs, for the clean model that they have become together."""
        inner = tuple(
            (
                loop,
                replace(
                    body,
                    nodes={f"{self.prefix}{loop.prefix}{name}": node for name, node in body.nodes.items()},
                    prefix=f"{self.prefix}{loop.prefix}",
                    path=loop.body,
                ).of_model(model),
            )
            for loop, body in self.loops
        )
        return replace(self, model=model, loops=inner)

    def record(self, inputs: Sequence[torch.Tensor]) -> tuple[Recording, list[Any]]:
        """What torch computes for these inputs: of the model's tensors, and what the captured graph gives.

        Of each tensor the captured graph itself is asked, not what the rewriting made of it.
        """
        run = self.run([x.clone() for x in inputs])
        recording = self._described()
        outermost = {str(v.name) for node in self.model.graph for v in node.outputs}
        in_front = {  # what the steps of a loop have in common is computed in front of it
            name: array
            for rows in run.steps.values()
            for name, array in (rows[0].items() if rows else ())
            if name in outermost
        }
        return replace(
            recording, tensors={**recording.tensors, **in_front, **run.tensors}, steps=run.steps
        ), run.results

    def _described(self) -> Recording:
        """The constants, and where each tensor is made and how, of the bodies of loops too."""
        constants = self._constants()
        nodes = self._known
        paths = {name: self._path(node) for name, node in nodes.items()}
        readers = {name: path for name, path in self._readers().items() if name in constants}
        single = frozenset(name for name, node in nodes.items() if _is_single(node))
        divided = frozenset(name for name, node in nodes.items() if node.name in self.captured.divided)
        turned = self._turned()
        attributes = {name: _attributes(node) for name, node in {**turned, **nodes}.items()}
        paths = {**{name: self._path(node) for name, node in turned.items()}, **paths}
        found = Recording(constants, {**readers, **paths}, single, divided, attributes)
        for inner in (body._described() for _, body in self.loops):  # noqa: SLF001  its own class
            found = Recording(
                {**found.tensors, **inner.tensors},
                {**found.layers, **inner.layers},
                found.single | inner.single,
                found.divided | inner.divided,
                {**found.attributes, **inner.attributes},
            )
        return found

    @cached_property
    def _known(self) -> dict[str, fx.Node]:
        """The nodes whose values the model still has."""
        names = {str(v.name) for node in all_nodes(self.model.graph) for v in node.outputs}
        names |= self.model.graph.initializers.keys() - self._constants().keys()
        return {name: node for name, node in self.nodes.items() if name in names}

    @cached_property
    def _sources(self) -> dict[str, str]:
        """The nodes of the captured graph that have the values, by the model's names."""
        origins = self.captured.origins
        return {name: origins[node.name] for name, node in self._known.items() if node.name in origins}

    @cached_property
    def _constant_nodes(self) -> frozenset[fx.Node]:
        """What in the body of a loop is the same at each step, and is computed at the first one alone."""
        if not self.prefix:
            return frozenset()
        varying: set[fx.Node] = set()
        for node in self.captured.source.graph.nodes:
            if node.op in ("placeholder", "output") or any(n in varying for n in node.all_input_nodes):
                varying.add(node)
        return frozenset(n for n in self.captured.source.graph.nodes if n not in varying)

    @cached_property
    def _computed(self) -> dict[fx.Node, Any]:
        """Their values, as far as they are known."""
        return {}

    def run(self, inputs: Sequence[torch.Tensor]) -> Run:
        """Runs the captured graph, the body of a loop for each step."""
        recorder = _Recorder(self.captured.source, self.loops, set(self._sources.values()))
        recorder.constants, recorder.known = self._constant_nodes, self._computed
        with torch.no_grad(), quietly():
            result = recorder.run(*inputs, initial_env=dict(self._computed))
        given = {name: recorder.found.get(source) for name, source in self._sources.items()}
        tensors = {name: array for name, array in given.items() if array is not None}
        outputs = {f"{self.prefix}{name}": array for name, array in recorder.outputs.items()}
        return Run({**tensors, **outputs}, recorder.steps, list(_flat(result)))

    def visit(self, inputs: Sequence[torch.Tensor], see: Callable[[torch.Tensor], None]) -> None:
        """Calls `see` with every tensor of the captured graph, and of the bodies of its loops."""
        visitor = _Visitor(self.captured.source, self.loops)
        visitor.see = see
        with torch.no_grad(), quietly():
            visitor.run(*(x.clone() for x in inputs))

    def _path(self, node: fx.Node) -> str:
        inner = path_of(node)
        return ".".join(part for part in (self.path, inner) if part)

    def _constants(self) -> dict[str, Array]:
        """The constants of the translated graph, by the names that the model has them by."""
        found: dict[str, Array] = {}
        module, folded = self.captured.module, self._folded()
        for node in module.graph.nodes:
            name = f"{self.prefix}{node.target}"
            turned = f"{name}{TRANSPOSED}"
            known = [n for n in (name, turned) if n in self.model.graph.initializers and n not in folded]
            value = attribute(module, str(node.target)) if node.op == "get_attr" and known else None
            if isinstance(value, torch.Tensor):
                array = _array(value)
                found |= {name: array} if name in known else {}
                found |= {turned: np.atleast_2d(array).T} if turned in known and array.ndim <= _MATRIX else {}
        for clip in self.model.graph:
            made = self.nodes.get(str(clip.outputs[0].name)) if clip.op_type == "Clip" and clip.domain == "" else None
            if made is not None and made.target is _ATEN.minimum.default:
                found |= self._bounds(clip, made)
        return found

    def _turned(self) -> dict[str, fx.Node]:
        """The quantisers of weights that are transposed in the model, by its names."""
        made = {
            f"{self.prefix}{node.args[0].target}{TRANSPOSED}": node
            for node in self.captured.module.graph.nodes
            if getattr(node.target, "namespace", "") == "anybit" and getattr(node.args[0], "op", "") == "get_attr"
        }
        weights = ((str(n.outputs[0].name), n.inputs[0]) for n in all_nodes(self.model.graph) if n.inputs)
        return {name: made[str(x.name)] for name, x in weights if x is not None and x.name in made}

    def _folded(self) -> set[str]:
        """Float parameters of convolutions into which torch's exporter puts the batch normalisation behind.

        They are others than the module's; what the two make together is compared behind the normalisation.
        """
        kept = _before_normalization(self.model)
        found: set[str] = set()
        for node in self.captured.module.graph.nodes:
            source: Any = node.args[0] if node.target is _ATEN.batch_norm.default else None
            if isinstance(source, fx.Node) and source.target in _CONVOLUTIONS and len(source.users) == 1:
                names = {str(a.target) for a in source.args[1:3] if isinstance(a, fx.Node) and a.op == "get_attr"}
                found |= set() if names & kept else names
        return found

    def _bounds(self, clip: ir.Node, made: fx.Node) -> dict[str, Array]:
        """The constants of a Clip, into which torch's exporter puts a maximum and the minimum of that."""
        lower: Any = made.args[0]
        if lower.target is not _ATEN.maximum.default:
            return {}
        bounds: list[Any] = [node.args[1] for node in (lower, made)]
        values = [attribute(self.captured.module, str(b.target)) for b in bounds if getattr(b, "op", "") == "get_attr"]
        named = zip(clip.inputs[1:], values, strict=False)
        return {str(v.name): _array(a) for v, a in named if v is not None} if len(values) == 2 else {}

    def _readers(self) -> dict[str, str]:
        """The path of the module that reads a constant."""
        return {
            f"{self.prefix}{node.target}": self._path(user)
            for node in self.captured.module.graph.nodes
            if node.op == "get_attr"
            for user in reversed(list(node.users))
        }


def _before_normalization(model: ir.Model) -> set[str]:
    """The parameters of what a BatchNormalization reads."""
    readers = [n.inputs[0] for n in model.graph if n.op_type == "BatchNormalization"]
    producers = [v.producer() for v in readers if v is not None]
    return {str(v.name) for n in producers if n is not None for v in n.inputs[1:] if v is not None}


@dataclass(frozen=True)
class Run:
    """What a graph computed.

    Attributes:
        tensors: By the model's names; those that are computed once.
        steps: Those of each step of a loop, by the name of its node.
        results: What the graph gives.
    """

    tensors: dict[str, Array]
    steps: dict[str, list[dict[str, Array]]]
    results: list[Any]


class _Interpreter(fx.Interpreter):
    """Runs a graph; the body of a loop by `step`."""

    def __init__(self, module: fx.GraphModule, loops: Sequence[tuple[Loop, Traced]]) -> None:
        super().__init__(module)
        self.loops = {loop.name: (loop, body) for loop, body in loops}

    def run_node(self, n: fx.Node) -> Any:
        loop, body = self.loops.get(n.name, (None, None))
        if loop is None or body is None:
            return super().run_node(n)
        (states, sequence, parameters, *_), _ = self.fetch_args_kwargs_from_env(n)
        rows: list[torch.Tensor] = []
        for element in elements(sequence, loop.axis, reverse=loop.reverse):
            states = self.step(loop, body, [*states, element, *parameters])
            rows.append(states[0])
        return [*states, stacked(rows, loop.axis, reverse=loop.reverse)]

    def step(self, loop: Loop, body: Traced, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The states behind one step of a loop, which its body computes of the inputs."""
        raise NotImplementedError


class _Recorder(_Interpreter):
    """Runs a graph, and keeps copies of some of its tensors, which later operators may change in place."""

    def __init__(self, module: fx.GraphModule, loops: Sequence[tuple[Loop, Traced]], wanted: set[str]) -> None:
        super().__init__(module, loops)
        self.wanted = wanted
        self.constants: frozenset[fx.Node] = frozenset()
        self.known: dict[fx.Node, Any] = {}
        self.found: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        self.steps: dict[str, list[dict[str, Array]]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.wanted and isinstance(result, torch.Tensor):
            self.found[n.name] = _array(result)
        if n in self.constants:
            self.known[n] = result
        if n.name in self.loops:
            loop, _ = self.loops[n.name]
            self.outputs |= {loop.output(index): _array(tensor) for index, tensor in enumerate(result)}
        return result

    def step(self, loop: Loop, body: Traced, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        run = body.run(inputs)
        self.steps.setdefault(loop.name, []).append(run.tensors)
        return run.results


class _Visitor(_Interpreter):
    """Runs a graph, and shows each of its tensors."""

    see: Callable[[torch.Tensor], None]

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.see(result)
        return result

    def step(self, loop: Loop, body: Traced, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        del loop
        visitor = _Visitor(body.captured.source, body.loops)
        visitor.see = self.see
        results: list[torch.Tensor] = list(_flat(visitor.run(*inputs)))
        return results


def _attributes(node: fx.Node) -> dict[str, Any]:
    """Flags and modes of a quantiser, by the names that the hub's operators have for them too."""
    operator: Any = node.target
    if getattr(operator, "namespace", "") != "anybit" or is_steps(operator):
        return {}
    names = [a.name for a in operator._schema.arguments]  # noqa: SLF001  torch has no public way
    given = zip(names, node.args, strict=False)
    return {k: int(v) if isinstance(v, bool) else v for k, v in given if isinstance(v, bool | str)}


def _array(tensor: torch.Tensor) -> Array:
    given = tensor.detach().cpu()
    given = given.float() if given.dtype == torch.bfloat16 else given
    return np.array(given.numpy())


def _flat(result: Any) -> list[Any]:
    leaves: list[Any] = _pytree.tree_leaves(result)
    return leaves


def _is_single(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if node.target not in _SINGLE_OPERATIONS or node.kwargs:
        return False
    return value is None or (isinstance(value, torch.Tensor) and value.dtype == torch.float32)
