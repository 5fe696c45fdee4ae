"""FoldTranspose: transposed weight quantisers become quantisers of transposed weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.annotations import ANNOTATIONS
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.ops.calls import traits_of

TRANSPOSED = "/transposed"
"""What the name of a constant ends with that another one was transposed to."""
_LAYOUT = "tensor_layout"


@dataclass(frozen=True)
class FoldTranspose(ir.passes.InPlacePass):
    """Replaces the Transpose of a quantiser whose inputs are constant by a quantiser of transposed constants.

    Before: ``t = Transpose(Quant(w, s, z, b))``; after: ``t = Quant(w', s, z, b)`` with w' the transposed weights.
    Parameters of more than one element are laid out alike. Quantisers work element by element, so the result is the
    same bit for bit. One quantiser serves all Transposes of the same permutation; where the values before it are
    also used, their quantiser stays beside it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="fold-transpose") as edit:
            shared: dict[tuple[ir.Value, tuple[int, ...], str], ir.Value] = {}
            for node in edit.nodes("Transpose"):
                source = node.inputs[0]
                quantizer = None if source is None else source.producer()
                if source is None or quantizer is None or not _is_weight_quantizer(quantizer, model.opset_imports):
                    continue
                rank = _rank(quantizer)
                perm = tuple(node.attributes.get_ints("perm", range(rank)[::-1]))
                if sorted(perm) != list(range(rank)):
                    edit.leave(node, Refusal(problem="perm", got=str(perm), expected=f"an order of {rank} axes"))
                    continue
                _fold(edit, node, quantizer, perm, shared)
                edit.discard(source)
        return edit.result()


def _is_weight_quantizer(node: ir.Node, opset_imports: dict[str, int]) -> bool:
    if node.domain == "" or not traits_of(node, opset_imports).broadcasting:
        return False
    arrays = [constant(v) for v in node.inputs]
    rank = 0 if not arrays or arrays[0] is None else arrays[0].ndim
    return all(a is not None and (a.ndim <= rank or a.size == 1) for a in arrays) and bool(arrays)


def _rank(quantizer: ir.Node) -> int:
    weights = constant(quantizer.inputs[0])
    return 0 if weights is None else weights.ndim


def _fold(
    edit: Editor,
    node: ir.Node,
    quantizer: ir.Node,
    perm: tuple[int, ...],
    shared: dict[tuple[ir.Value, tuple[int, ...], str], ir.Value],
) -> None:
    output = node.outputs[0]
    # Two graph outputs keep their two names, and a subgraph makes its own outputs: those quantisers are not shared.
    key = (quantizer.outputs[0], perm, repr(sorted(output.meta.items())))
    is_output = output.is_graph_output()
    if key in shared and not is_output:
        edit.redirect(output, shared[key])
        edit.remove(node)
        return
    inputs = [_transposed(edit, v, perm, is_x=not k) for k, v in enumerate(quantizer.inputs)]
    value = edit.successor(output, "replaced")
    made = edit.node(quantizer.op_type, inputs, value, domain=quantizer.domain, attributes=dict(quantizer.attributes))
    _annotate(value, quantizer.outputs[0])
    edit.insert(made, before=node if is_output else quantizer)
    if not is_output:
        shared[key] = value
    edit.remove(node)


def _transposed(edit: Editor, value: ir.Value | None, perm: tuple[int, ...], *, is_x: bool) -> ir.Value | None:
    array = constant(value)
    if value is None or array is None or (array.size == 1 and not is_x):
        return value
    full: Array = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    made = edit.constant(f"{value.name}{TRANSPOSED}", np.ascontiguousarray(full.transpose(perm)))
    _annotate(made, value)
    return made


def _annotate(value: ir.Value, like: ir.Value) -> None:
    """What was stated of `like` holds of the value, but for the places of its axes."""
    stated = value.meta.get(ANNOTATIONS) or {}
    entries = {k: v for k, v in (like.meta.get(ANNOTATIONS) or {}).items() if k != _LAYOUT} | stated
    if entries:
        value.meta[ANNOTATIONS] = entries
