"""Placement: which tensors get a quantiser. Inputs of products, of sums of tensors, Concat and pooling; weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from anybit.errors import UnsupportedError
from anybit.graph.constants import constant
from anybit.graph.walk import all_nodes, label
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.ops.registry import QUANTIZERS
from anybit.ops.traits import MOVING
from anybit.quantization.layers import Layer, layers_of
from anybit.quantizers.clip_fusion import behind_bounds
from anybit.quantizers.quantizer import Quantizer, read_quant

POOLS = frozenset(("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "LpPool", "GlobalLpPool"))
_PRODUCTS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"))
_SUMS = frozenset(("Add", "Sub", "Sum", "Concat"))
_KEEPING = MOVING - {"Pad"}
_QUANTIZERS = frozenset(("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"))


@dataclass(frozen=True)
class Placement:
    """What is quantised.

    Attributes:
        layers: The products with constant weights, in order.
        activations: The tensors that get a quantiser, in order, with the node for whose sake each gets it.
        first: Layers that depend on no layer.
        last: Layers on which no layer depends.
    """

    layers: tuple[Layer, ...]
    activations: dict[ir.Value, ir.Node]
    first: frozenset[ir.Node]
    last: frozenset[ir.Node]


def place(model: ir.Model) -> Placement:
    """The weights and activations of a model that quantisers belong on.

    A tensor that only moves elements of one that is quantised (Reshape, Transpose, MaxPool, Split...) gets none of its
    own. What a quantiser of the model made already, and what subgraphs compute, stays as it is.
    """
    layers = [layer for node in model.graph for layer in layers_of(node)]
    wanted: dict[ir.Value, ir.Node] = {}
    for node in model.graph:
        for value in read_through_quantizers(node):
            wanted.setdefault(value, node)
    on_grid: set[ir.Value] = set()
    placed: dict[ir.Value, ir.Node] = {}
    for value in [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]:
        if _is_on_grid(value, on_grid, model):
            on_grid.add(value)
        elif value in wanted:
            on_grid.add(value)
            placed[value] = wanted[value]
    first, last = _ends(model, {layer.node for layer in layers})
    return Placement(tuple(layers), placed, first, last)


def read_through_quantizers(node: ir.Node) -> Iterator[ir.Value]:
    """The computed tensors that a node reads and that get a quantiser for its sake."""
    if node.domain != "":
        return
    if _is_product(node):
        yield from (v for v in node.inputs[:2] if v is not None and _is_float_activation(v))
    elif node.op_type in POOLS:
        yield from (v for v in node.inputs[:1] if v is not None and _is_float_activation(v))
    elif node.op_type in _SUMS:
        moving = [v for v in node.inputs if v is not None and _is_float_activation(v)]
        if len(moving) > 1:
            yield from moving


def nothing_to_quantize(model: ir.Model) -> UnsupportedError:
    """The error for a model in which nothing can be quantised, which says why."""
    inner = [node for node in all_nodes(model.graph) if node.graph is not model.graph and _is_product(node)]
    if inner:
        got, hint = f"its products are in branches or loops, as {label(inner[0])}", "take the branch out that is meant"
    elif any(is_call(node, *QUANTIZERS) for node in all_nodes(model.graph)):
        got, hint = "its products are quantised already", "requantize takes quantisers out first"
    elif any(_is_product(node) for node in model.graph):
        got, hint = "its products have no constant weights and read no tensors of float32", ""
    else:
        got, hint = "no product", ""
    return UnsupportedError("nothing to quantise", got=got, expected="products with constant float weights", hint=hint)


def _is_product(node: ir.Node) -> bool:
    """Whether weights of the node could be quantised if they are constant."""
    return node.domain == "" and node.op_type in _PRODUCTS


def _is_float_activation(value: ir.Value) -> bool:
    if value.is_initializer() or constant(value) is not None:
        return False
    return value.dtype in (ir.DataType.FLOAT, None)


def _is_on_grid(value: ir.Value, on_grid: set[ir.Value], model: ir.Model) -> bool:
    """Whether a quantiser of the model makes the tensor, or a node that only moves elements of one on a grid."""
    node = value.producer()
    if node is None:
        return False
    if node.domain == "" and node.op_type in _KEEPING:
        return node.inputs[0] in on_grid
    if is_call(node, *QUANTIZERS) or (node.domain == "" and node.op_type in _QUANTIZERS):
        return True
    return node.domain == "" and node.op_type == "Clip" and _bounds_a_quantizer(node, model)


def _bounds_a_quantizer(clip: ir.Node, model: ir.Model) -> bool:
    """Whether a Clip is what gives the quantiser in front of it bounds of no bit width."""
    maker = None if clip.inputs[0] is None else clip.inputs[0].producer()
    if maker is None or not is_call(maker, QUANT):
        return False
    quantizer = read_quant(maker, model)
    return isinstance(quantizer, Quantizer) and behind_bounds(maker, quantizer)[0] is clip


def _ends(model: ir.Model, nodes: set[ir.Node]) -> tuple[frozenset[ir.Node], frozenset[ir.Node]]:
    behind: set[ir.Value] = set()
    first: set[ir.Node] = set()
    for node in model.graph:
        depends = any(v in behind for v in node.inputs)
        if node in nodes and not depends:
            first.add(node)
        if depends or node in nodes:
            behind.update(node.outputs)
    before: set[ir.Value] = set()
    last: set[ir.Node] = set()
    for node in reversed(list(model.graph)):
        needed = any(v in before for v in node.outputs)
        if node in nodes and not needed:
            last.add(node)
        if needed or node in nodes:
            before.update(v for v in node.inputs if v is not None)
    return frozenset(first), frozenset(last)
