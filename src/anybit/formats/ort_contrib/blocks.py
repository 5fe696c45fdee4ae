"""read_blocks: weights that ONNX Runtime stores packed, in blocks with scales of their own.

    MatMulNBits:           y = x @ ((q - zero point) * scale).T + bias
    GatherBlockQuantized:  y = Gather((q - zero point) * scale)

They become MatMul, Add and Gather of Quant(weights), whose scale has a number for each element that starts a block and
those behind it. A negative scale changes the sign of the integers. Zero points that are real numbers are another
arithmetic, q * scale - zero point * scale, each product rounded to float32; where no quantiser has these values, Quant
makes q * scale, and a Sub follows. Sources: the operators' documents in ONNX Runtime 1.32, and what it computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.formats.dialect import Outcome
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label
from anybit.ops.contributed import DOMAIN as CONTRIBUTED
from anybit.ops.contributed.blocks import BLOCK, EXACT_LEVELS, unpacked, zero_points
from anybit.ops.operator import DOMAIN
from anybit.quantizers.quantizer import Quantizer, compact, quant_nodes

_WIDTHS = (2, 4, 8)
_HALVES = 2  # zero points of k + 1/2 are whole numbers of half steps
_MORE_BITS = 3  # that a change of sign, another zero point and half steps may take
_WIDEST_WITH_REAL = 4  # bits; ONNX Runtime has no kernel for wider integers with real zero points


@dataclass(frozen=True)
class _BlockWeights:
    """real = (integer - zero_point) * scale; scale and zero point broadcast to the shape of the integers.

    Attributes:
        integers: As they are stored.
        scale: Any numbers but 0.
        zero_point: Integers, unless it is real.
        bits: Width of the integers.
        lo: The smallest integer of this width.
        is_real: Whether zero points are real numbers: real = integer * scale - zero_point * scale, then, each product
            rounded to float32.
    """

    integers: Float64s
    scale: npt.NDArray[np.float32]
    zero_point: Float64s
    bits: int
    lo: int = 0
    is_real: bool = False

    def found(self, *, is_product: bool) -> _Found | None:
        """Real numbers that a quantiser leaves as they are, and what comes behind it; None if there are none.

        Args:
            is_product: Whether they are summed up, which makes zeros of either sign the same.
        """
        scale, zero_point = self.scale, self.zero_point
        if self.is_real:
            products = self.integers.astype(np.float32) * scale
            offset = zero_point.astype(np.float32) * scale
            parts = self._read(products, scale, np.zeros(()))
            whole = self._read(products - offset, scale, zero_point)
            return whole or (None if parts is None else replace(parts, offset=offset))
        integers = (self.integers - zero_point).astype(np.float32)
        if is_product or (scale > 0).all():
            return self._read(integers * scale, scale, zero_point)
        magnitude = self._read(integers * np.abs(scale), np.abs(scale), zero_point)
        return None if magnitude is None else replace(magnitude, sign=np.sign(scale))

    def _read(self, real: Array, scale: npt.NDArray[np.float32], zero_point: Float64s) -> _Found | None:
        quantizers = self._quantizers(scale, zero_point)
        return next((_Found(real, q) for q in quantizers if np.array_equal(q(real), real)), None)

    def _quantizers(self, scale: npt.NDArray[np.float32], zero_point: Float64s) -> Iterator[Quantizer]:
        lo, hi = float(self.lo), float(self.lo + (1 << self.bits) - 1)
        is_whole = bool((zero_point == np.floor(zero_point)).all())
        if is_whole and (scale > 0).all():
            stored = Quantizer(scale, compact(zero_point), np.asarray(lo), np.asarray(hi)).between(lo, hi)
            yield from (stored, stored.centred())
        steps = 1 if is_whole else _HALVES
        levels = (self.integers - zero_point) * np.sign(scale) * steps
        if (levels != np.rint(levels)).any():
            return
        for bits in range(self.bits, self.bits + _MORE_BITS):
            low, high = -(1 << bits - 1), (1 << bits - 1) - 1
            if low <= levels.min(initial=0) and levels.max(initial=0) <= high:
                size = (np.abs(scale) / np.float32(steps)).astype(np.float32)
                yield Quantizer(size, np.zeros(()), np.asarray(low), np.asarray(high)).between(low, high)
                return


@dataclass(frozen=True)
class _Found:
    """Real numbers, a quantiser that leaves them as they are, and what is subtracted, or a factor of +1 and -1."""

    real: Array
    quantizer: Quantizer
    offset: Array | None = None
    sign: Array | None = None


def read_blocks(model: ir.Model) -> Outcome:
    """Makes hub nodes of MatMulNBits and GatherBlockQuantized, in place.

    Returns:
        A refusal for each that stays.
    """
    refusals: list[Refusal] = []
    with Editor(model, rule="read") as edit:
        for node in list(all_nodes(model.graph)):
            found = _found(node)
            if isinstance(found, Refusal):
                refusals.append(found)
            elif found is not None:
                _apply(edit, node, found)
    if edit.modified:
        model.opset_imports.setdefault(DOMAIN, 1)
    return Outcome(tuple(refusals))


def _found(node: ir.Node) -> _Found | Refusal | None:
    """What a node's weights are, or why they are not known; None for any other operator."""
    if node.domain != CONTRIBUTED or node.op_type not in _READERS:
        return None
    weights = _READERS[node.op_type](node)
    if isinstance(weights, Refusal):
        return weights
    problem = "the real numbers of its integers are not recovered by a quantiser"
    return weights.found(is_product=node.op_type == "MatMulNBits") or Refusal(problem=problem, node=label(node))


