"""Forms of equal meaning that the optimisers of stock ONNX Runtime leave alone, in the place of those that they break.

Seen in ONNX Runtime 1.32 at its default options; `anybit.formats.stock_runtime.notes` says what has no such form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array, is_power_of_two
from anybit.cleanup.convert_opset import ConvertOpset
from anybit.errors import UnsupportedError
from anybit.formats.stock_runtime.graph import (
    BELOW_BYTES,
    BYTES,
    Linear,
    dequantized,
    is_whole,
    linear_of,
    readers,
    source,
)
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, shape_of
from anybit.quantizers.clip_fusion import clip_limits

_PER_AXIS = 13  # the first opset with scales per axis, and later than that of a Clip of bytes
_FLOAT8 = frozenset(
    ir.DataType[f"FLOAT8{n}"] for n in ("E4M3FN", "E4M3FNUZ", "E5M2", "E5M2FNUZ")
) | {ir.DataType.FLOAT4E2M1}  # fmt: skip
_LOSES_BOUNDS = _FLOAT8 | BELOW_BYTES
"""Types whose QuantizeLinear swallows a Relu or Clip before it as if it had the range of bytes."""


def write_stock_forms(model: ir.Model) -> None:
    """Rewrites, in place, what stock ONNX Runtime would otherwise compute differently; every value stays as it is.

    - Weights of a product in float have their scales along the last axis, counted from the end: with one scale, or
      with axis 1, MatMulNBits takes them, which quantises the activations too.
    - A float bias of a Gemm, or a MatMul, of quantised tensors has two axes: with one it is rounded to integers of the
      product of the scales, and float weights to 8 bits.
    - Bytes that are made real and quantised again as bytes are clipped to their own range: without it the two pairs
      become one, which loses a rounding.
    - The factor of sums of integers is the first input of Mul behind a Conv, and has a number for each column behind a
      MatMul: elsewhere it becomes one of the weights, or of each partial sum, and sums are no integers any more.
    - Relu and Clip before QuantizeLinear of small types are written as Max and Min; see `read_stock_forms`.
    """
    plans = [p for n in all_nodes(model.graph) if (p := _plan(n)) is not None]
    if not plans or not _raise_opset(model, plans):
        plans = [p for p in plans if p.since == 1]
    with Editor(model, rule="stock") as edit:
        for plan in plans:
            plan.apply(edit)


def read_stock_forms(model: ir.Model) -> None:
    """Makes Relu and Clip again of Max and Min before QuantizeLinear of small types, in place."""
    with Editor(model, rule="stock") as edit:
        found = [n for n in edit.nodes("QuantizeLinear") if _loses_bounds(n)]
        for quantize in found:
            upper = _bounding(quantize.inputs[0], "Min")
            lower = _bounding(quantize.inputs[0] if upper is None else upper.inputs[0], "Max")
            if lower is None or (upper is None and constant(lower.inputs[1]) != 0):
                continue
            old = (lower if upper is None else upper).outputs[0]
            bounds = [] if upper is None else [lower.inputs[1], upper.inputs[1]]
            made = edit.node("Clip" if bounds else "Relu", [lower.inputs[0], *bounds], f"{old.name}/bounded", like=old)
            edit.replace(old, made, before=lower)


def _bounding(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The Max or Min with one number that makes a tensor."""
    node = None if value is None else value.producer()
    if node is None or node.domain != "" or node.op_type != op_type or len(node.inputs) != 2:
        return None
    bound = constant(node.inputs[1])
    return node if bound is not None and bound.ndim == 0 else None


@dataclass(frozen=True)
class _FormPlan:
    """One rewriting, and the first opset at which it is legal."""

    since: int
    apply: Callable[[Editor], None]


def _plan(node: ir.Node) -> _FormPlan | None:
    if node.domain != "":
        return None
    match node.op_type:
        case "DequantizeLinear":
            return _plan_weights(node)
        case "Gemm" | "Add":
            return _plan_bias(node)
        case "QuantizeLinear":
            return _plan_pair(node) or _plan_bounds(node)
        case "Mul":
            return _plan_factor(node)
        case _:
            return None


def _raise_opset(model: ir.Model, plans: list[_FormPlan]) -> bool:
    needed = max(p.since for p in plans)
    if model.opset_imports.get("", 1) >= needed:
        return True
    try:
        ConvertOpset(needed)(model)
    except UnsupportedError:
        return False
    return True


