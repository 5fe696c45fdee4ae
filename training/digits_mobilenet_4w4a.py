"""Digits by depthwise separable convolutions of four bits, as in MobileNet.

Usage: `python -m training.digits_mobilenet_4w4a [--out DIR]`
"""

from brevitas import nn as qnn
from torch import nn

from training.data import digits
from training.layers import relu, weights, whole_numbers
from training.make import Recipe, make


def separable(inputs: int, outputs: int, *, stride: int = 1) -> list[nn.Module]:
    """A convolution of each channel by itself, scales by channel, then one of 1 x 1 across channels."""
    each = weights(4, per_channel=True)
    return [
        qnn.QuantConv2d(inputs, inputs, 3, padding=1, stride=stride, groups=inputs, **each),
        nn.BatchNorm2d(inputs),
        relu(4),
        qnn.QuantConv2d(inputs, outputs, 1, **weights(4)),
        nn.BatchNorm2d(outputs),
        relu(4),
    ]


def network() -> nn.Module:
    """One full convolution, three separable ones, two of them of stride 2, one linear layer."""
    return nn.Sequential(
        whole_numbers(5),
        qnn.QuantConv2d(1, 16, 3, padding=1, **weights(4)),
        nn.BatchNorm2d(16),
        relu(4),
        *separable(16, 32),
        *separable(32, 64, stride=2),
        *separable(64, 64, stride=2),
        nn.Flatten(),
        qnn.QuantLinear(256, 10, **weights(4)),
    )


RECIPE = Recipe(
    name="digits_mobilenet_4w4a",
    summary="One full and three depthwise separable convolutions, four bits; depthwise weights are scaled by channel.",
    data=digits,
    network=network,
    epochs=50,
    note="input UINT5",
)

if __name__ == "__main__":
    make(RECIPE)
