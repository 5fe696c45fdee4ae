"""writing: quantisers into a float model: Quant behind activations and on weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.editor import Editor
from anybit.grid import Grid
from anybit.ops.operator import DOMAIN
from anybit.quantization.branches import branched_from
from anybit.quantization.calibration import Calibrated, WeightResult
from anybit.quantization.layers import Layer, layers_of, scale_tensor
from anybit.quantization.ranges import Range
from anybit.quantizers.quantizer import Quantizer, quant_nodes


def write_quantized(model: ir.Model, found: Calibrated, *, per_tensor: bool) -> ir.Model:
    """The model with the quantisers, weights and biases that a calibration found; it is changed in place."""
    with Editor(model, rule="quantize") as edit:
        for node in list(model.graph):
            for layer in layers_of(node):
                result = found.weights.get(str(layer.weights.name))
                if result is not None:
                    _weights(edit, layer, result, found.biases, per_tensor=per_tensor)
        values = [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]
        named = {str(v.name): v for v in values}
        for name, activation in found.activations.items():
            _activation(edit, named[name], activation.range)
    model.opset_imports.setdefault(DOMAIN, 1)
    return model


def _weights(
    edit: Editor, layer: Layer, result: WeightResult, biases: Mapping[str, Array], *, per_tensor: bool
) -> None:
    node, old = layer.node, layer.weights
    name = str(old.name)
    if result.channels.ndim < 3:
        scale = scale_tensor(layer, result.rounded.scales, per_tensor=per_tensor)
    else:  # one for each block, written out for each weight
        scale = layer.tensor(result.rounded.scales[result.channels]).astype(np.float32)
    array = edit.constant(f"{name}/quantized", result.array, like=old)
    quantizer = _quantizer(np.asarray(scale), 0, Grid(result.bits, signed=True, narrow=True))
    made = quant_nodes(edit, array, quantizer, name)
    edit.insert(made, before=node)
    bias = None if layer.bias is None else biases.get(str(layer.bias.name))
    if layer.bias is not None and bias is not None:
        new = edit.constant(f"{layer.bias.name}/corrected", bias, like=layer.bias)
        for reader, position in list(layer.bias.uses()):
            edit.rewire(reader, position, new)
    edit.rewire(node, layer.weight, made[-1].outputs[0])


def _activation(edit: Editor, value: ir.Value, found: Range) -> None:
    """A Quant that all readers of the tensor read in its place; an output of the model stays as it is.

    A zero point is written as bounds of a Clip behind it: x / scale is rounded as QuantizeLinear does, for every x.
    """
    source = branched_from(value)
    quantizer = _quantizer(np.float32(found.scale), found.zero_point, found.grid).centred()
    producer = value.producer()
    edit.insert_behind(value, quant_nodes(edit, value if source is None else source, quantizer, str(value.name)))
    if source is not None and producer is not None:
        edit.remove(producer)


def _quantizer(scale: object, zero_point: int, grid: Grid) -> Quantizer:
    return Quantizer(
        np.asarray(scale, np.float32),
        np.asarray(float(zero_point)),
        np.asarray(float(grid.lo)),
        np.asarray(float(grid.hi)),
        grid=grid,
    )
