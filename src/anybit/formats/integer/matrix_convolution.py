"""rows_of: a convolution of one tap over rows is how a matrix product with a bias is written; back to that product."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from anybit.formats.integer.products import Product
from anybit.graph.walk import shape_of


@dataclass(frozen=True)
class Rows:
    """y = x @ weights, x being what is reshaped to (rows, terms, 1, 1), y what the result is reshaped to."""

    x: ir.Value
    y: ir.Value
    product: Product


def rows_of(product: Product) -> Rows | None:
    """The matrix product that a convolution between two Reshape nodes is; None if it is none."""
    before = None if product.node.inputs[0] is None else product.node.inputs[0].producer()
    readers = list(product.node.outputs[0].uses())
    if not product.is_conv or before is None or before.op_type != "Reshape" or len(readers) != 1:
        return None
    behind = readers[0][0]
    if behind.op_type != "Reshape" or product.node.outputs[0].is_graph_output() or not _is_matrix(product):
        return None
    x, y = before.inputs[0], behind.outputs[0]
    middle = shape_of(before.outputs[0])
    own, result = (None if v is None else shape_of(v) for v in (x, y))
    channels, terms = product.weights.shape[:2]
    if x is None or own is None or result is None or middle is None or middle[1:] != (terms, 1, 1):
        return None
    same = own[:-1] == result[:-1] and sum(d is None for d in own) <= 1
    if not same or own[-1] != terms or result[-1] != channels:
        return None
    weights = product.weights.reshape(channels, terms).T
    return Rows(x, y, replace(product, weights=weights, is_conv=False))


def _is_matrix(product: Product) -> bool:
    """Whether the kernel has one tap, of one group, and meets no padding."""
    attributes = product.node.attributes
    lists = [attributes[name].as_ints() for name in ("pads",) if name in attributes]
    plain = attributes.get_int("group", 1) == 1 and "auto_pad" not in attributes and not any(map(any, lists))
    return plain and product.weights.shape[2:] == (1, 1)
