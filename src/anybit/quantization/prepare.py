"""prepare: a float model as it is quantised: normalised, batch normalisation folded, each weight used once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, analyse
from anybit.arrays import as_float64
from anybit.cleanup.clean import clean
from anybit.cleanup.fusion.fold_batch_norm import FoldBatchNorm
from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.remove_unused import RemoveUnused
from anybit.cleanup.set_batch import SetBatch
from anybit.errors import InvalidModelError, UnsupportedError
from anybit.formats.convert import to_hub
from anybit.graph.constants import constant, fed_inputs, new_initializer
from anybit.graph.editor import Editor
from anybit.graph.names import Names
from anybit.io.load import ModelSource
from anybit.quantization.branches import branch_pooled
from anybit.quantization.layers import layers_of
from anybit.quantization.placement import Placement, place
from anybit.quantization.strip import strip_quantizers


@dataclass(frozen=True)
class Prepared:
    """A float model, and the same with a free batch, in which all names are those of the model.

    Attributes:
        model: What is written in the end, with quantisers.
        work: What runs on the calibration data.
        free_batch: Whether the batch of `work` is free.
        placement: What can be quantised, in `work`.
        values: What is proven of the tensors of `work`.
    """

    model: ir.Model
    work: ir.Model
    free_batch: bool
    placement: Placement
    values: Values

    def bounds(self, value: ir.Value) -> tuple[float, float]:
        """The proven bounds of a tensor."""
        known = self.values.get(str(value.name))
        return (-np.inf, np.inf) if known is None else (float(known.lo.min()), float(known.hi.max()))


def prepare(model: ModelSource, *, requantize: bool = False) -> Prepared:
    """The model as it is quantised.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it is not changed.
        requantize: Whether quantisers that it has are taken out.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: It is broken.
        UnsupportedError: It has no float input, or nothing that can be quantised.
    """
    current = clean(to_hub(model)[0])
    if requantize:
        current = clean(strip_quantizers(current))
    FoldBatchNorm(quantized=False, float_weights=True)(current)
    _fold_factors(current)
    _give_biases(current)
    _separate(current)
    branch_pooled(current)
    RemoveUnused()(current)
    InferShapes()(current)
    work, free = _with_free_batch(current)
    placement = place(work)
    if not fed_inputs(work.graph):
        raise UnsupportedError("a model without inputs cannot be calibrated")
    return Prepared(current, work, free, placement, analyse(work))


def _with_free_batch(model: ir.Model) -> tuple[ir.Model, bool]:
    """A copy whose batch is free, where it is that already or can be, and whether it is."""
    work = model.clone()
    shapes = [v.shape for v in fed_inputs(work.graph)]
    if all(s is not None and s.rank() and not isinstance(s[0], int) for s in shapes):
        return work, True
    try:
        SetBatch()(work)
    except InvalidModelError:
        return model.clone(), False
    InferShapes()(work)
    return work, True


def _fold_factors(model: ir.Model) -> None:
    """Multiplies the factors alpha and beta of each Gemm with constant operands into these."""
    with Editor(model, rule="quantize") as edit:
        for node in edit.nodes("Gemm"):
            factors = {1: node.attributes.get_float("alpha", 1.0), 2: node.attributes.get_float("beta", 1.0)}
            read = {i: v for i, v in enumerate(node.inputs) if i and v is not None}
            arrays = {i: constant(v) for i, v in read.items()}
            if all(f == 1 for f in factors.values()) or any(a is None for a in arrays.values()):
                continue
            for position, array in arrays.items():
                if array is not None:
                    scaled = (as_float64(array) * factors[position]).astype(array.dtype)
                    edit.rewire(node, position, edit.constant(f"{read[position].name}/scaled", scaled))
            for name in ("alpha", "beta"):
                node.attributes.pop(name, None)


def _give_biases(model: ir.Model) -> None:
    """Gives each convolution of float weights a bias: the constant that is added behind it, else zeros."""
    with Editor(model, rule="quantize") as edit:
        for node in list(model.graph):
            for layer in layers_of(node):
                if node.op_type != "Conv" or layer.bias is not None:
                    continue
                channels = int(layer.channels.max()) + 1
                addition = _addition(node.outputs[0], channels)
                array = np.zeros(channels, np.float32)
                if addition is not None:
                    array = np.asarray(constant(addition[1]), np.float32).reshape(channels)
                node.resize_inputs(3)
                node.replace_input_with(2, edit.constant(f"{layer.weights.name}/bias", array))
                if addition is not None:
                    edit.redirect(addition[0].outputs[0], node.outputs[0])


def _addition(value: ir.Value, channels: int) -> tuple[ir.Node, ir.Value] | None:
    """The Add that alone reads a convolution and adds a constant to each channel, and the constant."""
    uses = list(value.uses())
    if value.is_graph_output() or len(uses) != 1:
        return None
    reader, position = uses[0]
    other = reader.inputs[1 - position] if reader.op_type == "Add" and reader.domain == "" else None
    array, rank = constant(other), None if value.shape is None else value.shape.rank()
    if other is None or array is None or rank is None or reader.outputs[0].is_graph_output():
        return None
    wanted = (channels, *(1 for _ in range(rank - 2)))
    return (reader, other) if array.shape in (wanted, (1, *wanted)) and array.dtype.name == "float32" else None


def _separate(model: ir.Model) -> None:
    """Gives each layer weights and a bias of its own."""
    names = Names.of_tensors(model)
    for node in list(model.graph):
        for layer in layers_of(node):
            _own(model, layer.weights, node, names)
            bias = layer.bias
            reader = None if bias is None else next(iter(u for u, _ in bias.uses() if _is_of(u, node)), None)
            if bias is not None and reader is not None:
                _own(model, bias, reader, names)


def _is_of(reader: ir.Node, node: ir.Node) -> bool:
    """Whether the node reads the bias for a layer: it is that layer, or adds to what it makes."""
    return reader is node or any(v in node.outputs for v in reader.inputs)


def _own(model: ir.Model, value: ir.Value, node: ir.Node, names: Names) -> None:
    array = constant(value)
    if array is None or len(value.uses()) < 2:
        return
    copy = new_initializer(model.graph, names.fresh(str(value.name)), array)
    for position, read in enumerate(node.inputs):
        if read is value:
            node.replace_input_with(position, copy)