def _plan_weights(node: ir.Node) -> _FormPlan | None:
    found = linear_of(node)
    if found is None or found.stored is None or found.stored.ndim != 2 or not is_taken_for_blocks(found):
        return None
    if found.scales > 1 and node.attributes.get_int("axis", 1) % 2 == 0 and "block_size" not in node.attributes:
        return None  # one scale for each row is a form that is left alone, unless it is transposed
    return _FormPlan(_PER_AXIS, lambda edit: _spread(edit, found))


def is_taken_for_blocks(weights: Linear) -> bool:
    """Whether MatMulNBits may take the weights: they are multiplied from the right with what are no bytes."""
    if weights.dtype not in BYTES | BELOW_BYTES:
        return False
    for node, place in readers(weights.node.outputs[0]):
        if node.domain == "" and node.op_type == "Transpose":
            if any(_multiplies(*use) for use in readers(node.outputs[0])):
                return True
        elif _multiplies(node, place):
            return True
    return False


def _multiplies(node: ir.Node, place: int) -> bool:
    if node.domain != "" or place != 1 or node.op_type not in ("Gemm", "MatMul"):
        return False
    x = dequantized(node.inputs[0], moved=True)
    return node.attributes.get_int("transB", 0) == 0 and not (x is not None and x.is_byte)


def _spread(edit: Editor, weights: Linear) -> None:
    """The same scales along the last axis, or the blocks along the same one, the axis counted from the end."""
    node, stored = weights.node, weights.stored
    if stored is None:
        return
    axis = node.attributes.get_int("axis", 1)
    if weights.scales > 1:
        node.attributes["axis"] = ir.AttrInt64("axis", axis if axis < 0 else axis - stored.ndim)
        return
    for place, value in enumerate(node.inputs):
        array = constant(value)
        if place and value is not None and array is not None:
            full = np.full(stored.shape[-1:], array.reshape(-1)[0], array.dtype)
            node.replace_input_with(place, edit.constant(f"{value.name}s", full))
    node.attributes["axis"] = ir.AttrInt64("axis", -1)


