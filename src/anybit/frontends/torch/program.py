"""program: a rewritten graph as an exported program again, without running the module a second time."""

from __future__ import annotations

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


def program_of(captured: Captured) -> torch.export.ExportedProgram | None:  # noqa: C901  one walk over two kinds of nodes
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
    if mode is None:
        return None
    graph = fx.Graph()
    state: dict[str, Any] = {}
    made: dict[fx.Node, fx.Node] = {}
    constants: dict[str, fx.Node] = {}
    inputs: list[InputSpec] = []
    for node in module.graph.nodes:
        path = str(node.target)
        if node.op != "get_attr" or path in constants:
            continue
        tensor = attribute(module, path)
        if not isinstance(tensor, torch.Tensor):
            return None
        state[path] = tensor
        # numbered, as `a.b` and `a_b` may both be there
        constants[path] = new = graph.placeholder(f"constant_{len(constants)}_{path.replace('.', '_')}")
        new.meta["val"] = mode.from_tensor(tensor.detach(), static_shapes=True)
        inputs.append(InputSpec(InputKind.BUFFER, TensorArgument(new.name), path, persistent=True))
    outputs: list[OutputSpec] = []
    for node in module.graph.nodes:
        if node.op == "get_attr":
            made[node] = constants[str(node.target)]
            continue
        made[node] = new = graph.node_copy(node, lambda n: made[n])
        if node.op == "placeholder":
            inputs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(new.name), None))
        elif node.op == "output":
            outputs = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(n.name), None) for n in new.all_input_nodes]
            if len(outputs) != len(given.graph_signature.output_specs):
                return None  # a tensor is given twice
        elif "val" not in new.meta:
            _state_shape(new, mode)
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