def _apply(edit: Editor, node: ir.Node, found: _Found) -> None:
    is_product = node.op_type == "MatMulNBits"
    stored, old = node.inputs[1 if is_product else 0], node.outputs[0]
    name = f"{old.name}/weights" if stored is None else str(stored.name)
    nodes = quant_nodes(edit, edit.constant(f"{name}/real", found.real, like=stored), found.quantizer, name)
    for op_type, array in (("Sub", found.offset), ("Mul", found.sign)):
        if array is not None:
            operands = [nodes[-1].outputs[0], edit.constant(f"{name}/{op_type}/operand", array)]
            nodes.append(edit.node(op_type, operands, f"{name}/{op_type}"))
    weights = nodes[-1].outputs[0]
    if is_product:
        nodes.append(edit.node("MatMul", [node.inputs[0], weights], f"{old.name}/product", like=old))
        bias = node.inputs[5] if len(node.inputs) > 5 else None
        if bias is not None:
            nodes.append(edit.node("Add", [nodes[-1].outputs[0], bias], f"{old.name}/biased", like=old))
    else:
        axis = ir.AttrInt64("axis", node.attributes.get_int("gather_axis", 0))
        inputs = [weights, node.inputs[1]]
        nodes.append(edit.node("Gather", inputs, f"{old.name}/real", like=old, attributes={"axis": axis}))
    for made in nodes:
        made.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    edit.replace(old, nodes)


def _matmul(node: ir.Node) -> _BlockWeights | Refusal:
    where, inputs = label(node), [*node.inputs, *[None] * 6]
    bits, block = node.attributes.get_int("bits", 4), node.attributes.get_int("block_size", 0)
    rows, terms = node.attributes.get_int("N", 0), node.attributes.get_int("K", 0)
    level = node.attributes.get_int("accuracy_level", 0)
    packed, scale = constant(inputs[1]), constant(inputs[2])
    if inputs[4] is not None:
        return Refusal(
            problem="the input g_idx reorders its blocks",
            node=where,
            expected="no g_idx",
            hint="export it without reordering (act_order, desc_act)",
        )
    if level not in EXACT_LEVELS:
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
    integers = unpacked(packed.reshape(rows, blocks * width), bits)[:, :terms].T
    stored = constant(inputs[3])
    zeros = zero_points(stored, (rows, blocks), bits)
    is_real = stored is not None and stored.dtype.kind == "f"
    if zeros is None or (is_real and bits > _WIDEST_WITH_REAL):
        return Refusal(
            problem="the zero points",
            node=where,
            got="none" if stored is None else f"{stored.dtype}{list(stored.shape)} for {bits} bits",
            expected=f"packed bytes, or float32 up to {_WIDEST_WITH_REAL} bits, for {rows} rows of {blocks} blocks",
        )
    spread = [np.repeat(p, block, axis=1)[:, :terms].T for p in (scale.reshape(rows, blocks), zeros)]
    if blocks == 1:
        spread = [p[:1] for p in spread]
    empty = spread[0] == 0  # a block of zeros, whatever its integers are
    integers, zero_point = np.where(empty, 0.0, integers), np.where(empty, 0.0, spread[1])
    spread[0] = np.where(empty, 1.0, spread[0])
    return _BlockWeights(integers, spread[0].astype(np.float32), zero_point, bits, is_real=is_real)


def _gather(node: ir.Node) -> _BlockWeights | Refusal:
    where, inputs = label(node), [*node.inputs, *[None] * 4]
    packed, scale, dtype = constant(inputs[0]), constant(inputs[2]), None if inputs[0] is None else inputs[0].dtype
    is_packed = dtype == ir.DataType.UINT8
    bits = node.attributes.get_int("bits", 4) if is_packed else 4
    if not is_packed and dtype not in (ir.DataType.INT4, ir.DataType.UINT4):
        got = "unknown" if dtype is None else dtype.name
        return Refusal(problem="type of its weights", node=where, got=got, expected="UINT8, INT4 or UINT4")
    refusal = _unfit(node, inputs[2], bits, packed, scale, [inputs[3]])
    if refusal is not None or packed is None or scale is None:
        return refusal or Refusal(problem="the weights or the scales are computed", node=where)
    integers = unpacked(packed, bits) if is_packed else packed.astype(np.float64)
    axis, block = node.attributes.get_int("quantize_axis", 1), node.attributes.get_int("block_size", BLOCK)
    if not -integers.ndim <= axis < integers.ndim or block < 1:
        got = f"axis {axis}, blocks of {block}"
        return Refusal(
            problem="quantize_axis or block_size", node=where, got=got, expected=f"one of {integers.ndim} axes"
        )
    shape = list(integers.shape)
    shape[axis] = -(-shape[axis] // block)
    if list(scale.shape) != shape:
        return Refusal(problem="shape of the scales", node=where, got=str(scale.shape), expected=str(tuple(shape)))
    zeros = zero_points(constant(inputs[3]), tuple(shape), bits, is_packed=is_packed)
    if zeros is None:
        return Refusal(problem="the zero points", node=where, expected=f"one for each scale, {tuple(shape)}")
    length = range(integers.shape[axis])
    spread = [np.repeat(p, block, axis=axis).take(length, axis=axis) for p in (scale, zeros)]
    lo = -(1 << bits - 1) if dtype == ir.DataType.INT4 else 0
    return _BlockWeights(integers, spread[0].astype(np.float32), spread[1], bits, lo)


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
    if not (np.isfinite(scale).all() and (scale.all() or node.op_type == "MatMulNBits")):
        expected = "finite numbers" if node.op_type == "MatMulNBits" else "finite numbers other than 0"
        return Refusal(
            problem="the scales", node=where, got="0" if np.isfinite(scale).all() else "inf or NaN", expected=expected
        )
    return None
