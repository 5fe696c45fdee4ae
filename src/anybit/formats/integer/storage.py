"""Stored integers: how the operators that multiply bytes hold a tensor: as uint8, from 0 up.

From 0 up, and not around 128, since kernels for x86 add pairs of products in 16 bits, which saturate: the fewer of the
8 bits an activation takes, the more are left for the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.errors import Refusal
from anybit.exact.integer_layers import IntegerProduct
from anybit.formats.qdq import qcdq
from anybit.graph.editor import Editor
from anybit.graph.walk import label, shape_of
from anybit.ops.calls import operator_of
from anybit.ops.traits import MOVING
from anybit.quantizers.clip_fusion import before_clip
from anybit.quantizers.containers import Container, containers, span
from anybit.quantizers.linear_parameters import Parameters, Scales, Spelling, spelling_of
from anybit.quantizers.quantizer import Quantizer, read_quant

# ONNX has no GlobalMaxPool of bytes; ONNX Runtime had kernels of bytes for the two of blocks only lately.
MOVEMENT = MOVING - {"DepthToSpace", "GlobalMaxPool", "SpaceToDepth", "Split"}
"""Operators whose only output holds elements of their first input, of bytes as well as of real numbers."""

_SMALLEST, _LARGEST = 1e-30, 1e30  # scales between them recover every byte from its real number
_BYTE = ir.DataType.UINT8
_TOP = 255
LARGEST_SUM = (1 << 31) - 1
"""Magnitude up to which an accumulator of 32 bits holds a sum; beyond, it wraps around, or saturates."""


@dataclass(frozen=True)
class Stored:
    """real = scale * (byte - zero_point), 0 <= byte <= highest.

    Attributes:
        scale: Broadcasts to the tensor like numpy.
        zero_point: Byte that stands for 0.
        lowest: Smallest byte; above 0 only for a tensor that never holds 0.
        highest: Largest byte.
        spelling: Scale and zero point as QuantizeLinear writes them.
    """

    scale: Scales
    zero_point: int
    lowest: int
    highest: int
    spelling: Spelling

    @property
    def is_clipped(self) -> bool:
        """Whether uint8 holds more than these bytes."""
        return (self.lowest, self.highest) != (0, _TOP)

    @property
    def one_scale(self) -> np.float32:
        """The scale where it is one number, else 1: operators take only one, the rest goes into their weights'."""
        return np.float32(self.scale.reshape(()) if self.scale.size == 1 else 1.0)

    def largest_sum(self, magnitudes: Float64s) -> Float64s:
        """The largest magnitude of any sum of some products with these bytes, zero point taken off before or after.

        A byte and its zero point lie both in 0 .. highest, and so does the magnitude of their difference.

        Args:
            magnitudes: What the magnitudes of the weights of a sum add up to.
        """
        return magnitudes * self.highest


def from_zero(quantizer: Quantizer, constant: bool) -> Container | Refusal:  # noqa: FBT001  a `Choose`
    """The container of a quantiser: uint8 from 0 up for activations of up to 8 bits, else that of QCDQ."""
    if not constant:
        offset = np.maximum(quantizer.zero_point - quantizer.lo, 0)
        for choice in containers(quantizer, (_BYTE.bitwidth,)):
            if choice.dtype == _BYTE and (choice.offset == offset).all():
                return choice
    return qcdq.container(quantizer, constant)


def stored_input(product: IntegerProduct, model: ir.Model) -> Stored | Refusal:
    """How the first operand of a product is stored: as its quantiser declares it, if one makes it."""
    x = product.product.inputs[0]
    grid = product.x.centred()
    if x is None or grid is None:
        return Refusal(problem="the zero point of the input is no integer", node=label(product.product))
    quantizer = _source(x, model)
    if quantizer is None:
        quantizer = Quantizer(np.ones((), np.float32), np.zeros(()), grid.lo, grid.hi)
        quantizer = quantizer.between(grid.lo.min(), grid.hi.max())
    return _stored(grid.scale.astype(np.float32), quantizer, x, product.product)


