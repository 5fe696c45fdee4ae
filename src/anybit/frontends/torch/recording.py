"""recording: what torch computes for each tensor of a hub model, by the graph that torch.export captured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx
from torch.utils import _pytree

from anybit.arrays import Array
from anybit.frontends.comparison.lockstep import Recording
from anybit.frontends.torch.capture import quietly
from anybit.frontends.torch.captured import Captured, attribute, path_of
from anybit.graph.walk import all_nodes

_ATEN: Any = torch.ops.aten
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
        captured: The graph that it was translated from, and the one that was captured.
        nodes: The node of the former that a tensor of the model is the value of, by name.
    """

    model: ir.Model
    captured: Captured
    nodes: Mapping[str, fx.Node]

    def record(self, inputs: Sequence[torch.Tensor]) -> tuple[Recording, list[Any]]:
        """What torch computes for these inputs: of the model's tensors, and what the captured graph gives.

        Of each tensor the captured graph itself is asked, not what the rewriting made of it.
        """
        names = {str(v.name) for node in all_nodes(self.model.graph) for v in node.outputs}
        constants = self._constants()
        names |= self.model.graph.initializers.keys() - constants.keys()
        nodes = {name: node for name, node in self.nodes.items() if name in names}
        origins = self.captured.origins
        wanted = {origins[node.name] for node in nodes.values() if node.name in origins}
        recorder = _Recorder(self.captured.source, wanted)
        with torch.no_grad(), quietly():
            result = recorder.run(*(x.clone() for x in inputs))
        tensors = {name: recorder.found.get(origins.get(node.name, ""), None) for name, node in nodes.items()}
        paths = {name: path_of(node) for name, node in nodes.items()}
        readers = {name: path for name, path in self._readers().items() if name in constants}
        single = frozenset(name for name, node in nodes.items() if _is_single(node))
        divided = frozenset(name for name, node in nodes.items() if node.name in self.captured.divided)
        known = {name: array for name, array in tensors.items() if array is not None}
        attributes = {name: _attributes(node) for name, node in nodes.items()}
        recording = Recording({**constants, **known}, {**readers, **paths}, single, divided, attributes)
        return recording, list(_flat(result))

    def visit(self, inputs: Sequence[torch.Tensor], see: Callable[[torch.Tensor], None]) -> None:
        """Calls `see` with every tensor of the captured graph."""
        visitor = _Visitor(self.captured.source)
        visitor.see = see
        with torch.no_grad(), quietly():
            visitor.run(*(x.clone() for x in inputs))

    def _constants(self) -> dict[str, Array]:
        """The constants of the translated graph, by the names that the model has them by."""
        found: dict[str, Array] = {}
        module, folded = self.captured.module, self._folded()
        for node in module.graph.nodes:
            name = str(node.target)
            if node.op == "get_attr" and name in self.model.graph.initializers and name not in folded:
                value = attribute(module, name)
                if isinstance(value, torch.Tensor):
                    found[name] = _array(value)
        for clip in self.model.graph:
            made = self.nodes.get(str(clip.outputs[0].name)) if clip.op_type == "Clip" and clip.domain == "" else None
            if made is not None and made.target is _ATEN.minimum.default:
                found |= self._bounds(clip, made)
        return found

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
            str(node.target): path_of(user)
            for node in self.captured.module.graph.nodes
            if node.op == "get_attr"
            for user in reversed(list(node.users))
        }


def _before_normalization(model: ir.Model) -> set[str]:
    """The parameters of what a BatchNormalization reads."""
    readers = [n.inputs[0] for n in model.graph if n.op_type == "BatchNormalization"]
    producers = [v.producer() for v in readers if v is not None]
    return {str(v.name) for n in producers if n is not None for v in n.inputs[1:] if v is not None}


class _Recorder(fx.Interpreter):
    """Runs a graph, and keeps copies of some of its tensors, which later operators may change in place."""

    def __init__(self, module: fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.found: dict[str, Array] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.wanted and isinstance(result, torch.Tensor):
            self.found[n.name] = _array(result)
        return result


class _Visitor(fx.Interpreter):
    """Runs a graph, and shows each of its tensors."""

    see: Callable[[torch.Tensor], None]

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.see(result)
        return result


def _attributes(node: fx.Node) -> dict[str, Any]:
    """Flags and modes of a quantiser, by the names that the hub's operators have for them too."""
    operator: Any = node.target
    if getattr(operator, "namespace", "") != "anybit":
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
