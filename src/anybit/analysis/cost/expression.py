"""expressions_of: the multiply-accumulates and bit operations of a model in terms of the dimensions that stay free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.cost.layer import Layer
from anybit.cleanup.sizes.formula import Formula
from anybit.cleanup.sizes.model import sizes_of
from anybit.cleanup.sizes.symbolic import Shape, SymbolicSizes


@dataclass(frozen=True)
class Expressions:
    """Sums over all layers, as Python writes them, such as "1024*T + 64*T**2"; empty where one is not known.

    Attributes:
        macs: Multiply-accumulates.
        bit_operations: Each times the bits of both of its operands.
    """

    macs: str = ""
    bit_operations: str = ""


def expressions_of(model: ir.Model, layers: Iterable[Layer]) -> Expressions:
    """What the layers of a model cost in terms of the free dimensions of its inputs.

    Args:
        model: A model whose constants are folded.
        layers: Its layers; some of them may have a number of products that is not known.

    Returns:
        Nothing where a layer's products do not follow from the free dimensions of the inputs.
    """
    sizes = sizes_of(model)
    macs: list[Formula] = []
    bit_operations: list[Formula] = []
    for layer in layers:
        found = _costs(layer, model.graph, sizes)
        if found is None:
            return Expressions()
        macs.append(found[0])
        bit_operations.append(found[1])
    return Expressions(*(sizes.formulas.text(sizes.formulas.add(*total)) or "" for total in (macs, bit_operations)))


def _costs(layer: Layer, graph: ir.Graph, sizes: SymbolicSizes) -> tuple[Formula, Formula] | None:
    """Multiply-accumulates and bit operations of a layer."""
    if layer.products is not None:
        products = [(p.macs, p.macs * p.formats[0].bits * p.formats[1].bits) for p in layer.products]
        return Formula(sum(macs for macs, _ in products)), Formula(sum(bits for _, bits in products))
    macs = _macs(layer, graph, sizes)
    if macs is None or layer.formats is None:
        return None
    left, right = layer.formats
    return macs, macs * Formula(left.bits * right.bits)


def _macs(layer: Layer, graph: ir.Graph, sizes: SymbolicSizes) -> Formula | None:
    node = layer.node
    rule = _RULES.get(node.op_type) if node.domain == "" and node.graph is graph else None
    if rule is None or not node.outputs:
        return None
    result = sizes.shape(node.outputs[0])
    factors = None if result is None else rule(node, [sizes.shape(v) for v in node.inputs], result)
    return None if factors is None else sizes.formulas.product(factors)


_Rule = Callable[[ir.Node, list[Shape | None], Shape], Iterable[Formula] | None]


def _conv(weights: int) -> _Rule:
    """N * output positions * elements of W."""

    def factors(_: ir.Node, shapes: list[Shape | None], result: Shape) -> Iterable[Formula] | None:
        w = shapes[weights]
        return None if w is None else (*result[:1], *result[2:], *w)

    return factors


def _conv_transpose(_: ir.Node, shapes: list[Shape | None], result: Shape) -> Iterable[Formula] | None:
    """N * input positions * elements of W."""
    x, w = shapes[:2]
    return None if x is None or w is None or len(result) != len(x) else (*x[:1], *x[2:], *w)


def _mat_mul(_: ir.Node, shapes: list[Shape | None], result: Shape) -> Iterable[Formula] | None:
    """Elements of the result * inner size."""
    left = shapes[0]
    return (*result, left[-1]) if left else None


def _gemm(node: ir.Node, shapes: list[Shape | None], result: Shape) -> Iterable[Formula] | None:
    left = shapes[0]
    if left is None or len(left) != 2:
        return None
    return (*result, left[0 if node.attributes.get_int("transA", 0) else 1])


_RULES: Mapping[str, _Rule] = {
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _conv_transpose,
    "MatMul": _mat_mul,
    "MatMulInteger": _mat_mul,
    "QLinearMatMul": _mat_mul,
    "Gemm": _gemm,
}