def bias_of(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The product that a bias is added to, and the input of `node` that is the bias."""
    if node.op_type != "Add":
        return (node, 2) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    for place, other in ((0, 1), (1, 0)):
        product = source(node.inputs[other])
        if product is not None and product.op_type == "MatMul":
            return product, place
    return None


def is_exact_bias(bias: Array, product: ir.Node) -> bool:
    """Whether integers times the product of the scales of a product's operands are the bias."""
    x, w = dequantized(product.inputs[0], moved=True), dequantized(product.inputs[1])
    if x is None or w is None or x.one_scale is None:
        return False
    scales = constant(w.node.inputs[1])
    step = np.float32(x.one_scale) * np.asarray(scales, np.float32)
    try:
        q = np.rint(bias / step)
        return bool((np.abs(q) < 2**31).all() and (q.astype(np.float32) * step == bias).all())
    except ValueError:
        return False


def _plan_bias(node: ir.Node) -> _FormPlan | None:
    found = bias_of(node)
    if found is None:
        return None
    product, place = found
    bias = constant(node.inputs[place])
    x, weights = dequantized(product.inputs[0], moved=True), product.inputs[1]
    if x is None or (dequantized(weights) is None and constant(weights) is None):
        return None
    if bias is None or bias.dtype != np.float32 or bias.ndim != 1 or is_exact_bias(bias, product):
        return None
    return _FormPlan(1, lambda edit: _as_row(edit, node, place))


def _as_row(edit: Editor, node: ir.Node, place: int) -> None:
    old = node.inputs[place]
    array = constant(old)
    if old is not None and array is not None:
        edit.rewire(node, place, edit.constant(f"{old.name}/row", array[None], like=old))


def scaled_sums(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The product whose sums of integers a Mul scales by numbers that are no powers of two, and which input they are.

    Powers of two scale sums and terms alike.
    """
    for place, other in ((0, 1), (1, 0)) if node.domain == "" and node.op_type == "Mul" else ():
        product, factor = source(node.inputs[other]), constant(node.inputs[place])
        if product is None or factor is None or product.op_type not in ("Conv", "MatMul"):
            continue
        if all(map(is_whole, product.inputs[:2])) and not is_power_of_two(factor).all():
            return product, place
    return None


def _plan_factor(node: ir.Node) -> _FormPlan | None:
    found = scaled_sums(node)
    if found is None:
        return None
    product, place = found
    if product.op_type == "Conv":
        return None if place == 0 else _FormPlan(1, lambda edit: _swap(edit, node))
    return _FormPlan(1, lambda edit: _spread_number(edit, node, place))


def _swap(edit: Editor, node: ir.Node) -> None:
    edit.touch()
    first, second = node.inputs
    node.replace_input_with(0, second)
    node.replace_input_with(1, first)


def _plan_pair(node: ir.Node) -> _FormPlan | None:
    inner, outer = pair_before(node), linear_of(node)
    if inner is None or outer is None or not outer.is_byte:
        return None
    return _FormPlan(_PER_AXIS, lambda edit: _clip(edit, inner))


def pair_before(node: ir.Node) -> Linear | None:
    """The QuantizeLinear whose integers are made real and quantised again by a node, to the same type, of one scale."""
    last, middle = linear_of(node), dequantized(node.inputs[0])
    first = None if middle is None else source(middle.node.inputs[0])
    if last is None or middle is None or first is None or first.op_type != "QuantizeLinear":
        return None
    inner = linear_of(first)
    same = inner is not None and inner.dtype == middle.dtype == last.dtype and inner.scales == last.scales == 1
    return inner if same and last.dtype in BYTES | {ir.DataType.INT16, ir.DataType.UINT16} else None


def _clip(edit: Editor, inner: Linear) -> None:
    old = inner.node.outputs[0]
    if any(n.op_type == "Clip" for n, _ in old.uses()):
        return
    info = np.iinfo(inner.dtype.numpy())
    bounds = [
        edit.constant(f"{old.name}/{k}", np.asarray(b, info.dtype)) for k, b in (("min", info.min), ("max", info.max))
    ]
    clip = edit.node("Clip", [old, *bounds], f"{old.name}/clipped", like=old)
    old.replace_all_uses_with(clip.outputs[0])
    clip.replace_input_with(0, old)
    edit.insert(clip, after=inner.node, of=inner.node)


def _loses_bounds(quantize: ir.Node) -> bool:
    found = linear_of(quantize)
    return found is not None and found.dtype in _LOSES_BOUNDS


def _plan_bounds(node: ir.Node) -> _FormPlan | None:
    bound = source(node.inputs[0]) if _loses_bounds(node) else None
    if bound is None or bound.op_type not in ("Clip", "Relu") or bound.outputs[0].dtype != ir.DataType.FLOAT:
        return None
    limits = (0.0, np.inf) if bound.op_type == "Relu" else clip_limits(bound)
    return None if limits is None else _FormPlan(1, lambda edit: _max_min(edit, bound, limits))


def _max_min(edit: Editor, bound: ir.Node, limits: tuple[float, float]) -> None:
    if bound.graph is None:  # it was shared, and is rewritten
        return
    old, value = bound.outputs[0], bound.inputs[0]
    nodes: list[ir.Node] = []
    for op_type, limit in zip(("Max", "Min"), limits, strict=True):
        if np.isfinite(limit):
            number = edit.constant(f"{old.name}/{op_type.lower()}", np.asarray(limit, np.float32))
            nodes.append(edit.node(op_type, [value, number], f"{old.name}/bounded", like=old))
            value = nodes[-1].outputs[0]
    if not nodes:
        return
    edit.replace(old, nodes)


def spread_scale(edit: Editor, node: ir.Node) -> None:
    """Gives Div by one number behind a MatMul, and Mul before one, a number for each column, of the same value.

    One number would become a factor of the MatMul: x / scale would be x * (1 / scale), and not rounded alike.
    """
    if len(node.inputs) < 2 or not (_divides_product(node) or _scales_operand(node)):
        return
    _spread_number(edit, node, 1)


def _spread_number(edit: Editor, node: ir.Node, place: int) -> None:
    """Gives a node a number for each column, of the same value, in the place of one number."""
    value, other = node.inputs[place], node.inputs[1 - place]
    shape = shape_of(node.outputs[0]) or (None if other is None else shape_of(other))
    number, width = constant(value), shape[-1] if shape else None
    if number is not None and value is not None and number.size == 1 and width is not None and width > 1:
        spread = np.full(width, number.reshape(-1)[0], number.dtype)
        node.replace_input_with(place, edit.constant(f"{value.name}s", spread))


def _divides_product(node: ir.Node) -> bool:
    product = source(node.inputs[0]) if node.op_type == "Div" else None
    return product is not None and product.op_type == "MatMul"


def _scales_operand(node: ir.Node) -> bool:
    found = readers(node.outputs[0]) if node.op_type == "Mul" else ()
    return any(n.domain == "" and n.op_type == "MatMul" for n, _ in found)
