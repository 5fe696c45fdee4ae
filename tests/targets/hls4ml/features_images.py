"""One-feature models of convolutions, pools and layouts."""

from __future__ import annotations

import numpy as np

from tests.targets.hls4ml.feature import Feature
from tests.targets.hls4ml.nets import Net

_PADDED = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


def _convolutions() -> list[Feature]:
    close = 1e-3

    def image(channels: int = 3, size: int = 6) -> Net:
        return Net(channels, size, size)

    return [
        Feature("conv", lambda: image().quant().conv(3, 4)),
        Feature("conv padded", lambda: image().quant().conv(3, 4, pads=[1, 1, 1, 1])),
        Feature("conv padded unevenly", lambda: image().quant().conv(3, 4, pads=[1, 0, 0, 1])),
        Feature("conv strided", lambda: image(3, 7).quant().conv(3, 4, strides=[2, 2], pads=[1, 1, 1, 1])),
        Feature("conv same upper", lambda: image(3, 7).quant().conv(3, 4, strides=[2, 2], auto_pad="SAME_UPPER")),
        Feature("conv same lower", lambda: image(3, 6).quant().conv(3, 4, strides=[2, 2], auto_pad="SAME_LOWER")),
        Feature("conv dilated", lambda: image(3, 7).quant().conv(3, 4, dilations=[2, 2])),
        Feature("conv oblong", lambda: Net(2, 5, 8).quant().conv(2, 3, kernel=(3, 2), strides=[1, 2])),
        Feature("conv of one row, rows skipped", lambda: image().quant().conv(3, 4, kernel=(1, 3), strides=[2, 1])),
        Feature("depthwise 1x1 strided", lambda: image(2).quant().conv(2, 2, kernel=(1, 1), strides=[2, 2], group=2)),
        Feature("conv 1x1", lambda: image().quant().conv(3, 4, kernel=(1, 1))),
        Feature("conv 1x1 strided", lambda: image().quant().conv(3, 4, kernel=(1, 1), strides=[2, 2])),
        Feature("conv bias", lambda: image().quant().conv(3, 4, bias=True), close),
        Feature(
            "conv scales",
            lambda: image().quant(0.3).conv(3, 4, np.linspace(0.1, 0.2, 4, dtype=np.float32).reshape(4, 1, 1, 1)),
            close,
            step=0.1,
        ),
        Feature("conv zero point", lambda: image().quant(0.25, 3.0, signed=0).conv(3, 4)),
        Feature("conv zero point padded", lambda: image().quant(0.25, 3.0, signed=0).conv(3, 4, pads=[1, 1, 1, 1])),
        Feature("conv norm", lambda: image().quant().conv(3, 4).norm(4, negative=True), close),
        Feature("conv relu conv", lambda: image().quant().conv(3, 4).op("Relu").quant(signed=0).conv(4, 2)),
        Feature("conv no quantiser", lambda: image().conv(3, 4).op("Relu").conv(4, 2), close),
        Feature("conv bipolar", lambda: image().bipolar().conv(3, 4, 1.0, 0)),
        Feature("conv bipolar padded", lambda: image().bipolar().conv(3, 4, 1.0, 0, pads=[1, 1, 1, 1])),
        Feature(
            "conv norm bipolar",
            lambda: image().bipolar().conv(3, 4, 1.0, 0).norm(4, negative=True).bipolar().conv(4, 2, 1.0, 0),
        ),
        Feature("depthwise", lambda: image(4).quant().conv(4, 4, group=4, pads=[1, 1, 1, 1])),
        Feature("depthwise odd scale", lambda: image(4).quant(0.3).conv(4, 4, 0.11, group=4), close, step=0.1),
        Feature("depthwise bias", lambda: image(4).quant().conv(4, 4, group=4, bias=True), close),
        Feature("depthwise quantised", lambda: image(4).quant().conv(4, 4, group=4).quant().conv(4, 3)),
        Feature("depthwise multiplier", lambda: image(2).quant().conv(2, 4, group=2)),
        Feature("depthwise of one channel", lambda: image(1).quant().conv(1, 1)),
        Feature("groups", lambda: image(4).quant().conv(4, 4, group=2)),
        Feature("max pool", lambda: image().quant().op("MaxPool", kernel_shape=[2, 2], strides=[2, 2])),
        Feature("max pool overlapping", lambda: image(3, 7).quant().op("MaxPool", kernel_shape=[3, 3], strides=[2, 2])),
        Feature(
            "max pool padded",
            lambda: image().quant().op("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        ),
        Feature(
            "max pool ceil",
            lambda: image(2, 5).quant().op("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        ),
        Feature("max pool of strides 1", lambda: image().quant().op("MaxPool", kernel_shape=[2, 2], strides=[1, 1])),
        Feature(
            "max pool padded, Relu of the input",  # real numbers, whose sums float32 rounds
            lambda: image().op("Relu").op("MaxPool", **_PADDED).conv(3, 2, kernel=(1, 1)),
            1e-6,
        ),
        *(
            Feature(f"max pool padded, {name}", lambda m=make: m().op("MaxPool", **_PADDED).conv(3, 2, kernel=(1, 1)))
            for name, make in (
                ("no sign", lambda: image().quant(signed=0)),
                ("Relu", lambda: image().quant().conv(3, 3).op("Relu").quant(0.5, signed=0)),
                ("bipolar", lambda: image().bipolar()),
                ("pooled", lambda: image(3, 8).quant(signed=0).op("MaxPool", kernel_shape=[2, 2], strides=[2, 2])),
            )
        ),
        Feature("max pool odd scale", lambda: _pooled(image().quant(0.3)), close, step=0.1),
        Feature("max pool bipolar", lambda: _pooled(image().bipolar())),
        Feature("max pool of floats", lambda: image().op("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).quant()),
        Feature(
            "average pool",
            lambda: image().quant().op("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
        ),
        Feature("average pool of 3", lambda: image().quant().op("AveragePool", kernel_shape=[3, 3]), close),
        Feature(
            "average pool padded",
            lambda: image().quant().op("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 0, 0], strides=[2, 2]),
            refused="pool",
        ),
        Feature(
            "average pool padded and counted",
            lambda: (
                image()
                .quant()
                .op("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 1, 1], strides=[2, 2], count_include_pad=1)
            ),
        ),
        Feature("global average pool", lambda: image(3, 4).quant().op("GlobalAveragePool").op("Flatten").dense(3, 2)),
        Feature("largest of an image", lambda: image(3, 4).quant().op("GlobalMaxPool").op("Flatten").dense(3, 2)),
        Feature("maximum over positions", lambda: image(3, 4).quant().op("ReduceMax", axes=[2, 3], keepdims=0)),
        Feature("conv behind a Pad", _conv_behind_pad),
        Feature("concat of three images", _three_joined),
        Feature("mean", lambda: image(3, 4).quant().op("ReduceMean", axes=[2, 3], keepdims=0).dense(3, 2)),
        Feature("mean keepdims", lambda: image(3, 4).quant().op("ReduceMean", axes=[2, 3], keepdims=1)),
        Feature("flatten", lambda: image(3, 4).quant().conv(3, 2).quant(1.0).op("Flatten").dense(8, 3)),
        Feature("conv residual", lambda: _conv_residual(0.25)),
        Feature("conv residual odd", lambda: _conv_residual(0.3), close, step=0.1),
        Feature("conv of one dimension", lambda: Net(3, 8).quant().conv(3, 4, kernel=(3,))),
        Feature("conv of one dimension padded", lambda: Net(3, 8).quant().conv(3, 4, kernel=(3,), pads=[1, 1])),
        Feature(
            "pool of one dimension",
            lambda: Net(3, 8).quant().conv(3, 4, kernel=(3,)).op("MaxPool", kernel_shape=[2], strides=[2]),
        ),
    ]


def _pooled(net: Net) -> Net:
    return net.op("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).conv(3, 2, kernel=(2, 2))


def _conv_behind_pad() -> Net:
    net = Net(3, 4, 5).quant()
    return net.op("Pad", net.const([0, 0, 1, 2, 0, 0, 0, 1], np.int64), net.const(0.0)).conv(3, 4, pads=[0, 1, 1, 0])


def _three_joined() -> Net:
    net = Net(3, 4, 4).quant()
    at, made = net.at, []
    for channels in (2, 3, 1):
        net.at = at
        made.append(net.conv(3, channels, kernel=(1, 1)).quant().at)
    net.at = made[0]
    return net.op("Concat", *made[1:], axis=-3).conv(6, 2, kernel=(1, 1))


def _conv_residual(scale: float) -> Net:
    net = Net(4, 5, 5).quant(scale)
    at = net.at
    net.conv(4, 4, pads=[1, 1, 1, 1]).norm(4).quant(scale).add(at).op("Relu").quant(scale, signed=0)
    return net.conv(4, 3)


IMAGES = _convolutions()
