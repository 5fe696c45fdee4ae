"""ExposeTensors: intermediate tensors become outputs of the model."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

import onnx_ir as ir

from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Finding, InvalidModelError, Severity
from anybit.graph.editor import EditResult
from anybit.graph.names import unknown_tensor
from anybit.graph.walk import inner_graphs, label

_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class ExposeTensors(ir.passes.InPlacePass):
    """Makes tensors that nodes compute graph outputs, after those that there are, in the order of the graph.

    Before: ``h = MatMul(x, w); y = Relu(h)``, output ``y``; after ``ExposeTensors(("h",))``: outputs ``y, h``.

    Attributes:
        tensors: Names of tensors of the outermost graph, or shell patterns such as ``*_out``.
    """

    tensors: tuple[str, ...]

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: No tensor has the name, or matches the pattern.
            InvalidModelError: The type of a tensor that was named is not known.
        """
        known = {str(o.name): o for node in model.graph for o in node.outputs if o.name}
        selected: set[str] = set()
        for wanted in self.tensors:
            selected |= _matches(wanted, known, model)
        InferShapes()(model)
        listed = set(model.graph.outputs)
        exposed = [v for name, v in known.items() if name in selected and v not in listed]
        notes = tuple(self._untyped(v) for v in exposed if v.type is None)
        typed = [v for v in exposed if v.type is not None]
        model.graph.outputs.extend(typed)
        return EditResult(model, modified=bool(typed), notes=notes)

    def _untyped(self, value: ir.Value) -> Finding:
        if value.name in self.tensors:
            raise InvalidModelError("its type is not known, and an output needs one", node=f"tensor '{value.name}'")
        producer = value.producer()
        return Finding(
            rule="expose-tensors",
            problem=f"the type of '{value.name}' is not known, and an output needs one",
            node="" if producer is None else label(producer),
            severity=Severity.WARNING,
        )


def _matches(wanted: str, known: dict[str, ir.Value], model: ir.Model) -> set[str]:
    if wanted in known:
        return {wanted}
    found = set(fnmatch.filter(known, wanted)) if _WILDCARDS & set(wanted) else set[str]()
    if not found:
        raise unknown_tensor(wanted, known, _inner_names(model))
    return found


def _inner_names(model: ir.Model) -> set[str]:
    return {str(o.name) for graph in inner_graphs(model.graph) for node in graph for o in node.outputs}
