"""DoubleToFloat: a model that computes in float64 computes in float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Finding, InvalidModelError, Severity
from anybit.graph.editor import EditResult
from anybit.graph.names import all_values
from anybit.graph.walk import all_nodes, label
from anybit.ops.operator import DOMAIN

_DOUBLE, _FLOAT = ir.DataType.DOUBLE, ir.DataType.FLOAT
_TYPE_ATTRIBUTES = frozenset(("to", "dtype", "output_dtype", "output_datatype", "stash_type"))
_Tensors = dict[ir.TensorProtocol, ir.TensorProtocol]
_Graph = ir.Graph | ir.Function


@dataclass(frozen=True)
class DoubleToFloat(ir.passes.InPlacePass):
    """Makes every float64 tensor float32: inputs, outputs, constants, targets of Cast, functions.

    Before: ``y = Mul(x, double 0.1)`` with ``double[N] x``; after: ``y = Mul(x, float 0.1)`` with ``float[N] x``.
    It is the one thing asked for that changes numbers: constants that float32 cannot hold are rounded to nearest, and
    a note states for each how many and how far.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            InvalidModelError: A finite constant is too large for float32; nothing is changed.
        """
        rounded: _Tensors = {}
        findings: list[Finding] = []
        for where, tensor in _constants(model):
            if tensor not in rounded:
                rounded[tensor] = _round(where, tensor, findings)
        findings += [f for n in _nodes(model) if (f := _foreign(model, n)) is not None]
        changes = [_values(model, rounded), *(_attributes(n, rounded) for n in _nodes(model))]
        return EditResult(model, modified=any(changes), notes=tuple(findings))


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    for graph in (model.graph, *model.functions.values()):
        yield from all_nodes(graph)


def _constants(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for value in all_values(model.graph):
        if value.is_initializer() and value.const_value is not None and value.const_value.dtype == _DOUBLE:
            yield f"initializer '{value.name}'", value.const_value
    for node in _nodes(model):
        for attribute in node.attributes.values():
            if not attribute.is_ref() and attribute.type == ir.AttributeType.TENSOR:
                tensor = attribute.as_tensor()
                yield from ((label(node), t) for t in (tensor,) if t.dtype == _DOUBLE)


def _round(where: str, tensor: ir.TensorProtocol, findings: list[Finding]) -> ir.TensorProtocol:
    exact: Array = tensor.numpy()
    with np.errstate(over="ignore"):
        single = exact.astype(np.float32)
    overflow = np.isinf(single) & np.isfinite(exact)
    if overflow.any():
        largest = np.abs(exact[overflow]).max()
        raise InvalidModelError(
            "too large for float32", node=where, got=largest, expected=f"at most {np.finfo(np.float32).max}"
        )
    finite = np.isfinite(exact)
    wrong = finite & (single.astype(np.float64) != exact)
    if wrong.any():
        error = np.abs(single[wrong].astype(np.float64) - exact[wrong]) / np.abs(exact[wrong])
        findings.append(
            Finding(
                rule="double-to-float",
                problem="values that float32 cannot hold were rounded",
                node=where,
                got=f"{int(wrong.sum())} of {exact.size}, largest relative error {error.max():.3g}",
                severity=Severity.WARNING,
            )
        )
    return ir.tensor(single, name=tensor.name)


def _values(model: ir.Model, rounded: _Tensors) -> bool:
    """Retypes tensors. A type object may be shared with a clone of the model: it is replaced, not edited."""
    modified = False
    functions = [
        v for f in model.functions.values() for v in (*f.inputs, *(o for n in all_nodes(f) for o in n.outputs))
    ]
    for value in (*all_values(model.graph), *functions):
        single = _retyped(value.type)
        if single is not None:
            value.type, modified = single, True
        if value.const_value in rounded:
            value.const_value, modified = rounded[value.const_value], True
    return modified


def _retyped(kind: ir.TypeProtocol | None) -> ir.TypeProtocol | None:
    """The type with float in the place of double; None if there is no double in it."""
    match kind:
        case ir.TensorType() | ir.SparseTensorType():
            return type(kind)(_FLOAT, denotation=kind.denotation) if kind.dtype == _DOUBLE else None
        case ir.SequenceType() | ir.OptionalType():
            inner = _retyped(kind.elem_type)
            return None if inner is None else type(kind)(inner, denotation=kind.denotation)
        case _:
            return None


def _attributes(node: ir.Node, rounded: _Tensors) -> bool:
    modified = False
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor() in rounded:
            node.attributes[name] = ir.AttrTensor(name, rounded[attribute.as_tensor()])
            modified = True
        elif node.domain == "" and name in _TYPE_ATTRIBUTES and attribute.value == _DOUBLE.value:
            node.attributes[name] = ir.AttrInt64(name, _FLOAT.value)
            modified = True
        elif attribute.type == ir.AttributeType.TYPE_PROTO and (single := _retyped(attribute.value.type)) is not None:
            node.attributes[name] = ir.AttrTypeProto(name, ir.TypeAndShape(single, attribute.value.shape))
            modified = True
    return modified


def _foreign(model: ir.Model, node: ir.Node) -> Finding | None:
    """Whether an operator that we do not know follows the type of its inputs is its author's business."""
    known = node.domain in ("", DOMAIN) or node.op_identifier() in model.functions
    if known or not any(o.dtype == _DOUBLE for o in node.outputs):
        return None
    return Finding(
        rule="double-to-float",
        problem="an operator of unknown meaning may still make float64",
        node=label(node),
        hint="check that it follows the type of its inputs",
        severity=Severity.WARNING,
    )