def stored_output(quantizer: Quantizer, output: ir.Value, node: ir.Node) -> Stored | Refusal:
    """How the output of a quantiser is stored."""
    return _stored(quantizer.scale, quantizer, output, node)


def _stored(scale: Scales, quantizer: Quantizer, value: ir.Value, node: ir.Node) -> Stored | Refusal:
    container = from_zero(quantizer, constant=False)
    if isinstance(container, Refusal) or container.dtype != _BYTE or container.offset.ndim:
        return Refusal(
            problem="the integers do not fit into a byte", node=label(node), got=span(quantizer), expected="0 .. 255"
        )
    if not ((scale > _SMALLEST) & (scale < _LARGEST)).all():
        return Refusal(problem="the scale is out of reach", node=label(node), got=f"{scale.min():g}")
    spelling = spelling_of(Parameters(scale, container.offset), shape_of(value))
    if isinstance(spelling, Refusal):
        return spelling
    lowest, highest = container.clip or (0, _TOP)
    return Stored(scale, int(container.offset), lowest, highest, spelling)


def _source(value: ir.Value, model: ir.Model) -> Quantizer | None:
    """The quantiser that makes the elements of a tensor, if operators only moved them since."""
    node = value.producer()
    while node is not None and node.domain == "" and node.op_type in MOVEMENT and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    clip = node
    for op_type in ("Clip", "Min", "Max"):
        if node is not None and node.domain == "" and node.op_type == op_type and node.inputs[0] is not None:
            node = node.inputs[0].producer()
    if node is None or operator_of(node, model.opset_imports) is None:
        return None
    quantizer = read_quant(node, model)
    if isinstance(quantizer, Refusal) or node is clip:
        return None if isinstance(quantizer, Refusal) else quantizer
    narrowed = before_clip(node, quantizer)
    return narrowed[1] if narrowed is not None and narrowed[0] is clip else None


@dataclass
class Bytes:
    """Adds QuantizeLinear, Clip and DequantizeLinear around operators that take bytes.

    Attributes:
        edit: Adds the nodes.
    """

    edit: Editor
    _made: dict[tuple[ir.Value, ir.Graph | ir.Function | None], ir.Value] = field(
        default_factory=dict[tuple[ir.Value, ir.Graph | ir.Function | None], ir.Value]
    )

    def quantized(self, x: ir.Value, stored: Stored, place: ir.Node) -> ir.Value:
        """The bytes of a tensor, made before `place` unless a node before it has asked for them."""
        key = (x, place.graph)
        if key not in self._made:
            node = self.linear("QuantizeLinear", x, stored, f"{x.name}/bytes", like=x)
            node.outputs[0].type = ir.TensorType(_BYTE)
            self.edit.insert(node, before=place)
            self._made[key] = node.outputs[0]
        return self._made[key]

    def linear(self, op_type: str, value: ir.Value, stored: Stored, output: str, *, like: ir.Value) -> ir.Node:
        """QuantizeLinear or DequantizeLinear, in no graph yet."""
        scale = self.edit.constant(f"{output}/scale", np.asarray(stored.spelling.scale))
        zeros = np.full(stored.spelling.scale.shape, stored.zero_point, np.uint8)
        zero_point = self.edit.constant(f"{output}/zero_point", zeros)
        attributes: Mapping[str, ir.Attr] = stored.spelling.attributes
        return self.edit.node(op_type, [value, scale, zero_point], output, like=like, attributes=attributes)

    def byte(self, name: str, number: int) -> ir.Value:
        """A byte as a constant."""
        return self.edit.constant(name, np.asarray(number, np.uint8))

    def node(
        self, op_type: str, inputs: list[ir.Value | None], output: str, like: ir.Value, **attributes: ir.Attr
    ) -> ir.Node:
        """A node whose output is of bytes, in no graph yet."""
        made = self.edit.node(op_type, inputs, output, like=like, attributes=attributes)
        made.outputs[0].type = ir.TensorType(_BYTE)
        return made
