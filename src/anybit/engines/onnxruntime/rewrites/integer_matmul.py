"""Integer matrix products for ONNX Runtime: u8 activations x s8 weights, which it computes several times faster.

A product of two quantised tensors means exact arithmetic on their integers, times the scales. The float form rounds
in every addition; the integer form does not, and its weights take a quarter of the memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import Array, as_float64
from anybit.engines.finiteness import stays_finite
from anybit.graph.constants import constant, new_initializer
from anybit.graph.walk import shape_of
from anybit.grid import Grid
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.evaluate import known_value
from anybit.ops.quant import QUANT
from anybit.ops.zero_sign import tensors_of_told_zeros

_DOMAIN = "com.microsoft"
_OLDEST_OPSET = 13
_WORTHWHILE = 1 << 13  # multiplications a sample, below which the float form is as fast
# Kernels without VNNI add pairs of products in 16 bits, saturating.
_PAIR_LIMIT = np.iinfo(np.int16).max
_ACCUMULATOR_LIMIT = np.iinfo(np.int32).max


@dataclass(frozen=True)
class _Activation:
    """X as it enters its quantiser, and the grid that it leaves it on."""

    source: ir.Value
    scale: float
    grid: Grid

    @property
    def span(self) -> int:
        return self.grid.hi - self.grid.lo


@dataclass(frozen=True)
class _Weight:
    """The integers of a weight, and their scale: one, or one a column."""

    integers: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Affine:
    """A BatchNormalization or an Add behind a product: y = x * factor + offset, by column."""

    node: ir.Node
    factor: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]


def has_large_product(model: ir.Model) -> bool:
    """Whether a matrix product could be worth replacing; a quick look before the model is prepared for it."""
    return any(n.op_type == "MatMul" for n in model.graph) and any(
        v.const_value is not None and v.const_value.size >= _WORTHWHILE for v in model.graph.initializers.values()
    )


def use_integer_matmul(model: ir.Model) -> bool:
    """Replaces MatMul(Quant(x), Quant(w)) by QuantizeLinear and MatMulIntegerToFloat where it is exact and pays.

    Conditions: float32, one activation scale, zero points of 0, rounding to nearest even, an activation grid of at
    most 256 levels, weights within int8, scales whose product float32 holds, no overflow of any partial sum, and no
    other reader of the activation.
    A BatchNormalization or Add behind the product becomes its scale and bias, as ONNX Runtime itself does to float
    products.
    Integers cannot be NaN: the result is the same only for finite inputs, and only models whose operators make no
    NaN of finite numbers are changed. Nor have integers -0: a product stays where an operator tells it from +0.

    Returns:
        Whether anything was replaced.
    """
    if model.opset_imports.get("", 1) < _OLDEST_OPSET or not stays_finite(model):
        return False
    replaced, told = False, tensors_of_told_zeros(model)
    for node in list(model.graph):
        is_product = node.domain == "" and node.op_type == "MatMul" and node.outputs[0] not in told
        pair = _pair(node, model.opset_imports) if is_product else None
        if pair is not None:
            _replace(model.graph, node, *pair, model.opset_imports)
            replaced = True
    if replaced:
        model.opset_imports.setdefault(_DOMAIN, 1)
    return replaced


def _pair(node: ir.Node, opset_imports: dict[str, int]) -> tuple[_Activation, _Weight] | None:
    left, right = node.inputs[:2]
    if left is None or right is None or left.dtype != ir.DataType.FLOAT:
        return None
    users = {user for user, position in left.uses() if position == 0}
    if left.is_graph_output() or len(users) < len(left.uses()) or any(u.op_type != "MatMul" for u in users):
        return None
    weight = _weight(right, opset_imports)
    activation = None if weight is None else _activation(left, opset_imports)
    if weight is None or activation is None or weight.integers.size * _rows_a_sample(left) < _WORTHWHILE:
        return None
    if not _scales_are_moderate(activation, weight):
        return None
    largest = int(np.abs(weight.integers.astype(np.int64)).max(initial=0))
    if 2 * activation.span * largest > _PAIR_LIMIT:
        return None
    column_sums = np.abs(weight.integers.astype(np.int64)).sum(axis=0).max(initial=0)
    return (activation, weight) if activation.span * int(column_sums) <= _ACCUMULATOR_LIMIT else None


def _rows_a_sample(value: ir.Value) -> int:
    """How many rows of one sample are multiplied: the axes between the batch and the features, where they are known."""
    return math.prod(d or 1 for d in (shape_of(value) or ())[1:-1])


def _scales_are_moderate(activation: _Activation, weight: _Weight) -> bool:
    """Whether the product of the scales keeps its precision, and no result overflows; the float form has no product."""
    numbers = np.finfo(np.float32)
    products = activation.scale * weight.scale.astype(np.float64)
    highest = max(float(products.max(initial=0.0)) * _ACCUMULATOR_LIMIT, activation.scale * (activation.span + 1))
    return float(products.min(initial=1.0)) >= float(numbers.tiny) and highest <= float(numbers.max)


def _parameters(value: ir.Value, opset_imports: dict[str, int]) -> tuple[ir.Node, Array, Grid] | None:
    """The Quant node behind a value, its scale and its grid, if it is of the plain kind."""
    node = value.producer()
    operator = None if node is None else operator_of(node, opset_imports)
    if node is None or operator is None or not is_call(node, QUANT):
        return None
    call = call_of(node, operator)
    scale, zero_point, bits = (call.constants.get(n) for n in ("scale", "zeropt", "bitwidth"))
    if scale is None or zero_point is None or bits is None or bits.size != 1 or zero_point.any():
        return None
    grid = Grid(int(bits.reshape(())), signed=bool(call.attributes["signed"]), narrow=bool(call.attributes["narrow"]))
    if grid.bipolar or grid.bits > 8 or call.attributes["rounding_mode"] != "ROUND":
        return None
    return node, scale.astype(np.float32), grid


def _activation(value: ir.Value, opset_imports: dict[str, int]) -> _Activation | None:
    found = _parameters(value, opset_imports)
    if found is None:
        return None
    node, scale, grid = found
    source = node.inputs[0]
    if source is None or scale.size != 1:
        return None
    before = source.producer()
    if grid.lo == 0 and before is not None and before.domain == "" and before.op_type == "Relu" and before.inputs[0]:
        source = before.inputs[0]  # the grid itself cuts off what is negative
    return _Activation(source, float(scale.reshape(())), grid)


def _weight(value: ir.Value, opset_imports: dict[str, int]) -> _Weight | None:
    found = _parameters(value, opset_imports)
    if found is None:
        return None
    node, scale, grid = found
    array = constant(node.inputs[0])
    if array is None or array.ndim != 2 or array.dtype != np.float32 or grid.lo < -127 or grid.hi > 127:
        return None
    if scale.size != 1 and (scale.size != array.shape[1] or scale.shape[-1] != array.shape[1]):
        return None
    integers = np.clip(np.rint(array / scale), grid.lo, grid.hi)
    if not np.isfinite(integers).all():
        return None
    return _Weight(integers.astype(np.int8), scale.reshape(-1) if scale.size > 1 else scale.reshape(()))


def _replace(
    graph: ir.Graph, node: ir.Node, activation: _Activation, weight: _Weight, opset_imports: dict[str, int]
) -> None:
    output = node.outputs[0]
    name = str(output.name)

    def parameter(suffix: str, array: npt.NDArray[Any]) -> ir.Value:
        return new_initializer(graph, f"{name}/{suffix}", array)

    scale = parameter("scale", np.asarray(activation.scale, np.float32))
    offset = parameter("offset", np.asarray(-activation.grid.lo, np.uint8))
    source = activation.source
    nodes: list[ir.Node] = []
    if activation.span < np.iinfo(np.uint8).max:  # a full grid is saturated by QuantizeLinear itself
        bounds = [
            parameter(suffix, np.asarray(bound * np.float32(activation.scale), np.float32))
            for suffix, bound in (("lo", activation.grid.lo), ("hi", activation.grid.hi))
        ]
        nodes.append(ir.node("Clip", [source, *bounds]))
        source = nodes[-1].outputs[0]
    nodes.append(ir.node("QuantizeLinear", [source, scale, offset]))
    affine = _affine(output, weight.integers.shape[1], opset_imports)
    columns, last = weight.scale, output
    inputs: list[ir.Value | None] = [nodes[-1].outputs[0], parameter("weight", weight.integers), scale]
    if affine is None:
        inputs += [parameter("weight_scale", columns), offset]
    else:
        last = affine.node.outputs[0]
        columns = (columns.astype(np.float64) * affine.factor).astype(np.float32)
        bias = parameter("bias", affine.offset.astype(np.float32))
        inputs += [parameter("weight_scale", columns), offset, None, bias]
    nodes.append(ir.node("MatMulIntegerToFloat", inputs, domain=_DOMAIN))
    for index, made in enumerate(nodes):
        made.outputs[0].name = f"{name}/integer_{index}"
    result = nodes[-1].outputs[0]
    result.type, result.shape = last.type, last.shape
    result.meta.update(last.meta)
    last.name, result.name = f"{last.name}/replaced", last.name
    node.prepend(nodes)
    last.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove([node] if affine is None else [affine.node, node], safe=True)


def _affine(value: ir.Value, columns: int, opset_imports: dict[str, int]) -> _Affine | None:
    """What alone reads a product and is a factor and an offset by column, both constant and plain."""
    users = [user for user, _ in value.uses()]
    node = users[0] if len(users) == 1 else None
    if node is None or node.domain or value.is_graph_output():
        return None
    match node.op_type:
        case "Add":
            return _bias(node, value, columns, opset_imports)
        case "BatchNormalization":
            return _norm(node, value)
        case _:
            return None


def _bias(node: ir.Node, value: ir.Value, columns: int, opset_imports: dict[str, int]) -> _Affine | None:
    array = known_value(node.inputs[1] if node.inputs[0] is value else node.inputs[0], opset_imports)
    rank = len(shape_of(value) or ())
    if array is None or array.shape[-1:] != (columns,) or array.size != columns or array.ndim > rank:
        return None
    return _Affine(node, np.ones(columns), as_float64(array.reshape(-1)))


def _norm(node: ir.Node, value: ir.Value) -> _Affine | None:
    if value.shape is None or value.shape.rank() != 2 or len(node.outputs) != 1 or node.inputs[0] is not value:
        return None
    parameters = [constant(v) for v in node.inputs[1:]]
    if any(p is None for p in parameters) or "training_mode" in node.attributes:
        return None
    scale, bias, mean, variance = (as_float64(p) for p in parameters if p is not None)
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + np.float32(epsilon))
        offset = bias - mean * factor
    smallest = np.finfo(np.float32).tiny * _ACCUMULATOR_LIMIT
    plain = np.isfinite(offset).all() and ((np.abs(factor) > smallest) & (np.abs(factor) < 1 / smallest)).all()
    return _Affine(node, factor, offset) if plain else None
