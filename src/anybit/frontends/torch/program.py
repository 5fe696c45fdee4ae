"""program: a rewritten graph as an exported program again, without running the module a second time."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import fx
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)

from anybit.frontends.torch.captured import Captured, attribute

_NO_IDENTIFIER = re.compile(r"\W")


def program_of(captured: Captured) -> torch.export.ExportedProgram | None:
    """The graph with its constants as inputs, as torch.onnx takes it; nodes keep their names.

    None where the graph changes a buffer or an input, or gives or takes what is no tensor: only torch.export itself can
    state that.
    """
    given = captured.program
    kinds = {s.kind for s in given.graph_signature.input_specs} | {s.kind for s in given.graph_signature.output_specs}
    if kinds - _KNOWN or not all(isinstance(s.arg, TensorArgument) for s in given.graph_signature.output_specs):
        return None
    module = captured.finish()
    mode = next((v.fake_mode for n in module.graph.nodes if (v := _fake(n)) is not None), None)
    paths = dict.fromkeys(str(n.target) for n in module.graph.nodes if n.op == "get_attr")
    state = {path: attribute(module, path) for path in paths}
    if mode is None or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        return None
    graph = fx.Graph()
    constants = _placeholders(graph, state, mode)
    inputs = [
        InputSpec(InputKind.BUFFER, TensorArgument(node.name), path, persistent=True)
        for path, node in constants.items()
    ]
    _copy(module.graph, graph, constants, mode)
    taken = [n for n in graph.nodes if n.op == "placeholder"][len(constants) :]
    inputs += [InputSpec(InputKind.USER_INPUT, TensorArgument(n.name), None) for n in taken]
    given_back = next(n for n in graph.nodes if n.op == "output").all_input_nodes
    if len(given_back) != len(given.graph_signature.output_specs):
        return None  # a tensor is given twice
    outputs = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(n.name), None) for n in given_back]
    return torch.export.ExportedProgram(
        root=fx.GraphModule(torch.nn.Module(), graph),
        graph=graph,
        graph_signature=ExportGraphSignature(inputs, outputs),
        state_dict=state,
        range_constraints=given.range_constraints,
        module_call_graph=given.module_call_graph,
        constants={},
        verifiers=given.verifiers,
    )


def _placeholders(graph: fx.Graph, state: dict[str, torch.Tensor], mode: Any) -> dict[str, fx.Node]:
    """An input of the graph for each constant, by its path; numbered, as `a.b` and `a_b` may both be there.

    What stands in a slice of a ModuleList has a path that is no identifier.
    """
    made: dict[str, fx.Node] = {}
    for path, tensor in state.items():
        made[path] = graph.placeholder(f"constant_{len(made)}_{_NO_IDENTIFIER.sub('_', path)}")
        made[path].meta["val"] = mode.from_tensor(tensor.detach(), static_shapes=True)
    return made


def _copy(source: fx.Graph, graph: fx.Graph, constants: dict[str, fx.Node], mode: Any) -> None:
    """Copies all nodes but constants, in whose place their inputs are read, and states the shapes of new nodes."""
    made: dict[fx.Node, fx.Node] = {}
    for node in source.nodes:
        if node.op == "get_attr":
            made[node] = constants[str(node.target)]
            continue
        made[node] = graph.node_copy(node, lambda n: made[n])
        if node.op == "call_function" and "val" not in made[node].meta:
            _state_shape(made[node], mode)


_KNOWN = {
    InputKind.USER_INPUT,
    InputKind.PARAMETER,
    InputKind.BUFFER,
    InputKind.CONSTANT_TENSOR,
    OutputKind.USER_OUTPUT,
}


def _fake(node: fx.Node) -> Any:
    value = node.meta.get("val")
    return value if hasattr(value, "fake_mode") else None  # a tensor without numbers


def _state_shape(node: fx.Node, mode: Any) -> None:
    """Gives a node that a rewriting made the shape and type that its operator says."""
    target: Any = node.target
    arguments: Any = fx.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
    with mode, torch.no_grad():
        node.meta["val"] = target(*arguments[0], **arguments[1])
