"""openvino_form: a model in standard operators, in the form that OpenVINO multiplies bytes of.

    clip(x, lo * scale, hi * scale) in float, then QuantizeLinear and DequantizeLinear of zero point 0

It means what the quantiser means: clipping is monotone, and rounding takes fl(lo * scale) / scale back to lo. OpenVINO
fuses it into the layer before; a Clip of integers it does not, and zero points other than 0 it has computed wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from anybit.cleanup.fold_constants import FoldConstants
from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.remove_unused import RemoveUnused
from anybit.errors import Refusal
from anybit.formats.convert import to_hub
from anybit.formats.integer.storage import MOVEMENT
from anybit.formats.qdq import qcdq
from anybit.formats.qdq.write import write_linear
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.io.opset import convert_opset
from anybit.ops.calls import is_call, operator_of
from anybit.ops.expand import BODY_OPSET, Expander
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.quant import QUANT
from anybit.quantizers.clip_fusion import before_clip
from anybit.quantizers.containers import Container, containers, span
from anybit.quantizers.quantizer import Quantizer, read_quant

_ARITHMETIC = frozenset("Add Conv ConvTranspose Gemm MatMul".split())  # OpenVINO rounds averages of bytes
_SUMS = frozenset("AveragePool BatchNormalization Conv ConvTranspose Gemm GlobalAveragePool MatMul ReduceMean".split())
_OPSETS = range(15, 24)  # that both the bodies of our operators and OpenVINO know
_BYTE = 8


def openvino_form(model: ir.Model, *, integers: bool) -> ir.Model:
    """A copy of the model in standard operators.

    Args:
        model: Model of any format without model-local functions.
        integers: Whether quantisers become QuantizeLinear and DequantizeLinear, by which products are of integers;
            else they are emulated in float.

    Raises:
        UnsupportedError: An operator has no ONNX body, or cannot be brought to a known opset.
    """
    hub, _ = to_hub(model)
    if hub.opset_imports.get("", 1) not in _OPSETS:
        hub = convert_opset(hub, BODY_OPSET)
        InferShapes()(hub)
    expander = Expander(hub.graph)
    if integers:
        _expand(_emulated(hub), hub, expander)
        _give_grid_points(_at_the_inputs(hub), hub, expander)
        _clip_in_float(hub)
        write_linear(hub, _container, approximate=False)
    else:
        FoldConstants(keep_quantizers=False)(hub)
    _expand(all_nodes(hub.graph), hub, expander)
    RemoveUnused()(hub)
    return hub


def _expand(nodes: Iterable[ir.Node], model: ir.Model, expander: Expander) -> None:
    for node in list(nodes):
        operator = operator_of(node, model.opset_imports)
        if operator is not None:
            expander.expand(node, operator)


def _give_grid_points(nodes: Iterable[ir.Node], model: ir.Model, expander: Expander) -> None:
    """Puts each quantiser once more before itself, emulated in float, so that it meets no ties.

    OpenVINO adds 128 before it rounds to int8, and loses the last bits of what is close to a tie. Sums of products
    are rounded anyway; exact inputs may well be ties.
    """
    with Editor(model, rule="grid points") as edit:
        for node in list(nodes):
            name, output = f"{node.outputs[0].name}/emulated", node.outputs[0]
            same = edit.node(
                node.op_type, node.inputs, name, like=output, domain=node.domain, attributes=node.attributes
            )
            edit.insert(same, before=node)
            node.replace_input_with(0, same.outputs[0])
            _expand([same], model, expander)


def _at_the_inputs(model: ir.Model) -> list[ir.Node]:
    """The quantisers whose operand is no sum of products, and no average."""
    summed = set[ir.Value | None]()
    for node in model.graph:
        if node.op_type in _SUMS or any(v in summed for v in node.inputs):
            summed.update(node.outputs)
    return [n for n in model.graph if is_call(n, QUANT) and constant(n.inputs[0]) is None and n.inputs[0] not in summed]


def _emulated(model: ir.Model) -> list[ir.Node]:
    """The quantisers that would make floats of 8 bits, and those of activations that are not for products alone."""
    ours = (n for n in all_nodes(model.graph) if operator_of(n, model.opset_imports) is not None)
    return [
        n
        for n in ours
        if is_call(n, FLOAT_QUANT) or (constant(n.inputs[0]) is None and not _is_multiplied(n.outputs[0]))
    ]


def _is_multiplied(value: ir.Value) -> bool:
    """Whether a tensor goes, moved perhaps, into products and sums only."""
    readers = [user for user, _ in value.uses()]
    if value.is_graph_output() or not readers:
        return False
    return all(
        n.domain == "" and (n.op_type in _ARITHMETIC or (n.op_type in MOVEMENT and _is_multiplied(n.outputs[0])))
        for n in readers
    )


def _clip_in_float(model: ir.Model) -> None:
    with Editor(model, rule="clip") as edit:
        for node in list(all_nodes(model.graph)):
            x = node.inputs[0] if node.inputs else None
            quantizer = read_quant(node, model)
            if x is None or constant(x) is not None or isinstance(quantizer, Refusal) or not _clips_in_float(quantizer):
                continue
            narrowed = before_clip(node, quantizer)
            meaning = quantizer if narrowed is None else narrowed[1]
            container = _container(meaning, constant=False)
            if isinstance(container, Refusal) or _is_full(meaning, container):
                continue
            _clip_input(edit, node, x, meaning)


def _clip_input(edit: Editor, node: ir.Node, x: ir.Value, meaning: Quantizer) -> None:
    """Lets a node read its input between the lowest and the highest number that its quantiser makes."""
    name = str(node.outputs[0].name)
    bounds = [
        edit.constant(f"{name}/{key}", np.asarray(meaning.dequantized(np.asarray(bound)), np.float32).reshape(()))
        for key, bound in (("lowest", meaning.lo), ("highest", meaning.hi))
    ]
    clip = edit.node("Clip", [x, *bounds], f"{name}/clipped", like=x)
    edit.insert(clip, before=node)
    node.replace_input_with(0, clip.outputs[0])


def _clips_in_float(quantizer: Quantizer) -> bool:
    """Whether clipping the real numbers is the same as clipping the integers, and a Clip can state it."""
    return quantizer.is_half_even and quantizer.scale.size == quantizer.lo.size == quantizer.hi.size == 1


def _is_full(quantizer: Quantizer, container: Container) -> bool:
    """Whether QuantizeLinear alone clips as the quantiser does."""
    signed = container.dtype == ir.DataType.INT8
    lo = -(1 << _BYTE - 1) if signed else 0
    return (float(quantizer.lo), float(quantizer.hi)) == (lo, lo + (1 << _BYTE) - 1)


def _container(quantizer: Quantizer, constant: bool) -> Container | Refusal:  # noqa: FBT001  a `Choose`
    """A byte of zero point 0: int8 for all weights, and for activations that can be negative."""
    for choice in containers(quantizer, (_BYTE,)):
        if not choice.offset.any() and (choice.dtype == ir.DataType.INT8 or not constant):
            return replace(choice, clip=None) if constant or _clips_in_float(quantizer) else choice
    if constant:
        return qcdq.container(quantizer, constant)
    return Refusal(problem="no byte of zero point 0 holds the integers", got=span(quantizer))
