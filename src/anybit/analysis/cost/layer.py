"""read_layer: what one node multiplies, by number formats, and the tensors that it keeps in memory for it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.cost.macs import Contraction, Uncountable, contractions, known_shape, operands_of
from anybit.analysis.cost.operand import Operand, element_format
from anybit.arrays import Array
from anybit.graph.constants import constant
from anybit.number_formats import NumberFormat

Operands = Mapping[ir.Node, Sequence[Operand | None]]
"""By node, its inputs as they were before constants were folded."""

_WIDE = frozenset((ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING))


@dataclass(frozen=True)
class Products:
    """Products of two formats that one node adds up.

    Attributes:
        formats: Formats of activation and weight; as they stand in the node where both are activations.
        macs: Their number.
        nonzero: Their number without those of a weight that is 0.
        terms: Products in one sum, at most.
    """

    formats: tuple[NumberFormat, NumberFormat]
    macs: int
    nonzero: int
    terms: int


@dataclass(frozen=True)
class Stored:
    """A tensor that has to be kept in memory; equal keys are one tensor.

    Attributes:
        key: Identity of the tensor.
        bits: Bits of one element.
        elements: Their number, None if it is not known.
        nonzero: Those that are not 0, where that is known.
    """

    key: Hashable
    bits: int
    elements: int | None
    nonzero: int | None


@dataclass(frozen=True)
class Layer:
    """One node that multiplies, or that reads weights.

    Attributes:
        node: The node.
        products: What it multiplies and adds up; None where that is not known.
        weights: Constants among its operands; None where these are not known.
        activations: The other operands; None likewise.
        formats: Formats of its two operands, where what it multiplies is not known and these are.
    """

    node: ir.Node
    products: tuple[Products, ...] | None
    weights: tuple[Stored, ...] | None
    activations: tuple[Stored, ...] | None
    formats: tuple[NumberFormat, NumberFormat] | None = None


def read_layer(node: ir.Node, operands: Sequence[Operand | None]) -> Layer | None:
    """The layer that a node is, None where it neither multiplies tensors nor reads weights.

    Raises:
        Uncountable: What it multiplies is not known; see `open_layer`.
    """
    known = contractions(node)
    if known is not None:
        weights, activations = _stored(node, operands, operands_of(node) or (), known)
        return Layer(node, tuple(_products(node, c, operands) for c in known), weights, activations)
    return Layer(node, (), *_stored(node, operands, (0,))) if _is_lookup(node) else None


def reads_weights(node: ir.Node) -> bool:
    """Whether a node's operator is one whose operands matter to its cost."""
    return operands_of(node) is not None or (node.domain == "" and node.op_type == "Gather")


def open_layer(node: ir.Node, operands: Sequence[Operand | None]) -> Layer:
    """A layer whose products are not known; its weights may be."""
    indices = operands_of(node)
    if indices is None or not node.outputs:
        return Layer(node, None, None, None)
    left, right = (_format(node, i, operands) for i in (*indices, None)[:2])
    return Layer(node, None, *_stored(node, operands, indices), (left, right))


def _is_lookup(node: ir.Node) -> bool:
    """Whether a node reads rows of a constant table, an embedding."""
    table = node.inputs[0] if node.op_type == "Gather" else None
    return table is not None and table.dtype not in _WIDE and constant(table) is not None


def _products(node: ir.Node, contraction: Contraction, operands: Sequence[Operand | None]) -> Products:
    indices = (contraction.left, contraction.right)
    formats = [_format(node, i, operands) for i in indices]
    arrays = [None if i is None else constant(node.inputs[i]) for i in indices]
    if arrays[0] is not None and arrays[1] is None:
        formats.reverse()
    nonzero = contraction.macs
    for index, array in zip(indices, arrays, strict=True):
        if index is not None and array is not None and array.size:
            nonzero = min(nonzero, contraction.macs // array.size * _nonzero(node, index, array, contraction))
    return Products((formats[0], formats[1]), contraction.macs, nonzero, contraction.terms)


def _format(node: ir.Node, index: int | None, operands: Sequence[Operand | None]) -> NumberFormat:
    operand = None if index is None or index >= len(operands) else operands[index]
    return element_format(node.outputs[0].dtype) if operand is None else operand.format


def _nonzero(node: ir.Node, index: int, array: Array, contraction: Contraction | None) -> int:
    """Elements that are not 0, or not the zero point where the operator takes one off."""
    zero_index, following = (None, 0) if contraction is None else contraction.zero_points.get(index, (None, 0))
    value = node.inputs[zero_index] if zero_index is not None and zero_index < len(node.inputs) else None
    if value is None:
        return int(np.count_nonzero(array))
    zero_point = constant(value)
    if zero_point is None:
        return array.size
    aligned = zero_point.reshape(-1, *(1,) * following) if zero_point.ndim == 1 else zero_point
    try:
        return int(np.count_nonzero(array != np.broadcast_to(aligned, array.shape)))
    except ValueError:
        return array.size  # `check` says what is wrong with it


def _stored(
    node: ir.Node, operands: Sequence[Operand | None], indices: Sequence[int], known: Sequence[Contraction] = ()
) -> tuple[tuple[Stored, ...], tuple[Stored, ...]]:
    """The operands of a node that are constant, and those that are not."""
    weights: list[Stored] = []
    activations: list[Stored] = []
    for index in indices:
        operand = operands[index] if index < len(operands) else None
        value = node.inputs[index] if index < len(node.inputs) else None
        if operand is None or value is None:
            continue
        array = constant(value)
        if array is None:
            activations.append(Stored(operand.stored, operand.format.bits, _elements(value), None))
            continue
        contraction = next((c for c in known if index in (c.left, c.right)), None)
        nonzero = _nonzero(node, index, array, contraction)
        weights.append(Stored(operand.constant, operand.format.bits, array.size, nonzero))
    return tuple(weights), tuple(activations)


def _elements(value: ir.Value) -> int | None:
    try:
        return int(np.prod(known_shape(value, what="tensor"), dtype=object))
    except Uncountable:
        return None
