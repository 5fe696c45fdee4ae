"""SubpixelToDeconv: a convolution and a depth-to-space are one transposed convolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Finding, Refusal, Severity
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label
from anybit.ops.sizes import refuse_bytes
from anybit.passes.lowering.known_weights import (
    Convolution,
    moved_weight,
    read_convolution,
)


@dataclass(frozen=True)
class SubpixelToDeconv(ir.passes.InPlacePass):
    """Replaces Conv and the DepthToSpace behind it by a ConvTranspose whose stride is the block size.

    Before: ``y = DepthToSpace<blocksize=b>(Conv(x, w))``; after: ``y = ConvTranspose<strides=[b, b]>(x, w')``. The
    kernel's elements only move, those of quantised weights too, so that the same products are added up. A quantiser
    with scales that differ within a block gets one scale an element.

    What stays, with a note: convolutions with strides, dilations, more padding than the kernel reaches, a bias that
    differs within a block, groups that a block of mode DCR mixes, and outputs that something else reads.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="subpixel-to-deconv") as edit:
            for node in list(all_nodes(model.graph)):
                convolution = _convolution_before(node)
                if convolution is None:
                    continue
                plan = _plan(convolution, node, model.opset_imports)
                if isinstance(plan, Refusal):
                    edit.note(_finding(plan))
                    continue
                _replace(edit, convolution, node, plan)
        return edit.result()


def _convolution_before(node: ir.Node) -> ir.Node | None:
    if node.domain != "" or node.op_type != "DepthToSpace" or node.inputs[0] is None:
        return None
    producer = node.inputs[0].producer()
    return producer if producer is not None and producer.domain == "" and producer.op_type == "Conv" else None


def _finding(refusal: Refusal) -> Finding:
    return Finding(
        rule="subpixel-to-deconv",
        problem=refusal.problem,
        node=refusal.node,
        got=refusal.got,
        expected=refusal.expected,
        severity=Severity.WARNING,
    )


def _plan(node: ir.Node, shuffle: ir.Node, opset_imports: dict[str, int]) -> Convolution | Refusal:
    where = label(node)
    if len(node.outputs[0].uses()) != 1 or node.outputs[0].is_graph_output():
        return Refusal(problem="something else reads the convolution", node=where)
    read = read_convolution(node, opset_imports)
    if isinstance(read, Refusal):
        return read
    if len(read.kernel) != 2 or set(read.strides) != {1} or set(read.dilations) != {1}:
        got = f"strides {list(read.strides)}, dilations {list(read.dilations)}"
        return Refusal(problem="steps of the convolution", node=where, got=got, expected="strides and dilations of 1")
    if any(p > r for side in read.pads for p, r in zip(side, read.reach, strict=True)):
        return Refusal(problem="padding", node=where, got=str(read.pads), expected=f"at most {list(read.reach)}")
    block, channel_first = _block(shuffle)
    if read.groups > 1 and (not channel_first or (len(read.weight.array) // read.groups) % block**2):
        return Refusal(problem="a block mixes groups", node=where, got=f"{read.groups} groups", expected="1 group")
    refuse_bytes(8 * block**2, where)
    biases = np.zeros(block**2) if read.bias is None else read.bias
    if np.ptp(_blocks(biases, block, channel_first=channel_first), axis=(1, 2)).any():
        return Refusal(problem="the bias differs within a block", node=where, expected="one bias a block, or none")
    return read


def _block(shuffle: ir.Node) -> tuple[int, bool]:
    """Block size, and whether the channel comes before the position in the block (CRD)."""
    mode = shuffle.attributes["mode"].as_string() if "mode" in shuffle.attributes else "DCR"
    return shuffle.attributes["blocksize"].as_int(), mode == "CRD"


def _blocks(array: Array, block: int, *, channel_first: bool) -> Array:
    """The first axis as (channel, row in the block, column in the block)."""
    rest = array.shape[1:]
    if channel_first:
        return array.reshape(-1, block, block, *rest)
    return np.moveaxis(array.reshape(block, block, -1, *rest), 2, 0)


def _replace(edit: Editor, node: ir.Node, shuffle: ir.Node, convolution: Convolution) -> None:
    block, channel_first = _block(shuffle)
    groups = convolution.groups

    def move(array: Array) -> Array:
        """(outputs, inputs / groups, rows, columns) to (inputs, channels / groups, block * rows, block * columns)."""
        kernels = _blocks(array, block, channel_first=channel_first)[..., ::-1, ::-1]
        channels, _, _, inputs, rows, columns = kernels.shape
        split = kernels.reshape(groups, channels // groups, block, block, inputs, rows, columns)
        return split.transpose(0, 4, 1, 5, 2, 6, 3).reshape(
            groups * inputs, channels // groups, block * rows, block * columns
        )

    old = shuffle.outputs[0]
    inputs = [node.inputs[0], moved_weight(edit, convolution.weight, f"{old.name}_weight", move)]
    if convolution.bias is not None:
        bias = _blocks(convolution.bias, block, channel_first=channel_first)[:, 0, 0]
        inputs.append(edit.constant(f"{old.name}_bias", np.ascontiguousarray(bias)))
    pads = [block * (r - p) for side in convolution.pads for p, r in zip(side, convolution.reach, strict=True)]
    transposed = ir.node(
        "ConvTranspose",
        inputs,
        {
            "group": groups,
            "kernel_shape": [block * k for k in convolution.kernel],
            "pads": pads,
            "strides": [block, block],
        },
        name=node.name,
    )
    transposed.outputs[0].shape, transposed.outputs[0].type = old.shape, old.type
    edit.replace(old, transposed)
    edit.remove(shuffle)
