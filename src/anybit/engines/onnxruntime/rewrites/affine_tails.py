"""Affine tails: constant factors and offsets between the last product and an output go into its weights.

    ((x @ w) * a + b) * c ... = x @ (w * factor) + offset

Results move by no more than sums in another order do. Products that a quantiser follows are left alone: there a sum
next to a tie must not move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import as_float64
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import shape_of

Column = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Tail:
    """y = x * factor + offset, by column; `centre` is the largest number that is added to x itself.

    What is multiplied first is rounded there; x may be exact, and what is left of it when a large centre is taken away
    would be lost in the rounded offset.
    """

    nodes: tuple[ir.Node, ...]
    factor: Column
    offset: Column
    centre: float

    @property
    def end(self) -> ir.Value:
        return self.nodes[-1].outputs[0]


def fold_affine_tails(model: ir.Model) -> None:
    """Folds Add, Sub, Mul and Div by constants that alone stand between a MatMul of constant weights and an output.

    Identities between them change nothing: a result does not depend on them.

    Args:
        model: Model whose constants are folded; changed in place.
    """
    with Editor(model, rule="tails") as edit:
        for node in [v.producer() for v in model.graph.outputs]:
            product = _product_before(node)
            weights = None if product is None else constant(product.inputs[1])
            if product is None or weights is None or weights.ndim != 2 or weights.dtype != np.float32:
                continue
            tail = _tail(product, weights.shape[1])
            if tail is not None and tail.centre <= np.abs(weights).sum(axis=0).max(initial=0):
                _fold(product, weights, tail, edit)


def _product_before(node: ir.Node | None) -> ir.Node | None:
    """The MatMul at the begin of a chain of arithmetic with constants."""
    while node is not None and node.domain == "" and node.op_type in ("Add", "Div", "Identity", "Mul", "Sub"):
        varying = [v for v in node.inputs if constant(v) is None]
        node = varying[0].producer() if len(varying) == 1 and varying[0] is not None else None
    return node if node is not None and node.domain == "" and node.op_type == "MatMul" else None


def _tail(product: ir.Node, columns: int) -> _Tail | None:
    nodes: list[ir.Node] = []
    factor, offset, centre = np.ones(columns), np.zeros(columns), 0.0
    value = product.outputs[0]
    rank = len(shape_of(value) or ())
    while not value.is_graph_output():
        users = list(value.uses())
        if len(users) != 1:
            return None
        node, place = users[0]
        if node.domain == "" and node.op_type == "Identity":
            nodes.append(node)
            value = node.outputs[0]
            continue
        number = _by_column(node.inputs[1 - place], columns, rank) if len(node.inputs) == 2 else None
        if number is None or (place == 1 and node.op_type not in ("Add", "Mul")):
            return None
        match node.op_type:
            case "Add" | "Sub":
                added = number if node.op_type == "Add" else -number
                centre = centre or float((factor == 1).all() and np.abs(added).max(initial=0))
                offset = offset + added
            case "Mul" | "Div":
                by = number if node.op_type == "Mul" else 1 / number if number.all() else np.full(columns, np.nan)
                factor, offset = factor * by, offset * by
            case _:
                return None
        nodes.append(node)
        value = node.outputs[0]
    if value.uses():
        return None
    arithmetic = sum(n.op_type != "Identity" for n in nodes)
    if arithmetic < 2 or not np.isfinite([*factor, *offset]).all():  # a single Add is the bias of a Gemm as it is
        return None
    return _Tail(tuple(nodes), factor, offset, centre)


def _by_column(value: ir.Value | None, columns: int, rank: int) -> Column | None:
    """A constant as one number for each column, None if it is not that."""
    array = constant(value)
    if array is None or array.dtype != np.float32 or array.ndim > rank:
        return None
    if array.size != 1 and not (array.size == columns == array.shape[-1]):
        return None
    return np.broadcast_to(as_float64(array.reshape(-1)), (columns,))


def _fold(product: ir.Node, weights: npt.NDArray[np.float32], tail: _Tail, edit: Editor) -> None:
    end, name = tail.end, str(product.outputs[0].name)
    scaled = edit.constant(f"{name}/weights", (weights * tail.factor).astype(np.float32))
    offset = edit.constant(f"{name}/offset", tail.offset.astype(np.float32))
    matmul = edit.node("MatMul", [product.inputs[0], scaled], f"{name}/product", like=product.outputs[0])
    add = edit.node("Add", [matmul.outputs[0], offset], f"{name}/sum", like=end)
    edit.replace(end, [matmul, add], before=product)
    for node in (*reversed(tail.nodes), product):
        edit.remove(node)
