"""macs_expression: the multiply-accumulates of a model in terms of the dimensions that stay free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import onnx_ir as ir

from anybit.analysis.cost.layer import Layer
from anybit.cleanup.sizes.formula import Formula
from anybit.cleanup.sizes.model import sizes_of
from anybit.cleanup.sizes.symbolic import Shape, SymbolicSizes


def macs_expression(model: ir.Model, layers: Iterable[Layer]) -> str:
    """Sum of the multiply-accumulates of all layers, as Python writes it, such as "1024*T + 64*T**2".

    Args:
        model: A model whose constants are folded.
        layers: Its layers; some of them may have a number of products that is not known.

    Returns:
        Nothing where a layer's products do not follow from the free dimensions of the inputs.
    """
    sizes = sizes_of(model)
    total: list[Formula] = []
    for layer in layers:
        macs = _macs(layer, model.graph, sizes)
        if macs is None:
            return ""
        total.append(macs)
    return sizes.formulas.text(sizes.formulas.add(*total)) or ""


def _macs(layer: Layer, graph: ir.Graph, sizes: SymbolicSizes) -> Formula | None:
    if layer.products is not None:
        return Formula(sum(p.macs for p in layer.products))
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
