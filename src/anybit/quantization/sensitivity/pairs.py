"""paired: the tensors of a float model that a quantised form of it quantises, whatever their names."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.clean import clean
from anybit.errors import Refusal, UnsupportedError
from anybit.formats.convert import to_hub
from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.grid import Grid
from anybit.io.load import ModelSource
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.quantization.branches import branched_from
from anybit.quantization.layers import Layer
from anybit.quantization.prepare import Prepared, prepare
from anybit.quantization.ranges import Range
from anybit.quantizers.clip_fusion import behind_bounds
from anybit.quantizers.quantizer import Quantizer, read_quant


@dataclass(frozen=True)
class StatedRange(Range):
    """A quantiser as a model states it, with any scales, zero points, bounds and rounding.

    Attributes:
        quantizer: The quantiser.
    """

    quantizer: Quantizer | None = None

    def quantized(self, x: Array) -> Array:
        """y, in float32."""
        stated = self.quantizer
        if stated is None:
            return super().quantized(x)
        return np.asarray(stated(x), np.float32)


@dataclass(frozen=True)
class Pair:
    """What a quantised model has in the place of tensors of a float one.

    Attributes:
        activations: Quantisers by tensor of the float model.
        weights: Bits and weights on their grid by weight of the float model.
    """

    activations: dict[str, StatedRange]
    weights: dict[str, tuple[int, Array]]


def paired(prepared: Prepared, quantized: ModelSource) -> Pair:
    """The quantised tensors of a model by the tensors of its float form that they correspond to.

    Layers correspond that come in the same order with the same operator and shape of weights; activations that come
    in the same order with the same shape and for the same operator.

    Args:
        prepared: The float model.
        quantized: A quantised form of it.

    Raises:
        UnsupportedError: No tensors correspond, or a quantiser is not uniform, or its parameters are computed.
    """
    hub = clean(to_hub(quantized)[0])
    stated: dict[str, Quantizer] = {}
    on_weights: dict[str, int] = {}
    for node in hub.graph:
        if not is_call(node, QUANT) or node.inputs[0] is None:
            continue
        read = read_quant(node, hub)
        if isinstance(read, Refusal) or read.grid is None:
            raise UnsupportedError("a quantiser that is not followed", node=str(node.name), got=str(read))
        if constant(node.inputs[0]) is None:
            stated[str(node.inputs[0].name)] = behind_bounds(node, read)[1]
        else:
            on_weights[str(node.outputs[0].name)] = read.grid.bits
    other = prepare(quantized, requantize=True)
    activations: dict[str, StatedRange] = {}
    copied = {str(v.name): source.name for v in other.placement.activations if (source := branched_from(v)) is not None}
    for ours, theirs in _in_order(_activations(prepared), _activations(other)):
        quantizer = stated.get(str(copied.get(theirs, theirs)))
        if quantizer is not None:
            activations[ours] = StatedRange(_grid(quantizer), 1.0, 0, 0.0, quantizer)
    weights: dict[str, tuple[int, Array]] = {}
    layers = {str(layer.weights.name): layer for layer in other.placement.layers}
    for ours, theirs in _in_order(_weights(prepared), _weights(other)):
        array = constant(layers[theirs].weights)
        if theirs in on_weights and array is not None:
            weights[ours] = (on_weights[theirs], np.asarray(array, np.float32))
    if not activations and not weights:
        raise UnsupportedError("no tensors of the two models correspond", hint="is the second one quantised?")
    return Pair(activations, weights)


def _grid(quantizer: Quantizer) -> Grid:
    """Its grid; of other bounds one with as many integers, from 0 on."""
    levels = int((quantizer.hi - quantizer.lo).max())
    return quantizer.grid or Grid(levels.bit_length(), signed=False)


_Named = list[tuple[str, Hashable]]


def _activations(prepared: Prepared) -> _Named:
    placed = prepared.placement.activations
    return [(str(v.name), (node.op_type, _sizes(v))) for v, node in placed.items()]


def _sizes(value: ir.Value) -> tuple[int | None, ...]:
    return tuple(shape_of(value) or ())[1:]


def _weights(prepared: Prepared) -> _Named:
    return [(str(layer.weights.name), _kind(layer)) for layer in prepared.placement.layers]


def _kind(layer: Layer) -> Hashable:
    return layer.node.op_type, tuple(shape_of(layer.weights) or ())


def _in_order(ours: _Named, theirs: _Named) -> Sequence[tuple[str, str]]:
    """The names whose kinds come in the same order."""
    matcher = SequenceMatcher(None, [k for _, k in ours], [k for _, k in theirs], autojunk=False)
    return [
        (ours[block.a + i][0], theirs[block.b + i][0])
        for block in matcher.get_matching_blocks()
        for i in range(block.size)
    ]
