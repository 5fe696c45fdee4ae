"""Small nets, each with one thing that needs steps of its own in FINN's builder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.targets.hls4ml.nets import Net, then


@dataclass(frozen=True)
class Case:
    """A net, and the steps that FINN needs for it.

    Attributes:
        make: Builds it.
        needs: Some of its steps.
        needs_not: Steps that it has not.
        executable: Whether FINN can execute its hardware layers.
    """

    make: Callable[[], Net]
    needs: frozenset[str] = frozenset()
    needs_not: frozenset[str] = frozenset()
    executable: bool = True


def _residual(net: Net, channels: int) -> Net:
    at = net.at
    left = net.conv(channels, channels, kernel=(1, 1)).quant(0.25).at
    net.at = at
    return net.conv(channels, channels, kernel=(1, 1)).quant(0.25).add(left)


def _image() -> Net:
    return Net(3, 6, 6).quant().conv(3, 4).quant()


def _beside(first: Callable[[Net], Net], op_type: str, **attributes: int) -> Net:
    """A layer of the quantised input, and that input itself."""
    net = Net(3, 6, 6).quant()
    at = net.at
    return first(net).op(op_type, at, **attributes)


def _unsqueezed() -> Net:
    net = Net(6).quant().dense(6, 4).op("Relu").quant(signed=0).dense(4, 5).quant()
    return net.op("Unsqueeze", net.const([2, 3], np.int64))


def _head(net: Net, size: int, features: int) -> Net:
    return net.op("Reshape", net.const([1, features], np.int64)).dense(features, 3) if size else net


def _pooled(strides: int, **attributes: object) -> Net:
    net = _image().op("MaxPool", kernel_shape=[2, 2], strides=[strides, strides], **attributes)
    return net.conv(4, 4, kernel=(1, 1)).quant()


def joined(bits: int = 4) -> Net:
    net = _image()
    at = net.at
    left = net.conv(4, 4, kernel=(1, 1)).quant().at
    net.at = at
    net.conv(4, 2, kernel=(1, 1)).quant(bits=bits)
    net.op("Concat", left, axis=1)
    return net.conv(6, 4, kernel=(1, 1)).quant()


def upsampled(net: Net, **attributes: object) -> Net:
    return net.op("Resize", "", net.const([1, 1, 2, 2]), mode="nearest", **attributes)


def unet(*size: int) -> Net:
    """Down and up again, and what was before beside what comes of it; scales that are powers of two apart."""
    net = Net(3, *size).quant().conv(3, 4, pads=[1, 1, 1, 1]).quant(0.5)
    skip = net.at
    net.op("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).conv(4, 6, pads=[1, 1, 1, 1]).quant()
    upsampled(net, coordinate_transformation_mode="half_pixel").conv(6, 4, kernel=(1, 1)).quant()
    return net.op("Concat", skip, axis=1).conv(8, 3, pads=[1, 1, 1, 1]).quant()


BY_CHANNEL = np.float32([0.25, 1, 0.125, 0.5]).reshape(1, 4, 1, 1)


def by_channel() -> Net:
    """A convolution of each kind that reads levels whose scale, a power of two, differs from channel to channel."""
    net = Net(3, 6, 6).quant().conv(3, 4).quant(BY_CHANNEL).conv(4, 4, group=4, pads=[1, 1, 1, 1]).quant(BY_CHANNEL)
    return net.conv(4, 4).quant(BY_CHANNEL).op("MaxPool", kernel_shape=[2, 2], strides=[2, 2])


def squeezed() -> Net:
    """A sequence as an image of one row from its quantiser on, and a matrix of the pixel that is left."""
    net = Net(3, 6).quant()
    net.op("Unsqueeze", net.const([2], np.int64)).conv(3, 4, kernel=(1, 3)).quant()
    net.op("Squeeze", net.const([2], np.int64)).op("Unsqueeze", net.const([2], np.int64))
    net.conv(4, 4, kernel=(1, 4)).quant()
    return net.op("Squeeze", net.const([2, 3], np.int64)).dense(4, 3).quant()


NETS = {
    "mlp": Case(
        lambda: then(Net(6).quant().dense(6, 4).quant().dense(4, 3), "Add", [0.3, -0.2, 1]),
        needs=frozenset(["InferQuantizedMatrixVectorActivation", "InferThresholdingLayer"]),
        needs_not=frozenset(["LowerConvsToMatMul", "InferConvInpGen", "InferAddStreamsLayer", "InferPool"]),
    ),
    "bipolar": Case(
        lambda: Net(6).bipolar().dense(6, 5, bits=0).bipolar().dense(5, 3, bits=0),
        needs=frozenset(["ConvertBipolarMatMulToXnorPopcount", "InferBinaryMatrixVectorActivation"]),
    ),
    "convolution": Case(
        lambda: _image().conv(4, 4, pads=[1, 1, 1, 1], strides=[2, 2]).quant(),
        needs=frozenset(["LowerConvsToMatMul", "InferConvInpGen", "AbsorbTransposeIntoMultiThreshold"]),
        needs_not=frozenset(["InferVectorVectorActivation", "InferDuplicateStreamsLayer"]),
    ),
    "depthwise": Case(
        lambda: _image().conv(4, 4, group=4).quant().conv(4, 5, kernel=(1, 1)).quant(),
        needs=frozenset(["InferVectorVectorActivation"]),
    ),
    "pool": Case(
        lambda: _pooled(2),
        needs=frozenset(["MakeMaxPoolNHWC", "InferStreamingMaxPool"]),
        needs_not=frozenset(["InferPool"]),
    ),
    "overlapping pool": Case(
        lambda: _pooled(1), needs=frozenset(["InferPool"]), needs_not=frozenset(["InferStreamingMaxPool"])
    ),
    "residual": Case(
        lambda: _residual(_image(), 4).quant(0.5),
        needs=frozenset(["InferAddStreamsLayer", "InferDuplicateStreamsLayer", "MoveTransposePastJoinAdd"]),
    ),
    "resize": Case(
        lambda: upsampled(_image().conv(4, 3, kernel=(1, 1)).quant()).conv(3, 2).quant(),
        needs=frozenset(["MakeScaleResizeNHWC", "InferUpsample"]),
        needs_not=frozenset(["InferConcatLayer"]),
    ),
    "unet": Case(lambda: unet(4, 4), needs=frozenset(["InferUpsample", "InferConcatLayer", "InferStreamingMaxPool"])),
    "scales by channel": Case(
        lambda: by_channel().conv(4, 3, kernel=(1, 1)).quant(), needs=frozenset(["InferVectorVectorActivation"])
    ),
    "squeezed": Case(squeezed, needs=frozenset(["RemoveCNVtoFCFlatten", "LowerConvsToMatMul"])),
    "concat": Case(joined, needs=frozenset(["InferConcatLayer", "InferDuplicateStreamsLayer"])),
    "flattened image": Case(
        lambda: _head(_image(), 4, 64).quant(), needs=frozenset(["RemoveCNVtoFCFlatten"]), executable=False
    ),
    "one dimension": Case(
        lambda: _head(
            Net(3, 8).quant().conv(3, 4, kernel=(3,), pads=[1, 1]).quant().conv(4, 4, kernel=(8,)).quant(), 1, 4
        ).quant(),
        needs=frozenset(["LowerConvsToMatMul", "InferConvInpGen"]),
    ),
    "residual of the input": Case(
        lambda: _beside(lambda n: n.conv(3, 3, pads=[1, 1, 1, 1]).quant(), "Add").quant(0.5),
        needs=frozenset(["MakeInputNHWC", "MergeTransposes", "InferAddStreamsLayer"]),
    ),
    "input in a concatenation": Case(
        lambda: _beside(lambda n: n.conv(3, 2, pads=[1, 1, 1, 1]).quant(), "Concat", axis=1).conv(5, 3).quant(),
        needs=frozenset(["MergeTransposes", "InferConcatLayer"]),
        needs_not=frozenset(["MakeInputNHWC"]),
    ),
    "unsqueezed between products": Case(
        lambda: _unsqueezed().conv(5, 3, kernel=(1, 1)).quant(), needs=frozenset(["LowerConvsToMatMul"])
    ),
    "groups": Case(
        lambda: Net(4, 6, 6).quant().conv(4, 6, group=2).quant().conv(6, 3, kernel=(1, 1)).quant(),
        needs_not=frozenset(["InferVectorVectorActivation"]),
    ),
    "quantised behind its Flatten": Case(
        lambda: Net(3, 4, 4).quant().conv(3, 4).op("Flatten").op("Relu").quant(signed=0).dense(16, 3).quant(),
        needs=frozenset(["RemoveCNVtoFCFlatten"]),
        executable=False,
    ),
    "channels last at the end": Case(lambda: _image().op("Transpose", perm=[0, 2, 3, 1])),
    "flattened pixel": Case(
        lambda: _head(_image().conv(4, 4, kernel=(4, 4)).quant(), 1, 4).quant(),
        needs=frozenset(["RemoveCNVtoFCFlatten"]),
    ),
}
