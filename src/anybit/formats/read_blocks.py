"""read_blocks: weights that ONNX Runtime stores packed, in blocks with scales of their own.

    MatMulNBits:           y = x @ ((q - zero point) * scale).T + bias
    GatherBlockQuantized:  y = Gather((q - zero point) * scale)

They become MatMul, Add and Gather of Quant(weights), whose scale has a number for each element that starts a block and
those behind it. Source: the operators' documents in ONNX Runtime 1.32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.tensor import Float64s
from anybit.errors import Refusal
from anybit.formats.format import Outcome
from anybit.formats.linear import range_of
from anybit.formats.quantizer import Quantizer, compact, quant_nodes
from anybit.ops.constants import constant
from anybit.ops.nodes import label
from anybit.ops.operator import DOMAIN, Array
from anybit.passes.rewriter import Rewriter

_VENDOR = "com.microsoft"
_WIDTHS = (2, 4, 8)
_EXACT_LEVELS = (0, 1)  # of accuracy: the activations keep their precision
_BLOCK = 128  # of GatherBlockQuantized, where it does not say


@dataclass(frozen=True)
class _Weights:
    """real = (integer - zero_point) * scale; the other two broadcast to the shape of the integers."""

    integers: Float64s
    scale: npt.NDArray[np.float32]
    zero_point: Float64s
    bounds: tuple[int, int]

    def quantizer(self) -> tuple[Quantizer, Array] | None:
        """A quantiser that leaves the real numbers as they are, and these; None if there is none."""
        lo, hi = (np.asarray(float(b)) for b in self.bounds)
        stored = Quantizer(self.scale, compact(self.zero_point), lo, hi).between(lo, hi)
        real = stored.dequantized(self.integers)
        return next(((q, real) for q in (stored, stored.centred()) if np.array_equal(q(real), real)), None)


def read_blocks(model: ir.Model) -> Outcome:
    """Makes hub nodes of MatMulNBits and GatherBlockQuantized, in place.

    Returns:
        A refusal for each that stays.
    """
    rewriter, refusals, modified = Rewriter(model, "read"), list[Refusal](), False
    for node in list(model.graph.all_nodes()):
        if node.domain != _VENDOR or node.op_type not in _READERS:
            continue
        weights = _READERS[node.op_type](node)
        found = weights if isinstance(weights, Refusal) else weights.quantizer()
        if found is None:
            found = Refusal(
                problem="the real numbers of its integers are not recovered by a quantiser", node=label(node)
            )
        if isinstance(found, Refusal):
            refusals.append(found)
            continue
        _apply(rewriter, node, *found)
        modified = True
    rewriter.result(modified)
    if modified:
        model.opset_imports.setdefault(DOMAIN, 1)
    return Outcome(tuple(refusals))


def _apply(rewriter: Rewriter, node: ir.Node, quantizer: Quantizer, real: Array) -> None:
    is_product = node.op_type == "MatMulNBits"
    stored, old = node.inputs[1 if is_product else 0], node.outputs[0]
    name = f"{old.name}/weights" if stored is None else str(stored.name)
    nodes = quant_nodes(rewriter, rewriter.constant(f"{name}/real", real, like=stored), quantizer, name)
    weights = nodes[-1].outputs[0]
    if is_product:
        nodes.append(rewriter.node("MatMul", [node.inputs[0], weights], f"{old.name}/product", like=old))
        bias = node.inputs[5] if len(node.inputs) > 5 else None
        if bias is not None:
            nodes.append(rewriter.node("Add", [nodes[-1].outputs[0], bias], f"{old.name}/biased", like=old))
    else:
        axis = ir.AttrInt64("axis", node.attributes.get_int("gather_axis", 0))
        inputs = [weights, node.inputs[1]]
        nodes.append(rewriter.node("Gather", inputs, f"{old.name}/real", like=old, attributes={"axis": axis}))
    for made in nodes:
        made.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    node.prepend(nodes)
    rewriter.take_over(nodes[-1].outputs[0], old)
    rewriter.discard(old)


def _matmul(node: ir.Node) -> _Weights | Refusal:
    where, inputs = label(node), [*node.inputs, *[None] * 6]
    bits, block = node.attributes.get_int("bits", 4), node.attributes.get_int("block_size", 0)
    rows, terms = node.attributes.get_int("N", 0), node.attributes.get_int("K", 0)
    level = node.attributes.get_int("accuracy_level", 0)
    packed, scale = constant(inputs[1]), constant(inputs[2])
    if inputs[4] is not None:
        return Refusal(problem="the input g_idx reorders its blocks", node=where, expected="no g_idx")
    if level not in _EXACT_LEVELS:
        return Refusal(
            problem="its accuracy level lets the activations be rounded",
            node=where,
            got=str(level),
            expected="0 or 1",
            hint="set accuracy_level to 1 if the exact product is meant",
        )
    if node.attributes.get_int("weight_prepacked", 0):
        return Refusal(
            problem="its weights are packed for one kind of device", node=where, expected="weight_prepacked 0"
        )
    refusal = _unfit(node, inputs[0], bits, packed, scale, [inputs[3]])
    if refusal is not None or packed is None or scale is None:
        return refusal or Refusal(problem="the weights or the scales are computed", node=where)
    blocks = -(-terms // block) if block > 0 else 0
    width = block * bits // 8
    if not rows or not terms or packed.size != rows * blocks * width or scale.size != rows * blocks:
        got = f"{packed.shape} and {scale.shape}"
        return Refusal(
            problem="shapes of weights and scales", node=where, got=got, expected=f"({rows}, {blocks}, {width})"
        )
    integers = _unpacked(packed.reshape(rows, blocks * width), bits)
    zero_points = _zero_points(constant(inputs[3]), (rows, blocks), bits)
    if zero_points is None:
        return Refusal(
            problem="the zero points", node=where, expected=f"packed ones, for {rows} rows of {blocks} blocks"
        )
    spread = [np.repeat(p, block, axis=1)[:, :terms].T for p in (scale.reshape(rows, blocks), zero_points)]
    if blocks == 1:
        spread = [p[:1] for p in spread]
    return _Weights(integers[:, :terms].T, spread[0].astype(np.float32), spread[1], (0, (1 << bits) - 1))


def _gather(node: ir.Node) -> _Weights | Refusal:
    where, inputs = label(node), [*node.inputs, *[None] * 4]
    packed, scale, dtype = constant(inputs[0]), constant(inputs[2]), None if inputs[0] is None else inputs[0].dtype
    is_packed = dtype == ir.DataType.UINT8
    bits = node.attributes.get_int("bits", 4) if is_packed else 4
    bounds = (0, (1 << bits) - 1) if is_packed else range_of(dtype or ir.DataType.UNDEFINED)
    if bounds is None or (not is_packed and dtype not in (ir.DataType.INT4, ir.DataType.UINT4)):
        got = "unknown" if dtype is None else dtype.name
        return Refusal(problem="type of its weights", node=where, got=got, expected="UINT8, INT4 or UINT4")
    refusal = _unfit(node, inputs[2], bits, packed, scale, [inputs[3]])
    if refusal is not None or packed is None or scale is None:
        return refusal or Refusal(problem="the weights or the scales are computed", node=where)
    integers = _unpacked(packed, bits) if is_packed else packed.astype(np.float64)
    axis, block = node.attributes.get_int("quantize_axis", 1), node.attributes.get_int("block_size", _BLOCK)
    if not -integers.ndim <= axis < integers.ndim or block < 1:
        got = f"axis {axis}, blocks of {block}"
        return Refusal(
            problem="quantize_axis or block_size", node=where, got=got, expected=f"one of {integers.ndim} axes"
        )
    shape = list(integers.shape)
    shape[axis] = -(-shape[axis] // block)
    if list(scale.shape) != shape:
        return Refusal(problem="shape of the scales", node=where, got=str(scale.shape), expected=str(tuple(shape)))
    zero_points = _zero_points(constant(inputs[3]), tuple(shape), bits, is_packed=is_packed)
    if zero_points is None:
        return Refusal(problem="the zero points", node=where, expected=f"one for each scale, {tuple(shape)}")
    length = range(integers.shape[axis])
    spread = [np.repeat(p, block, axis=axis).take(length, axis=axis) for p in (scale, zero_points)]
    return _Weights(integers, spread[0].astype(np.float32), spread[1], bounds)


_READERS = {"MatMulNBits": _matmul, "GatherBlockQuantized": _gather}


def _unfit(
    node: ir.Node,
    x: ir.Value | None,
    bits: int,
    packed: Array | None,
    scale: Array | None,
    optional: list[ir.Value | None],
) -> Refusal | None:
    """What keeps an operator from being read, but for shapes."""
    where = label(node)
    if bits not in _WIDTHS:
        return Refusal(problem="bits", node=where, got=str(bits), expected="2, 4 or 8")
    if packed is None or scale is None or any(v is not None and constant(v) is None for v in optional):
        return Refusal(problem="the weights, scales or zero points are computed", node=where, expected="constants")
    if x is None or x.dtype not in (ir.DataType.FLOAT, None) or scale.dtype != np.float32:
        return Refusal(problem="type of the scales", node=where, got=str(scale.dtype), expected="float32")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return Refusal(problem="a scale is not positive", node=where, got=f"{scale.min(initial=1):g}")
    return None


def _unpacked(packed: Array, bits: int) -> Float64s:
    """The numbers of `bits` bits in bytes along the last axis, low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (packed.astype(np.uint8)[..., None] >> shifts) & ((1 << bits) - 1)
    return numbers.reshape(*packed.shape[:-1], -1).astype(np.float64)


def _zero_points(stored: Array | None, shape: tuple[int, ...], bits: int, *, is_packed: bool = True) -> Float64s | None:
    """Zero points by block, packed or one integer each; None where they do not fit, or are real numbers."""
    if stored is None:
        return np.full(shape, float(1 << (bits - 1)) if is_packed else 0.0)
    if stored.dtype.kind == "f":  # ONNX Runtime multiplies them by the scale first, which rounds once more
        return None
    if not is_packed:
        return stored.astype(np.float64).reshape(shape) if stored.size == np.prod(shape) else None
    width = -(-shape[-1] * bits // 8)
    rows = int(np.prod(shape[:-1]))
    if stored.size != rows * width:
        return None
    return _unpacked(stored.reshape(rows, width), bits)[:, : shape[-1]].reshape(shape)
