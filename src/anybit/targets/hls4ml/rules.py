"""What hls4ml 1.3 takes and computes, operator by operator; all that is not listed is refused.

Each rule yields the findings about one node of a prepared model. Found by running it on models of one feature each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from anybit.errors import Finding, Refusal, Severity
from anybit.graph.constants import constant
from anybit.graph.walk import label, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import Quantizer, read_quant
from anybit.rounding import Rounding
from anybit.targets.hls4ml.repairs import PRODUCTS, split
from anybit.targets.hls4ml.rewrites.quantizers import is_fixed_point

Findings = Iterator[Finding]
_SLOPE_BITS = 8  # in which hls4ml keeps the slope of LeakyRelu
_MOST_BITS = 32


def quant(node: ir.Node, model: ir.Model) -> Findings:
    """A conversion to ap_fixed, of an activation or of the weights of a product."""
    quantizer = read_quant(node, model)
    if isinstance(quantizer, Refusal):
        yield _finding("quantizer", node, quantizer.problem, got=quantizer.got, expected=quantizer.expected)
        return
    yield from _grid(node, quantizer)
    users = [user for user, position in node.outputs[0].uses() if user.op_type in PRODUCTS and position == 1]
    if constant(node.inputs[0]) is not None and len(users) != 1:
        yield _finding("constant", node, "a quantised constant that is not the weights of one product")


def _grid(node: ir.Node, quantizer: Quantizer) -> Findings:
    grid = quantizer.grid
    if grid is None or grid.bits > _MOST_BITS:
        got = "none" if grid is None else str(grid.bits)
        yield _finding("bit-width", node, "bit width", got=got, expected=f"at most {_MOST_BITS}")
    if quantizer.is_bipolar:
        if not is_call(node, BIPOLAR_QUANT) or (quantizer.scale != 1).any():
            yield _finding("scale", node, "a bipolar grid", expected="BipolarQuant of scale 1")
        return
    weights = constant(node.inputs[0]) is not None
    if quantizer.rounding not in (Rounding.ROUND, Rounding.FLOOR) and not weights:
        hint = "FLOOR and ROUND are what ap_fixed has"
        yield _finding(
            "rounding", node, "rounding mode", got=quantizer.rounding.value, expected="ROUND, FLOOR", hint=hint
        )
    if grid is not None and grid.narrow and not grid.signed:
        hint = "ap_fixed gives up an integer of a signed grid only"
        yield _finding("narrow", node, "a narrow grid without sign", got=f"0 .. {grid.hi}", hint=hint)
    if not is_fixed_point(quantizer):
        yield _finding("scale", node, "scale or zero point", expected="one power of two, zero point 0")


def product(node: ir.Node, model: ir.Model) -> Findings:
    """MatMul of rows with constant weights, or channels-last Conv with them."""
    del model
    weights = node.inputs[1]
    maker = None if weights is None else weights.producer()
    source = weights if maker is None or not is_call(maker, QUANT) else maker.inputs[0]
    array = constant(source)
    if constant(node.inputs[0]) is not None or array is None:
        hint = "hls4ml multiplies by weights only"
        yield _finding("weights", node, "an operand", expected="data first, constant weights second", hint=hint)
        return
    if maker is None:
        problem = "its weights are no integers: hls4ml rounds them to the precision of the project"
        hint = "quantise them, with one scale for each output channel"
        yield _finding("float-weights", node, problem, hint=hint, severity=Severity.WARNING)
    if not array.any():
        hint = "take the layer out of the network"
        yield _finding(
            "zero-weights", node, "all weights of a product are 0, and hls4ml makes no sum of none", hint=hint
        )
    yield from _conv(node, array.shape) if node.op_type == "Conv" else _matmul(node, array.ndim)


def _matmul(node: ir.Node, rank: int) -> Findings:
    x = None if node.inputs[0] is None else shape_of(node.inputs[0])
    if x is None or len(x) != 2 or rank != 2:
        yield _finding("shape", node, "shape of the operands", got=f"{x} and rank {rank}", expected="(1, K) and (K, M)")


def _conv(node: ir.Node, weights: tuple[int, ...]) -> Findings:
    if node.domain != CHANNELS_LAST or len(weights) != 4:
        got = f"{node.domain or 'the standard'}, {len(weights) - 2} spatial axes"
        yield _finding("layout", node, "a convolution", got=got, expected="channels last, two spatial axes")
        return
    group, attributes = node.attributes.get_int("group", 1), node.attributes
    if group != 1 and (group != weights[0] or weights[-1] != 1):
        yield _finding("groups", node, "groups", got=str(group), expected="1, or depthwise")
    if set(attributes.get_ints("dilations", ())) != {1}:
        yield _finding("dilation", node, "dilations", got=str(list(attributes.get_ints("dilations", ()))), expected="1")
    missing = [n for n in ("kernel_shape", "strides", "pads") if n not in attributes]
    if missing or "auto_pad" in attributes or len(node.inputs) > 2:
        yield _finding("window", node, "its window", expected="kernel_shape, strides, pads written out; no bias")


def max_pool(node: ir.Node, model: ir.Model) -> Findings:
    """Channels-last MaxPool of two spatial axes."""
    del model
    if node.domain != CHANNELS_LAST or len(node.attributes.get_ints("kernel_shape", ())) != 2:
        yield _finding("layout", node, "a pool", expected="channels last, two spatial axes")
        return
    plain = not node.attributes.get_int("ceil_mode", 0) and set(node.attributes.get_ints("dilations", ())) <= {1}
    missing = [n for n in ("strides", "pads") if n not in node.attributes]
    if not plain or missing or "auto_pad" in node.attributes or len(node.outputs) > 1:
        yield _finding("pool", node, "its window", expected="strides and pads written out, no dilations, no ceil mode")


def average_pool(node: ir.Node, model: ir.Model) -> Findings:
    """None: what could be made a convolution is one by now."""
    del model
    hint = "count_include_pad=1, or a Pad before it"
    yield _finding("pool", node, "an average over a varying number of elements", hint=hint)


def arithmetic(node: ir.Node, model: ir.Model) -> Findings:
    """With a constant that does not widen the other operand, or of two tensors of one shape."""
    del model
    known = split(node)
    shapes = [None if v is None else shape_of(v) for v in node.inputs]
    if known is None:
        if node.op_type == "Div" or len(node.inputs) != 2:
            yield _unknown(node)
        elif any(constant(v) is not None for v in node.inputs):
            yield _finding("constant", node, "an operand is constant", expected="two computed tensors")
        elif shapes[0] is None or shapes[0] != shapes[1]:
            yield _finding("shape", node, "shapes of the operands", got=f"{shapes}", expected="the same")
        return
    x, array, position = known
    if node.op_type == "Div" and position == 0:
        yield _unknown(node)
    shape = (shape_of(x) or ())[1:]
    fits = array.ndim <= len(shape) and all(a in (1, s) for a, s in zip(array.shape[::-1], shape[::-1], strict=False))
    if not fits or (node.op_type == "Div" and not array.all()):
        yield _finding(
            "constant", node, "its constant", got=f"shape {list(array.shape)}", expected=f"fits {list(shape)}"
        )


def extremum(node: ir.Node, model: ir.Model) -> Findings:
    """Of two computed tensors of one shape."""
    yield from arithmetic(node, model)


def has_short_slope(node: ir.Node) -> bool:
    """Whether hls4ml keeps the slope of a LeakyRelu as it is."""
    slope = node.attributes.get_float("alpha", 0.01)
    scaled = abs(slope) * 2.0 ** (_SLOPE_BITS - np.frexp(slope)[1])
    return bool(scaled == np.rint(scaled) and 0 <= slope <= 1)


def leaky_relu(node: ir.Node, model: ir.Model) -> Findings:
    """With a slope of few bits."""
    del model
    slope = node.attributes.get_float("alpha", 0.01)
    if not has_short_slope(node):
        near = f"{np.rint(np.clip(np.nan_to_num(slope), 0, 1) * 2**_SLOPE_BITS) / 2**_SLOPE_BITS:g}"
        yield _finding("slope", node, "slope", got=f"{slope:g}", expected=f"at most {_SLOPE_BITS} bits, such as {near}")


def table(node: ir.Node, model: ir.Model) -> Findings:
    """None: hls4ml looks them up in a table."""
    del model
    problem = "hls4ml approximates it by a table"
    hint = "quantise it as a HardTanh or Relu, or cut the model before it (anybit.surgery.extract_submodel)"
    if node.op_type == "Softmax":
        problem += ", off by 0.19 to 0.73 where it was measured"
        last = node.outputs[0].is_graph_output()
        hint = "cut it off with --logits: the largest element stays the same" if last else hint
    yield _finding("table", node, problem, got=node.op_type, hint=hint)


def reshape(node: ir.Node, model: ir.Model) -> Findings:
    """To a constant shape; the batch stays the first axis."""
    del model
    shapes = [None if v is None else shape_of(v) for v in (node.inputs[0], node.outputs[0])]
    target = node.op_type == "Flatten" or (len(node.inputs) > 1 and constant(node.inputs[1]) is not None)
    whole = all(s is not None and len(s) > 1 and s[0] == 1 and None not in s for s in shapes)
    if not whole or not target or (node.op_type == "Flatten" and node.attributes.get_int("axis", 1) != 1):
        yield _finding("shape", node, "shapes", got=str(shapes), expected="known, and the batch the first axis")


def transpose(node: ir.Node, model: ir.Model) -> Findings:
    """Of up to four axes, the batch the first."""
    del model
    order = list(node.attributes.get_ints("perm", ()))
    if not order or order[0] != 0 or len(order) > 4:
        yield _finding("layout", node, "order of axes", got=str(order), expected="0 first, at most four")


def concat(node: ir.Node, model: ir.Model) -> Findings:
    """Of two computed tensors along their last axis."""
    del model
    shape = shape_of(node.outputs[0])
    axis = node.attributes.get_int("axis", 0)
    computed = all(constant(v) is None for v in node.inputs)
    last = shape is not None and axis in (len(shape) - 1, -1) and len(shape) in (2, 4)
    if len(node.inputs) != 2 or not computed or not last:
        yield _finding("concat", node, "what is joined", expected="two computed tensors, along the last axis")


def anything(node: ir.Node, model: ir.Model) -> Findings:
    """Taken as it is."""
    del node, model
    yield from ()


def _unknown(node: ir.Node) -> Finding:
    return _finding(
        "operator", node, "hls4ml does not have it", hint="cut the model there (anybit.surgery.extract_submodel)"
    )


def unknown(node: ir.Node, model: ir.Model) -> Findings:
    """An operator that hls4ml does not have, or that nobody has tried."""
    del model
    yield _unknown(node)


def _finding(
    rule: str,
    node: ir.Node,
    problem: str,
    *,
    got: str = "",
    expected: str = "",
    hint: str = "",
    severity: Severity = Severity.ERROR,
) -> Finding:
    return Finding(
        rule=rule, node=label(node), problem=problem, got=got, expected=expected, hint=hint, severity=severity
    )


RULES: dict[str, Callable[[ir.Node, ir.Model], Findings]] = {
    QUANT.name: quant,
    BIPOLAR_QUANT.name: quant,
    "MatMul": product,
    "Conv": product,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "Add": arithmetic,
    "Sub": arithmetic,
    "Mul": arithmetic,
    "Div": arithmetic,
    "Max": extremum,
    "Min": extremum,
    "Relu": anything,
    "LeakyRelu": leaky_relu,
    "Reshape": reshape,
    "Flatten": reshape,
    "Transpose": transpose,
    "Concat": concat,
    **dict.fromkeys(("Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softmax"), table),
}
"""By operator, what stands in the way of a node."""
