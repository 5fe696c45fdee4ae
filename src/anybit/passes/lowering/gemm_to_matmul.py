"""GemmToMatMul: Gemm as MatMul, Mul and Add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.graph.annotations import annotate_layout
from anybit.graph.constants import constant
from anybit.graph.editor import Editor

_Factors = tuple[Array | None, Array | None]


@dataclass(frozen=True)
class GemmToMatMul(ir.passes.InPlacePass):
    """Replaces Gemm by MatMul, with Transpose, Mul and Add where it transposes, scales and adds.

    Before: ``y = Gemm(a, b, c, alpha=2, beta=4, transB=1)``;
    after: ``y = Add(Mul(MatMul(a, Transpose(b)), 2), Mul(c, 4))``. Factors of 1 leave no node. A constant operand is
    transposed now, and a constant C is multiplied now where beta is a power of two; a Transpose of a quantiser is
    left to FoldTranspose. The result is the same in real arithmetic; in floating point each step rounds.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="gemm-to-matmul") as edit:
            nodes = edit.nodes("Gemm")
            edit.require_broadcasting(nodes)
            infer_missing(model, [n.inputs[0] for n in nodes])
            transposed: dict[ir.Value, ir.Value] = {}
            for node in nodes:
                factors = _factors(node)
                if isinstance(factors, Refusal):
                    edit.leave(node, factors)
                    continue
                _rewrite(edit, node, factors, transposed)
        return edit.result()


def _factors(node: ir.Node) -> _Factors | Refusal:
    """alpha and beta in the element type, None where it is 1."""
    given = {n: float(np.float32(node.attributes.get_float(n, 1.0))) for n in ("alpha", "beta")}
    if len(node.inputs) < 3 or node.inputs[2] is None:
        given["beta"] = 1.0
    if all(v == 1 for v in given.values()):
        return None, None
    dtype = next((v.dtype for v in (*node.inputs, *node.outputs) if v is not None and v.dtype is not None), None)
    if dtype is None or dtype.numpy().kind != "f":
        return Refusal(problem="factors of a product that is not float", got=str(dtype), expected="alpha = beta = 1")
    factors = [np.asarray(v, dtype.numpy()) for v in given.values()]
    for (name, value), factor in zip(given.items(), factors, strict=True):
        if float(factor) != value:
            return Refusal(problem=f"{name} is not a number of type {dtype}", got=f"{value:g}")
    alpha, beta = (None if f == 1 else f for f in factors)
    return alpha, beta


def _rewrite(edit: Editor, node: ir.Node, factors: _Factors, transposed: dict[ir.Value, ir.Value]) -> None:
    alpha, beta = factors
    addend = node.inputs[2] if len(node.inputs) > 2 else None
    for position, name in enumerate(("transA", "transB")):
        if node.attributes.get_int(name, 0):
            _transpose(edit, node, position, transposed)
    edit.touch()
    node.resize_inputs(2)
    node.attributes.clear()
    node.op_type = "MatMul"
    last = node
    if alpha is not None:
        last = _behind(edit, last, "Mul", edit.constant(f"{node.outputs[0].name}/alpha", alpha), "product")
    if addend is None:
        return
    if beta is not None:
        addend = _scaled(edit, node, addend, beta)
    _behind(edit, last, "Add", addend, "scaled" if alpha is not None else "product")


def _behind(edit: Editor, node: ir.Node, op_type: str, operand: ir.Value, suffix: str) -> ir.Node:
    value = node.outputs[0]
    made = edit.node(op_type, [value, operand], edit.successor(value, suffix))
    edit.insert(made, after=node)
    return made


def _transpose(edit: Editor, node: ir.Node, position: int, transposed: dict[ir.Value, ir.Value]) -> None:
    value = node.inputs[position]
    if value is None:
        return
    array, name = constant(value), f"{value.name}/transposed"
    if array is None:
        made = edit.node("Transpose", [value], name, attributes={"perm": ir.AttrInt64s("perm", [1, 0])})
        made.outputs[0].type = value.type
        made.outputs[0].shape = None if value.shape is None else ir.Shape(list(value.shape)[::-1])
        edit.insert(made, before=node)
        result = made.outputs[0]
    elif value in transposed:
        result = transposed[value]
    else:
        result = transposed[value] = edit.constant(name, np.ascontiguousarray(array.T))
    result.meta.update(value.meta)
    if value.meta:
        annotate_layout(result, None)
    edit.rewire(node, position, result)


def _scaled(edit: Editor, node: ir.Node, addend: ir.Value, beta: Array) -> ir.Value:
    """beta * C: a constant where no element is rounded, else a node."""
    array, name = constant(addend), f"{addend.name}/times_beta"
    if array is not None and abs(np.frexp(beta)[0]) == 0.5:
        with np.errstate(all="ignore"):
            product = (array * beta).astype(array.dtype)
            exact = bool((product / beta == array).all() and np.isfinite(product).all())
        if exact:
            value = edit.constant(name, product, like=addend)
            edit.discard(addend)
            return value
    made = edit.node("Mul", [addend, edit.constant(f"{node.outputs[0].name}/beta", beta)], name, like=addend)
    edit.insert(made, before=node)
    return made.outputs[0]
