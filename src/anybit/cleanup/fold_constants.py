"""FoldConstants: nodes whose inputs are all constant become constants."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

import onnx_ir as ir

from anybit.arrays import Array
from anybit.budget import current_limits
from anybit.errors import Finding, Severity
from anybit.graph.constants import constant, is_replaceable, replace_by_constant
from anybit.graph.editor import EditResult
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes, label
from anybit.ops.evaluate import EVALUATION_ERRORS, evaluate_node

_QUANTIZERS = frozenset(("QuantizeLinear", "DequantizeLinear"))


@dataclass(frozen=True)
class FoldConstants(ir.passes.InPlacePass):
    """Replaces nodes whose inputs are all constant by their value.

    Before: ``y = Add(x, Mul(2, 3))``; after: ``y = Add(x, 6)``. Values are computed by the reference, so that
    float32 results are rounded once. Random operators, nodes with subgraphs and strings stay; so do nodes whose
    constants do not fit each other, with a note.

    Attributes:
        keep_quantizers: Keep quantisers of weights, and what follows from them, as nodes: ours, QuantizeLinear and
            DequantizeLinear, and the Clip that narrows them.
        max_elements: Leave a node that would produce a larger tensor than both this and its inputs, or with which the
            constants that are made would take more memory than the limits allow (see `anybit.limits`).
        keep: Operators and names of nodes that stay, or shell patterns of them, such as ``("Shape", "head_*")``.
    """

    keep_quantizers: bool = True
    max_elements: int = 1 << 20
    keep: tuple[str, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        modified, notes = False, list[Finding]()
        names = Names.of_tensors(model)
        left = current_limits().memory
        for node in list(all_nodes(graph)):
            if not all(is_replaceable(graph, o) for o in node.outputs):
                continue
            try:
                arrays = self._value(node, model.opset_imports)
            except EVALUATION_ERRORS as error:
                notes.append(_failed(node, error))
                continue
            size = sum(a.nbytes for a in arrays or ())
            if arrays is None or size > left:
                continue
            left -= size
            for output, array in zip(node.outputs, arrays, strict=True):
                replace_by_constant(graph, output, array, names)
            if node.graph is not None:
                node.graph.remove(node, safe=True)
            modified = True
        return EditResult(model, modified, tuple(notes))

    def _value(self, node: ir.Node, opsets: dict[str, int]) -> tuple[Array, ...] | None:
        inputs: list[Array | None] = [constant(v) for v in node.inputs]
        if any(a is None for a, v in zip(inputs, node.inputs, strict=True) if v is not None):
            return None
        if (self.keep_quantizers and _quantizes(node)) or self._keeps(node):
            return None
        largest = max((a.size for a in inputs if a is not None), default=0)
        most = None if node.op_type == "Constant" else max(self.max_elements, largest)
        arrays = evaluate_node(node, inputs, opsets, most=most)
        if arrays is None or not all(a.dtype.kind in "fiubV" for a in arrays):
            return None
        return None if most is not None and any(a.size > most for a in arrays) else arrays

    def _keeps(self, node: ir.Node) -> bool:
        names = (node.op_type, node.name or "")
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.keep for name in names)


def _failed(node: ir.Node, error: Exception) -> Finding:
    return Finding(
        rule="fold-constants",
        problem="constant inputs do not fit the operator",
        node=label(node),
        got=" ".join(str(error).split()),
        severity=Severity.WARNING,
    )


def _quantizes(node: ir.Node) -> bool:
    """Whether the node says what a tensor's number format is: a quantiser, or a Clip that narrows one."""
    if node.domain != "":
        return True
    if node.op_type == "Clip":
        return any(user.domain == "" and user.op_type in _QUANTIZERS for user, _ in node.outputs[0].uses())
    return node.op_type in _QUANTIZERS
