"""Pools in the form that hls4ml computes: means as GlobalAveragePool, ceil mode as padding, signed padded maxima.

hls4ml pads a maximum with the number whose first bit alone is set: the smallest with a sign, a large one without.
"""

from __future__ import annotations

import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.ops.calls import is_call
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.quant import QUANT
from anybit.ops.standard.windows import Windows
from anybit.quantizers.quantizer import Quantizer, read_quant
from anybit.targets.hls4ml.repairs import CHOOSING, Repairs, Step, quant_step


def rewrite_means(repairs: Repairs) -> None:
    """Makes a GlobalAveragePool of each mean over the positions of (N, C, H, W)."""
    for node in repairs.nodes("ReduceMean"):
        x = node.inputs[0]
        shape = None if x is None else shape_of(x)
        if x is None or shape is None or len(shape) != 4 or _axes(node) not in ((2, 3), (-2, -1)):
            continue
        steps = [Step("GlobalAveragePool")]
        if not node.attributes.get_int("keepdims", 1):
            steps.append(Step("Flatten", attributes={"axis": 1}))
        repairs.add(node, "a mean over positions becomes GlobalAveragePool")
        made = repairs.replace(node, x, steps)
        pooled = made.inputs[0] if made.op_type == "Flatten" else made.outputs[0]
        if pooled is not None:
            pooled.shape = ir.Shape([*shape[:2], 1, 1])


def rewrite_ceil_modes(repairs: Repairs) -> None:
    """States the padding that the last windows of a MaxPool in ceil mode reach into."""
    for node in repairs.nodes("MaxPool"):
        x = node.inputs[0]
        shape = None if x is None else shape_of(x)
        kernel = node.attributes.get_ints("kernel_shape", ())
        if node.domain != CHANNELS_LAST or not node.attributes.get_int("ceil_mode", 0) or shape is None:
            continue
        spatial = [s or 0 for s in shape[1:-1]]
        given = {name: a.value for name, a in node.attributes.items()}
        padding = Windows.of(spatial, kernel, given).padding(spatial)
        node.attributes["pads"] = ir.AttrInt64s("pads", [b for b, _ in padding] + [e for _, e in padding])
        node.attributes["ceil_mode"] = ir.AttrInt64("ceil_mode", 0)
        repairs.add(node, "ceil mode becomes padding")


def rewrite_padded_pools(repairs: Repairs) -> None:
    """Gives levels without sign that a padded MaxPool reads one bit more, and a sign."""
    for node in repairs.nodes("MaxPool"):
        if not any(node.attributes.get_ints("pads", ())):
            continue
        for maker in makers(node.inputs[0]):
            quantizer = read_quant(maker, repairs.model) if is_call(maker, QUANT) else None
            if not isinstance(quantizer, Quantizer) or (quantizer.lo < 0).any():
                continue
            hi, scale = int(quantizer.hi.max()), quantizer.scale.reshape(-1)[:1].reshape(())
            repairs.add(node, "the levels that it pads get a sign, as hls4ml pads others with a large number")
            repairs.behind(maker, [quant_step(-hi - 1, hi, scale=scale)])


def makers(value: ir.Value | None) -> list[ir.Node]:
    """The nodes that make the numbers of a tensor, behind those that move or choose among them."""
    found: list[ir.Node] = []
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        at = waiting.pop()
        maker = None if at is None or at in seen else at.producer()
        if at is None or maker is None:
            continue
        seen.add(at)
        if maker.op_type in CHOOSING:
            waiting += maker.inputs
        else:
            found.append(maker)
    return found


def _axes(node: ir.Node) -> tuple[int, ...]:
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant(node.inputs[1])
        return () if array is None else tuple(sorted(array.tolist()))
    return tuple(sorted(node.attributes.get_ints("axes", ())))
