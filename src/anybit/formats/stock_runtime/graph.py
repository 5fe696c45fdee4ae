"""The graph as the optimisers of stock ONNX Runtime see it: what a tensor was dequantised from, what quantises it.

They remove Identity and Dropout, and fold a Clip of stored integers, before they match anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.formats.dialect import Note, Remedy
from anybit.graph.constants import constant
from anybit.graph.walk import label
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.quantizers.clip_fusion import clip_limits
from anybit.quantizers.linear_parameters import Parameters, parameters_of, range_of
from anybit.quantizers.quantizer import compact

BYTES = frozenset((ir.DataType.INT8, ir.DataType.UINT8))
BELOW_BYTES = frozenset(ir.DataType[f"{u}INT{b}"] for u in ("", "U") for b in (2, 4))
MOVES = frozenset("MaxPool Reshape Slice Squeeze Transpose Unsqueeze".split())
"""Operators past which QuantizeLinear and DequantizeLinear are moved."""

_BOUNDS = frozenset(("Clip", "Relu"))
_COPIES = frozenset(("Dropout", "Identity"))


@dataclass(frozen=True)
class Linear:
    """A QuantizeLinear or DequantizeLinear.

    Attributes:
        node: The node.
        dtype: Element type of the integers.
        parameters: Scale and zero point, broadcasting to the tensor.
        stored: The integers, where a DequantizeLinear reads a constant.
    """

    node: ir.Node
    dtype: ir.DataType
    parameters: Parameters
    stored: Array | None = None

    @property
    def is_byte(self) -> bool:
        """Whether its integers have 8 bits."""
        return self.dtype in BYTES

    @property
    def scales(self) -> int:
        """How many scales the node has: not how many differ."""
        array = constant(self.node.inputs[1])
        return 1 if array is None else array.size

    @property
    def one_scale(self) -> float | None:
        """The scale, if it has one."""
        scale = compact(self.parameters.scale.astype(float))
        return None if scale.ndim else float(scale)


def dequantized(value: ir.Value | None, *, moved: bool = False) -> Linear | None:
    """The DequantizeLinear that makes a tensor; if `moved`, past operators that one of one scale is moved past."""
    node = source(value)
    is_direct = True
    while moved and node is not None and node.op_type in MOVES:
        node, is_direct = source(node.inputs[0]), False
    found = linear_of(node) if node is not None and node.op_type == "DequantizeLinear" else None
    return found if is_direct or (found is not None and found.scales == 1) else None


def source(value: ir.Value | None) -> ir.Node | None:
    """The standard node that makes a tensor, past copies."""
    node = None if value is None else value.producer()
    while node is not None and node.domain == "" and node.op_type in _COPIES and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if node is not None and node.domain == "" else None


def linear_of(node: ir.Node) -> Linear | None:
    """A QuantizeLinear or DequantizeLinear of constant parameters."""
    if node.domain != "" or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return None
    parameters = parameters_of(node)
    integers = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    dtype = None if integers is None else integers.dtype
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    dtype = zero_point.dtype if zero_point is not None else dtype
    if isinstance(parameters, Refusal) or dtype is None:
        return None
    stored = _stored(node.inputs[0]) if node.op_type == "DequantizeLinear" else None
    return Linear(node, dtype, parameters, stored)


def _stored(value: ir.Value | None) -> Array | None:
    node = None if value is None else value.producer()
    if node is not None and node.domain == "" and node.op_type == "Clip":
        value = node.inputs[0]
    return constant(value)


def is_whole(value: ir.Value | None) -> bool:
    """Whether a tensor holds integers only: the graph rounds it, or a quantiser of scale 1 makes it."""
    array = constant(value)
    if array is not None:
        return array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool((np.rint(array) == array).all()))
    node = None if value is None else value.producer()
    while node is not None and node.domain == "" and node.op_type in _COPIES | MOVES and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None:
        return False
    if is_call(node, QUANT, BIPOLAR_QUANT) or (node.domain == "" and node.op_type == "DequantizeLinear"):
        scale = constant(node.inputs[1])
        return scale is not None and bool((scale == 1).all()) and (len(node.inputs) < 3 or is_whole(node.inputs[2]))
    if node.domain != "":
        return False
    if node.op_type == "Clip":
        return all(is_whole(v) for v in node.inputs if v is not None)
    return node.op_type in ("Ceil", "Floor", "Round")


def readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """The nodes that read a tensor, and where, past copies."""
    for node, place in value.uses():
        if node.domain == "" and node.op_type in _COPIES and place == 0:
            yield from readers(node.outputs[0])
        else:
            yield node, place


def only_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads a tensor, past copies."""
    found = list(readers(value))
    return found[0][0] if len(found) == 1 and not value.is_graph_output() else None


def quantizer_behind(value: ir.Value, *, moved: bool = True) -> Linear | None:
    """The QuantizeLinear that alone reads a tensor; if `moved`, past what it is moved past, or makes superfluous."""
    node, between = only_reader(value), list[ir.Node]()
    while moved and node is not None and node.domain == "" and node.op_type in MOVES | _BOUNDS:
        between.append(node)
        node = only_reader(node.outputs[0]) if len(node.outputs) == 1 else None
    found = None if node is None or node.op_type != "QuantizeLinear" else linear_of(node)
    if found is None or (found.scales > 1 and any(n.op_type in MOVES for n in between)):
        return None
    return found if all(_is_superfluous(n, found) for n in between if n.op_type in _BOUNDS) else None


def _is_superfluous(bound: ir.Node, quantizer: Linear) -> bool:
    """Whether the range of the integers makes a Relu or Clip superfluous."""
    limits = (0.0, np.inf) if bound.op_type == "Relu" else clip_limits(bound)
    span = range_of(quantizer.dtype)
    if limits is None or span is None:
        return False
    ends = [(end - quantizer.parameters.zero_point) * quantizer.parameters.scale for end in span]
    return bool((limits[0] <= ends[0]).all() and (limits[1] >= ends[1]).all())


@dataclass(frozen=True)
class Place:
    """A node, in a model of a version of the standard operators."""

    node: ir.Node
    opset: int

    @property
    def operands(self) -> list[Linear | None]:
        """What the inputs are dequantised from."""
        return [dequantized(v, moved=True) for v in self.node.inputs]

    @property
    def quantizer(self) -> Linear | None:
        """What alone reads the output, if it quantises it."""
        return quantizer_behind(self.node.outputs[0])

    def note(self, problem: str, *, got: str, remedy: Remedy = Remedy.DISABLE_QUANT_QDQ) -> Note:
        """A note about the node."""
        return Note(problem=problem, node=label(self.node), got=got, hint=remedy.value, remedy=remedy)
