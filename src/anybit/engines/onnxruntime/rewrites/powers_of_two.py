"""Scales that are powers of two leave the activations for ONNX Runtime: activations are integers, weights take them.

    w2 * Quant(w1 * x + b, s) = (w2 * s) * Quant(w1/s * x + b/s, 1)

A product with a power of two is exact, so that nothing is rounded otherwise, as long as no sum overflows float32. Of
the four passes over memory of a quantiser two remain: Clip and Round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import is_power_of_two
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.ops.traits import standard
from anybit.quantizers.quantizer import read_quant

# f(a * x) = a * f(x) for a power of two a
_HOMOGENEOUS = standard(lambda t: t.homogeneous)
# What adds up the integers of its input may leave those that float32 holds.
_WITHOUT_SUMS = standard(lambda t: t.homogeneous and (t.movement or t.elementwise))
# The inputs by which a node's output is multiplied as a whole, and which have to be constant.
_FACTORS = {"BatchNormalization": (1, 2), "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (1,)}
_PRODUCTS = frozenset("Conv ConvTranspose Gemm MatMul".split())
_LARGEST_EXPONENT = 24  # of a scale that is moved
_SAFE = 2.0**100  # constants between its inverse and itself keep their precision


@dataclass(frozen=True)
class _Operand:
    """A constant input of a node."""

    node: ir.Node
    place: int

    @property
    def fits(self) -> bool:
        """Whether it may be multiplied by a power of two without loss."""
        value = self.node.inputs[self.place]
        array = constant(value)
        if value is None:
            return True  # a bias that is left out
        if array is None or array.dtype != np.float32:
            return False
        magnitudes = np.abs(array[array != 0])
        return bool(((magnitudes > 1 / _SAFE) & (magnitudes < _SAFE)).all())

    def multiply(self, factor: float, edit: Editor) -> None:
        """Replaces the constant for this node alone."""
        value = self.node.inputs[self.place]
        array = constant(value)
        if value is None or array is None:
            return
        scaled = edit.constant(f"{value.name}/scaled", array * np.float32(factor))
        edit.rewire(self.node, self.place, scaled)


def move_powers_of_two(model: ir.Model) -> None:
    """Takes the scales out of quantisers between two products of constant weights, where they are powers of two.

    Args:
        model: Model whose constants are folded, quantised weights included; changed in place.
    """
    with Editor(model, rule="scales") as edit:
        for node in list(all_nodes(model.graph)):
            scale = _power_of_two(node, model)
            sources = None if scale is None else _sources(node)
            readers = None if sources is None else _readers(node)
            if scale is None or sources is None or readers is None or not all(o.fits for o in (*sources, *readers)):
                continue
            for operands, factor in ((sources, 1 / scale), (readers, scale)):
                for operand in operands:
                    operand.multiply(factor, edit)
            edit.rewire(node, 1, edit.constant(f"{node.outputs[0].name}/one", np.ones((), np.float32)))


def _power_of_two(node: ir.Node, model: ir.Model) -> float | None:
    """The scale of a quantiser of activations, if it is a power of two other than 1 and there is no zero point."""
    quantizer = read_quant(node, model)
    if isinstance(quantizer, Refusal) or constant(node.inputs[0]) is not None:
        return None
    if quantizer.scale.size != 1 or quantizer.zero_point.any() or quantizer.is_bipolar:
        return None
    scale = float(quantizer.scale.reshape(()))
    exponent = int(np.frexp(scale)[1])
    return scale if is_power_of_two(scale) and scale != 1 and abs(exponent) <= _LARGEST_EXPONENT else None


def _sources(node: ir.Node) -> list[_Operand] | None:
    """The constants that X is proportional to, taken together; None if there are none."""
    operands: list[_Operand] = []
    value = node.inputs[0]
    while value is not None and len(value.uses()) == 1 and not value.is_graph_output():
        maker = value.producer()
        if maker is None or maker.domain != "" or len(maker.outputs) != 1:
            return None
        match maker.op_type:
            case "Add":
                places = [p for p in (0, 1) if constant(maker.inputs[p]) is not None]
                if len(places) != 1:
                    return None
                operands.append(_Operand(maker, places[0]))
                value = maker.inputs[1 - places[0]]
            case op_type if op_type in _HOMOGENEOUS:
                value = maker.inputs[0]
            case op_type if op_type in _FACTORS:
                return [*operands, *(_Operand(maker, p) for p in _FACTORS[op_type] if p < len(maker.inputs))]
            case _:
                return None
    return None


def _readers(node: ir.Node) -> list[_Operand] | None:
    """The weights that all products of Y have; None if something else reads it."""
    operands: list[_Operand] = []
    waiting = [node.outputs[0]]
    while waiting:
        value = waiting.pop()
        if value.is_graph_output():
            return None
        for reader, place in value.uses():
            if reader.domain != "" or place != 0 or len(reader.outputs) != 1:
                return None
            if reader.op_type in _PRODUCTS:
                operands.append(_Operand(reader, 1))
            elif reader.op_type in _WITHOUT_SUMS:
                waiting.append(reader.outputs[0])
            else:
                return None
    return operands or None
