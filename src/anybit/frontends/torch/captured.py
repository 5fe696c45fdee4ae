"""Captured: a module as a graph of torch operators, and what in it is constant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from anybit.arrays import Array
from anybit.errors import FrontEndError

_SLICED = re.compile(r"\.slice\((\d+|None), (?:-?\d+|None), (\d+|None)\)\.(\d+)")


@dataclass
class Captured:
    """A module as a graph of torch operators.

    Attributes:
        module: The graph; parameters and buffers are its attributes.
        program: What torch.export made of the module.
        varying: Nodes that depend on the inputs; all others are constant.
        source: The graph as it was captured, which no rewriting changes.
        origins: The node of `source` whose value a node that was put in its place has, by name.
        divided: Names of quantisers that divide by the scale where torch multiplies by its reciprocal.
    """

    module: fx.GraphModule
    program: torch.export.ExportedProgram
    varying: set[fx.Node] = field(init=False)
    source: fx.GraphModule = field(init=False)
    origins: dict[str, str] = field(default_factory=dict[str, str])
    divided: set[str] = field(default_factory=set[str])
    _readers: Counter[Any] = field(init=False)
    _known: dict[fx.Node, Any] = field(default_factory=dict[fx.Node, Any])

    def __post_init__(self) -> None:
        self.varying = set()
        self._readers = Counter(n.target for n in self.module.graph.nodes if n.op == "get_attr")
        for node in self.module.graph.nodes:
            if node.op == "placeholder" or any(n in self.varying for n in node.all_input_nodes):
                self.varying.add(node)
        original = fx.Graph()
        result = original.graph_copy(self.module.graph, {})
        original.output(result)
        self.source = fx.GraphModule(self.module, original)
        self.origins = {n.name: n.name for n in original.nodes if n.op == "call_function"}

    def nodes(self, *targets: Any) -> list[fx.Node]:
        """The calls of these operators, in order."""
        return [n for n in self.module.graph.nodes if n.op == "call_function" and n.target in targets]

    def constant(self, argument: Any, user: fx.Node, what: str) -> Any:
        """The value of an argument that must not depend on the inputs.

        Raises:
            FrontEndError: It does.
        """
        if not isinstance(argument, fx.Node):
            return argument
        if argument in self.varying:
            raise FrontEndError(
                f"the {what} depends on the data",
                node=where(user),
                got=f"'{argument.name}', which is computed from the inputs",
                expected="a constant",
                hint="calibrate it, and freeze it before the export",
            )
        return self._value(argument)

    def _value(self, node: fx.Node) -> Any:
        needed, pending = set[fx.Node](), [node]
        while pending:
            current = pending.pop()
            if current not in self._known and current not in needed:
                needed.add(current)
                pending += current.all_input_nodes
        with torch.no_grad():
            for current in sorted(needed):
                self._known[current] = self._computed(current)
        return self._known[node]

    def _computed(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return attribute(self.module, str(node.target))
        if node.op != "call_function":
            raise FrontEndError("a constant that is no tensor expression", node=where(node), got=node.op)
        target: Callable[..., Any] = node.target  # pyright: ignore[reportAssignmentType]
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: self._known[n])
        return target(*args, **kwargs)

    def new_constant(self, wish: str, value: Array | torch.Tensor | float) -> fx.Node:
        """A constant of the graph, before the node that the graph inserts before."""
        name, count = wish.replace(".", "_"), 0
        while hasattr(self.module, name if not count else f"{name}_{count}"):
            count += 1
        name = f"{name}_{count}" if count else name
        self.module.register_buffer(name, torch.as_tensor(value).detach().clone())
        node = self.module.graph.get_attr(name)
        self._known[node] = getattr(self.module, name)
        return node

    def constant_input(self, node: fx.Node, values: torch.Tensor) -> fx.Node:
        """A constant of these values in the place of the first argument of `node`.

        It stands for the parameter that the argument is made of, and has its name, where nothing else reads that.
        """
        source: Any = node.args[0]
        while isinstance(source, fx.Node) and source.op == "call_function" and len(source.users) == 1:
            inputs = source.all_input_nodes
            source = inputs[0] if len(inputs) == 1 else None
        if not isinstance(source, fx.Node) or source.op != "get_attr" or not self._is_free(source, values):
            return self.new_constant(f"{node.name}_on_grid", values)
        path, _, name = str(source.target).rpartition(".")
        owner = self.module.get_submodule(path)
        delattr(owner, name)
        owner.register_buffer(name, values.detach().clone())
        self._known[source] = getattr(owner, name)
        return source

    def _is_free(self, source: fx.Node, values: torch.Tensor) -> bool:
        alone = len(source.users) == 1 and self._readers[source.target] == 1
        return alone and attribute(self.module, str(source.target)).shape == values.shape

    def call(self, target: Any, *args: Any) -> fx.Node:
        """A call whose result depends on the inputs where an argument does."""
        node = self.module.graph.call_function(target, args)
        if any(n in self.varying for n in node.all_input_nodes):
            self.varying.add(node)
        return node

    def replace(self, old: fx.Node, new: fx.Node) -> None:
        """Lets the users of `old` read `new`, and takes `old` away."""
        new.meta.update({k: v for k, v in old.meta.items() if k in ("nn_module_stack", "val")})
        if old.name in self.origins:
            self.origins.setdefault(new.name, self.origins[old.name])
        old.replace_all_uses_with(new)
        self.module.graph.erase_node(old)

    def fold(self, node: fx.Node) -> None:
        """Makes a constant of a node that is one.

        Raises:
            FrontEndError: It is no tensor, and no number.
        """
        value = self.constant(node, node, "value")
        if not isinstance(value, torch.Tensor | float | int):
            raise FrontEndError("a constant that is no tensor", node=where(node), got=type(value).__name__)
        with self.module.graph.inserting_before(node):
            self.replace(node, self.new_constant(f"{node.name}_constant", value))

    def finish(self) -> fx.GraphModule:
        """The graph without what nothing reads, ready to run."""
        self.module.graph.eliminate_dead_code()
        return fx.GraphModule(self.module, self.module.graph)


def where(node: fx.Node) -> str:
    """How messages name a node: the path of the module that it is in, and its operator."""
    path = path_of(node)
    return f"module '{path or '(root)'}', {getattr(node.target, '__name__', node.target)} '{node.name}'"


def path_of(node: fx.Node) -> str:
    """The path of the module that a node is in; empty for the outermost one."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    path = path.removeprefix("L['self'].").removeprefix("L__self__.")
    return _SLICED.sub(_index, path).removesuffix(".export_handler")


def _index(found: re.Match[str]) -> str:
    """The index in the whole ModuleList of what is the n-th of a slice of it, which torch.export names by both."""
    start, step, index = (0 if part == "None" else int(part) for part in found.group(1, 2, 3))
    return f".{start + (step or 1) * index}"


def attribute(module: torch.nn.Module, path: str) -> Any:
    """What a module has at a path: a parameter, a buffer, or a constant."""
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value
