"""NameTensors: readable names that depend on nothing but the graph."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from anybit.graph.annotations import ANNOTATIONS
from anybit.graph.names import Names, all_values
from anybit.graph.walk import all_nodes, graphs_of
from anybit.ops.calls import operator_of
from anybit.ops.standard_schemas import standard_schema

_NAMES_A_TENSOR = "_TENSOR"  # the standard's annotations, such as SCALE_TENSOR, hold the name of a tensor


class NameStyle(enum.Enum):
    """What tensors are called after."""

    FORMAL = "formal"
    """Parameters after the formal input of the operator: ``Conv_0_W``, and outputs ``Conv_0_out``."""
    QONNX = "qonnx"
    """As the qonnx package names them: ``global_in``, ``Conv_0_param0``, ``Conv_0_out0``, ``global_out``.

    That package gives each node parameters of its own first, as `UniqueParameters` does.
    """


@dataclass(frozen=True)
class NameTensors(ir.passes.InPlacePass):
    """Names nodes by operator and number, tensors by node, parameters by node and formal input of the operator.

    Before: ``%7 = Conv(x, onnx::Conv_31)``; after: ``Conv_0_out = Conv(x, Conv_0_W)`` in the node ``Conv_0``.
    Names follow the order of the nodes, subgraphs included; model-local functions keep theirs.

    Attributes:
        rename_interface: Also name graph inputs ``input_0``, .. and graph outputs ``output_0``, ..
        style: What tensors are called after. In the style of qonnx graph inputs and outputs are always renamed.
    """

    rename_interface: bool = False
    style: NameStyle = NameStyle.FORMAL

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, tensors = model.graph, _STYLES[self.style]
        chosen = self._interface(graph)
        names = Names(set(chosen.values()))
        labels = _labels(graph)
        for node, name in labels.items():
            for value, wanted in tensors(node, name, model.opset_imports):
                if value not in chosen:
                    chosen[value] = names.fresh(wanted)
        for value in all_values(graph):
            if value not in chosen and value.name:
                chosen[value] = names.fresh(value.name)
        modified = _apply(chosen, labels)
        return ir.passes.PassResult(model, modified)

    def _interface(self, graph: ir.Graph) -> dict[ir.Value, str]:
        if self.style is NameStyle.QONNX:
            pairs = (("global_in", graph.inputs), ("global_out", graph.outputs))
            return {v: f"{kind}_{i}" if i else kind for kind, values in pairs for i, v in enumerate(values)}
        chosen: dict[ir.Value, str] = {}
        for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
            for number, value in enumerate(values):
                chosen.setdefault(value, f"{kind}_{number}" if self.rename_interface else str(value.name))
        return chosen


def _labels(graph: ir.Graph) -> dict[ir.Node, str]:
    """By node, its operator and how many nodes of it come before."""
    labels: dict[ir.Node, str] = {}
    counts: dict[str, int] = {}
    for node in all_nodes(graph):
        number = counts.get(node.op_type, 0)
        counts[node.op_type] = number + 1
        labels[node] = f"{node.op_type}_{number}"
    return labels


def _tensors(node: ir.Node, label: str, opsets: dict[str, int]) -> Iterator[tuple[ir.Value, str]]:
    """The tensors that are named after a node: its parameters, its outputs and the inputs of its subgraphs."""
    formal = _formal_inputs(node, opsets)
    for position, value in enumerate(node.inputs):
        if value is not None and value.is_initializer():
            yield value, f"{label}_{formal[position] if position < len(formal) else f'in_{position}'}"
    outputs = [o for o in node.outputs if o.name != ""]  # an output without a name is one that nobody wants
    for output in outputs:
        yield output, f"{label}_out" if len(node.outputs) == 1 else f"{label}_out_{output.index()}"
    for attribute in node.attributes.values():
        for inner in graphs_of(attribute):
            yield from ((v, f"{label}_{attribute.name}_in_{i}") for i, v in enumerate(inner.inputs))


def _tensors_of_qonnx(node: ir.Node, label: str, opsets: dict[str, int]) -> Iterator[tuple[ir.Value, str]]:
    """Parameters and outputs by their place; the inputs of subgraphs as in the other style: qonnx leaves them alone."""
    del opsets
    parameters = [v for v in node.inputs if v is not None and v.is_initializer()]
    yield from ((v, f"{label}_param{i}") for i, v in enumerate(parameters))
    yield from ((v, f"{label}_out{i}") for i, v in enumerate(node.outputs) if v.name != "")
    for attribute in node.attributes.values():
        for inner in graphs_of(attribute):
            yield from ((v, f"{label}_{attribute.name}_in_{i}") for i, v in enumerate(inner.inputs))


_STYLES = {NameStyle.FORMAL: _tensors, NameStyle.QONNX: _tensors_of_qonnx}


def _formal_inputs(node: ir.Node, opsets: dict[str, int]) -> list[str]:
    operator = operator_of(node, opsets)
    if operator is not None:
        return [formal.name for formal in operator.inputs]
    schema = standard_schema(node.op_type, opsets.get("", 1)) if node.domain == "" else None
    if schema is None:
        return []
    formal = [str(f.name) for f in schema.inputs]
    if len(node.inputs) <= len(formal):
        return formal
    return formal[:-1] + [f"{formal[-1]}_{i}" for i in range(len(node.inputs) - len(formal) + 1)]


def _apply(chosen: dict[ir.Value, str], labels: dict[ir.Node, str]) -> bool:
    modified = any(v.name != name for v, name in chosen.items()) or any(n.name != name for n, name in labels.items())
    renamed = {str(v.name): name for v, name in chosen.items()}
    ir.convenience.rename_values(list(chosen), list(chosen.values()))
    for node, name in labels.items():
        node.name = name
    for value in chosen:
        entries: dict[str, str] = value.meta.get(ANNOTATIONS) or {}
        if any(key.endswith(_NAMES_A_TENSOR) for key in entries):
            value.meta[ANNOTATIONS] = {
                key: renamed.get(text, text) if key.endswith(_NAMES_A_TENSOR) else text for key, text in entries.items()
            }
    return modified
