"""product, average: the steps that add levels up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.exact.chain import chain_of
from anybit.exact.integer_layers import IntegerProduct, read_product
from anybit.formats.thresholds import moves
from anybit.formats.thresholds.numbers import has_one_sign, inexact, is_scaled_exactly
from anybit.formats.thresholds.rows import SAME
from anybit.graph.attributes import values_of_attributes
from anybit.graph.walk import label
from anybit.plan.draft import BYTE_VALUES, Draft
from anybit.plan.geometry import Layout, sample_shape, window_of
from anybit.plan.held import Held
from anybit.plan.levels import levels_of
from anybit.plan.plan import Element, Pool, PoolKind, Product, Tensor, Window

AVERAGES = frozenset(("AveragePool", "GlobalAveragePool"))
_LARGEST = float((1 << 31) - 1)
_SIGNED = (-128.0, 127.0)


def product(draft: Draft, node: ir.Node) -> Refusal | None:
    """Takes up Conv, MatMul and Gemm of levels and of weights that are integers of 8 bits or less."""
    found = read_product(node, draft.opsets, draft.values)
    if isinstance(found, Refusal):
        return found
    held = levels_of(draft, node.inputs[0])
    if isinstance(held, Refusal):
        return replace(held, node=label(node))
    byte, numbers = draft.tensors[held.tensor], held.plain
    if numbers is None:
        return Refusal(problem="its input is no tensor of levels", node=label(node))
    own = found.x.scale.reshape(-1)
    if (numbers.unit.size > 1 < own.size != numbers.unit.size) or (np.abs(numbers.unit / own - 1) > SAME).any():
        return Refusal(problem="its input has another scale than its integers", node=label(node))
    if found.weights.min(initial=0) < _SIGNED[0] or found.weights.max(initial=0) > _SIGNED[1]:
        return Refusal(problem="weights of more than 8 bits", node=label(node))
    placed = _placed(draft, found, held)
    if isinstance(placed, Refusal):
        return placed
    held, window, group, weights, layout = placed
    if held.tensor >= 0 and not 0 <= draft.tensors[held.tensor].zero < BYTE_VALUES:
        return Refusal(problem="levels among which 0 is none", node=label(node))
    magnitudes = np.abs(weights).reshape(len(weights), -1).sum(axis=1)
    largest = 2 * max(abs(byte.lo), byte.hi, BYTE_VALUES)
    if float(magnitudes.max(initial=0)) * largest >= _LARGEST:
        return Refusal(problem="sums of more than 32 bits", node=label(node))
    zero = draft.tensors[held.tensor].zero
    offset = -zero * weights.reshape(len(weights), -1).sum(axis=1)
    y = draft.add(
        Tensor(str(node.outputs[0].name), layout.elements, Element.SUM, 0, int(found.lo.min()), int(found.hi.max()))
    )
    draft.steps.append(
        Product(
            held.tensor,
            y,
            window,
            group,
            np.ascontiguousarray(weights, np.int8),
            offset.astype(np.int32),
            found.lo.astype(np.int32),
            found.hi.astype(np.int32),
            bits=_bits(weights),
        )
    )
    draft.held[node.outputs[0]] = Held((chain_of(found.numbers),), y, layout)
    return None


def _placed(draft: Draft, product: IntegerProduct, held: Held) -> tuple[Held, Window, int, Any, Layout] | Refusal:
    """The operands of a product as a plan lays them."""
    node = product.product
    shape, output = held.layout.shape, sample_shape(node.outputs[0])
    if output is None or 0 in output:
        return Refusal(problem="a tensor of unknown shape, or an empty one", node=label(node))
    if node.op_type != "Conv":
        rows = held.layout.elements // shape[-1]
        laid = draft.relaid(held, Layout(shape, channels_last=False), node)
        if isinstance(laid, Refusal):
            return laid
        window = Window(size=(rows, 1), output=(rows, 1))
        weights = product.weights.T.reshape(product.channels, 1, 1, -1)
        return laid, window, 1, weights, Layout(output, channels_last=False)
    attributes = values_of_attributes(node)
    window = window_of(node, shape, product.weights.shape[2:], attributes)
    if isinstance(window, Refusal):
        return window
    laid = draft.relaid(held, Layout(shape, channels_last=True), node)
    if isinstance(laid, Refusal):
        return laid
    weights = product.weights.reshape(*product.weights.shape[:2], *window.kernel).transpose(0, 2, 3, 1)
    return laid, window, int(attributes.get("group", 1)), weights, Layout(output, channels_last=True)


def average(draft: Draft, node: ir.Node) -> Refusal | None:
    """Takes up the average pools of levels: sums, of which the function behind them takes the mean."""
    x, output = node.inputs[0], node.outputs[0]
    held, found = levels_of(draft, x), moves.window_of(node)
    if isinstance(held, Refusal):
        return held
    if isinstance(found, Refusal):
        return found
    numbers, byte = held.plain, draft.tensors[held.tensor]
    kernel, given = found
    attributes = {n: a.value for n, a in given.items()}
    window = window_of(node, held.layout.shape, kernel, attributes)
    if isinstance(window, Refusal):
        return window
    laid = draft.relaid(held, Layout(held.layout.shape, channels_last=True), node)
    if numbers is None or byte.element is not Element.BYTE or isinstance(laid, Refusal):
        return Refusal(problem="a mean of what are no levels of a byte", node=label(node))
    count, shape = int(np.prod(kernel)), sample_shape(output)
    lo, hi = (np.minimum(numbers.lo * count, 0), np.maximum(numbers.hi * count, 0))
    sums = replace(
        numbers, value=output, lo=lo, hi=hi, divisor=numbers.divisor * count, parity=None, mac=None, total=None
    )
    if not is_scaled_exactly(numbers):
        magnitude = float(np.maximum(-lo, hi).max())
        one_sign = has_one_sign(numbers)
        sums = inexact(sums, magnitude=magnitude, relative=0.0, steps=0.0, one_sign=one_sign)
    if shape is None:
        return Refusal(problem="a tensor of unknown shape", node=label(node))
    layout = Layout(shape, channels_last=True)
    ends = int(lo.min()), int(hi.max())
    y = draft.add(Tensor(str(output.name), layout.elements, Element.SUM, 0, *ends))
    draft.steps.append(Pool(laid.tensor, y, PoolKind.SUM, layout.channels, window))
    draft.held[output] = Held((chain_of(sums),), y, layout)
    return None


def _bits(weights: Any) -> int:
    """Bit width of weights: 1 for -1 and 1 alone, else what holds the largest magnitude and the sign."""
    if weights.size and (np.abs(weights) == 1).all():
        return 1
    lo, hi = int(weights.min(initial=0)), int(weights.max(initial=0))
    return 1 + max((-lo - 1).bit_length() if lo < 0 else 0, hi.bit_length())
