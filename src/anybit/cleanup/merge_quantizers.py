"""MergeQuantizers: equal quantisers one behind the other, or side by side, become one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array, as_float64
from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.graph.annotations import ANNOTATIONS
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.grid import Grid
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.operator import Operator, widened
from anybit.ops.quant import QUANT
from anybit.ops.registry import QUANTIZERS
from anybit.ops.zero_sign import refusal_where_told, tensors_of_told_zeros

_MOST_BITS = 16  # all values of a grid are tried
_MOST_VALUES = 1 << 22  # over all channels: a second of work
_Key = tuple[Hashable, ...]


@dataclass(frozen=True)
class MergeQuantizers(ir.passes.InPlacePass):
    """Merges quantisers that are equal: same operator, attributes and parameters.

    Before: ``y = Quant(Quant(x, p), p)``; after: ``y = Quant(x, p)``. It depends on rounding whether a quantiser
    leaves its own results alone (0.7, say, may not be 7 steps of 0.1), so that each is tried: every value of the
    grid, for each distinct scale, zero point and bit width, must come out as it went in. Of -0 the second one makes +0:
    both stay where a later operator tells them apart.

    Before: ``y = Quant(x, p); z = Quant(x, p)``; after: ``y = Quant(x, p)``, which also takes the uses of z. They
    must stand in the same graph and have the same annotations.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="merge-quantizers") as edit:
            nodes = [n for n in all_nodes(model.graph) if is_call(n, *QUANTIZERS) and len(n.outputs) == 1]
            infer_missing(model, [n.inputs[0] for n in nodes if _follows_its_like(n)])
            known: dict[ir.Node, _Key] = {}
            first: dict[_Key, ir.Value] = {}
            told = tensors_of_told_zeros(model) if nodes else {}
            for node in nodes:
                operator = operator_of(node, model.opset_imports)
                if operator is None or not node.inputs or node.inputs[0] is None:
                    continue
                known[node] = _key(node, operator)
                kept = self._kept(node, operator, known, first)
                refusal = _conflict(node, kept, told) if isinstance(kept, ir.Value) else kept
                if isinstance(kept, ir.Value) and refusal is None:
                    _merge(edit, node, kept)
                elif refusal is not None:
                    edit.leave(node, refusal)
        return edit.result()

    def _kept(
        self,
        node: ir.Node,
        operator: Operator,
        known: Mapping[ir.Node, _Key],
        first: dict[_Key, ir.Value],
    ) -> ir.Value | Refusal | None:
        """The tensor that can stand for the node's output, or why none can; None where nothing equal is around."""
        x, output = node.inputs[0], node.outputs[0]
        source = None if x is None else x.producer()
        refusal = None
        if x is not None and source is not None and known.get(source) == known[node]:
            refusal = _idempotence(source, operator)
            if refusal is None:
                return x
        annotations = repr(sorted((output.meta.get(ANNOTATIONS) or {}).items()))
        kept = first.setdefault((node.graph, x, annotations, known[node]), output)
        return refusal if kept is output else kept


def _follows_its_like(node: ir.Node) -> bool:
    source = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return source is not None and source.op_type == node.op_type


def _key(node: ir.Node, operator: Operator) -> _Key:
    """Equal for nodes that do the same to the same X."""
    attributes = sorted(call_of(node, operator).attributes.items())
    return (operator.name, operator.since, tuple(attributes), *(_parameter(v) for v in node.inputs[1:]))


def _parameter(value: ir.Value | None) -> Hashable:
    array = constant(value)
    if array is None or array.dtype.kind not in "fiu":
        return value
    numbers = as_float64(array)
    return ((), numbers.tobytes()) if array.size == 1 else (array.shape, numbers.tobytes())


def _conflict(node: ir.Node, kept: ir.Value, told: Mapping[ir.Value, ir.Node]) -> Refusal | None:
    old = node.outputs[0]
    refusal = refusal_where_told(old, told) if kept is node.inputs[0] and not is_call(node, BIPOLAR_QUANT) else None
    if refusal is not None:
        return refusal
    stated, other = ((v.meta.get(ANNOTATIONS) or {}) for v in (old, kept))
    if any(other.get(key, text) != text for key, text in stated.items()):
        return Refusal(problem="the results of two equal quantisers are annotated differently", got=str(stated))
    if old.is_graph_output() and (kept.is_graph_output() or kept.graph is not old.graph):
        return Refusal(problem="the results of two equal quantisers are both outputs", expected="one name for both")
    return None


def _merge(edit: Editor, node: ir.Node, kept: ir.Value) -> None:
    old = node.outputs[0]
    meta = {**(old.meta.get(ANNOTATIONS) or {}), **(kept.meta.get(ANNOTATIONS) or {})}
    if old.is_graph_output():
        edit.replace(old, kept)
    else:
        edit.redirect(old, kept)
    if meta:
        kept.meta[ANNOTATIONS] = meta
    edit.remove(node)


def _idempotence(node: ir.Node, operator: Operator) -> Refusal | None:
    """None if the quantiser leaves every value that it can produce as it is."""
    x = node.inputs[0]
    parameters = [constant(v) for v in node.inputs[1:]]
    if x is None or x.dtype is None or any(p is None or not p.size for p in parameters):
        return Refusal(problem="two equal quantisers: type or parameters are not known", expected="constant parameters")
    attributes = call_of(node, operator).attributes
    rows = np.stack([p.ravel() for p in np.broadcast_arrays(*(as_float64(p) for p in parameters if p is not None))])
    values = 0
    for row in np.unique(rows, axis=1).T:
        own = [np.asarray(v, p.dtype) for v, p in zip(row, parameters, strict=True) if p is not None]
        y = _grid(operator, own, attributes, x.dtype.numpy())
        values += 0 if isinstance(y, Refusal) else y.size
        if isinstance(y, Refusal) or values > _MOST_VALUES:
            return y if isinstance(y, Refusal) else Refusal(problem="two equal quantisers: too many values to try")
        if not np.array_equal(operator.evaluate([y, *own], attributes), y, equal_nan=True):
            return Refusal(
                problem="the second of two equal quantisers moves values of the grid", got=f"scale {row[0]:g}"
            )
    return None


def _grid(
    operator: Operator, parameters: list[Array], attributes: Mapping[str, Any], dtype: np.dtype[Any]
) -> Array | Refusal:
    """Every value that the quantiser can produce from inputs of this type, but NaN, which stays."""
    scale, *rest = (p.astype(widened(np.zeros((), dtype)).dtype) for p in parameters)
    if operator is BIPOLAR_QUANT:
        return np.stack([-scale, scale]).astype(dtype)
    if operator is not QUANT:
        return Refusal(problem="two equal quantisers: their values are not enumerated", got=operator.name)
    bits = float(rest[1])
    if not (bits.is_integer() and 1 <= bits <= _MOST_BITS):
        return Refusal(problem="two equal quantisers: bit width", got=f"{bits:g}", expected=f"1 .. {_MOST_BITS}")
    grid = Grid(int(bits), signed=bool(attributes["signed"]), narrow=bool(attributes["narrow"]))
    with np.errstate(over="ignore"):
        return ((np.array(grid.values, scale.dtype) - rest[0]) * scale).astype(dtype)
