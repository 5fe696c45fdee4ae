"""calls: the layers of a functional or sequential model in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from anybit.errors import FrontEndError
from anybit.frontends.keras.graph import Graph, LayerTensor

FRAMEWORKS = ("keras", "tf_keras", "qkeras", "hgq")


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: The framework's layer.
        inputs: What it is called with, in order.
        shape: Shape of its output in Keras' layout; None where it is free.
        path: Its name, behind those of the models that it is nested in.
    """

    layer: Any
    inputs: tuple[LayerTensor, ...]
    shape: tuple[int | None, ...]
    path: str

    @property
    def x(self) -> LayerTensor:
        """The input of a layer that has one."""
        if len(self.inputs) != 1:
            raise self.refusal("number of inputs", got=len(self.inputs), expected=1)
        return self.inputs[0]

    def refusal(self, problem: str, *, got: object = "", expected: object = "", hint: str = "") -> FrontEndError:
        """An error that names the layer."""
        node = f"layer '{self.path}' ({type(self.layer).__name__})"
        return FrontEndError(problem, node=node, got=got, expected=expected, hint=hint)


Builder = Callable[[Graph, Call], LayerTensor]


def framework_of(thing: object) -> str:
    """The package that a layer, quantiser or function comes from: its class's, or its own if it is a function."""
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return str(module).split(".", maxsplit=1)[0]


@dataclass(frozen=True)
class Made:
    """What a call made.

    Attributes:
        symbol: The framework's symbolic tensor.
        tensor: The tensor in the graph.
        path: Name of the layer.
    """

    symbol: Any
    tensor: LayerTensor
    path: str


def convert_calls(
    graph: Graph, model: Any, inputs: Sequence[LayerTensor], build: Builder, path: str = ""
) -> tuple[list[tuple[str, LayerTensor]], list[Made]]:
    """Writes every call of a model into the graph, those of nested models too.

    Returns:
        The outputs of the model, each with the name of the layer that makes it; and what each of its own calls made.
    """
    made: list[Made] = []
    where = path or str(model.name)
    nodes = list(_nodes(model, where))
    known = {
        id(t): (str(getattr(t, "name", "input")), given) for t, given in zip(flat(model.inputs), inputs, strict=True)
    }
    for node in nodes:
        if node.is_input:
            continue
        layer = getattr(node, "operation", None) or node.layer
        given = tuple(known[id(t)][1] for t in _arguments(node))
        produced = flat(node.outputs)
        call = Call(layer, given, tuple(produced[0].shape), f"{path}/{layer.name}" if path else str(layer.name))
        if _settings(node).get("training"):
            raise call.refusal("called with training=True", expected="inference")
        if _is_model(layer):
            results = [t for _, t in convert_calls(graph, layer, given, build, call.path)[0]]
        else:
            results = [build(graph, call)]
        made += [Made(t, r, call.path) for t, r in zip(produced, results, strict=True)]
        known.update({id(t): (str(layer.name), r) for t, r in zip(produced, results, strict=True)})
    return [known[id(t)] for t in flat(model.outputs)], made


def _nodes(model: Any, where: str) -> Iterator[Any]:
    # A sequential model of Keras 3 keeps its graph in a functional one; there is no public way to the calls of a graph.
    inner = getattr(model, "_functional", None) or model
    by_depth = getattr(inner, "_nodes_by_depth", None)
    if not by_depth:
        raise FrontEndError(
            "the model has no graph of layers",
            node=f"model '{where}'",
            got=type(model).__name__,
            expected="a functional or sequential model with a known input shape",
            hint="make it of layers called on keras.Input, or build it first",
        )
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def _is_model(layer: Any) -> bool:
    return hasattr(layer, "layers") and hasattr(layer, "inputs") and hasattr(layer, "outputs")


def _arguments(node: Any) -> Iterable[Any]:
    return node.arguments.keras_tensors if hasattr(node, "arguments") else flat(node.keras_inputs)


def _settings(node: Any) -> dict[str, Any]:
    return node.arguments.kwargs if hasattr(node, "arguments") else node.call_kwargs


def flat(structure: Any) -> list[Any]:
    """The tensors of a list, a dictionary or a single one, in the order in which Keras flattens them."""
    if isinstance(structure, dict):
        return [t for key in sorted(structure) for t in flat(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [t for part in structure for t in flat(part)]
    return [structure]
