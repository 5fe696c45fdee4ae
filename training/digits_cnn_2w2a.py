"""Digits by a plain convolutional network of two bits.

Usage: `python -m training.digits_cnn_2w2a [--out DIR]`
"""

from brevitas import nn as qnn
from torch import nn

from training.data import digits
from training.layers import relu, weights, whole_numbers
from training.make import Recipe, make


def block(inputs: int, outputs: int, bits: int) -> list[nn.Module]:
    """A convolution of 3 x 3, its normalisation and its activation."""
    return [
        qnn.QuantConv2d(inputs, outputs, 3, padding=1, **weights(bits)),
        nn.BatchNorm2d(outputs),
        relu(bits, top=float(bits)),
    ]


def network(bits: int = 2) -> nn.Module:
    """Three convolutions, two poolings, one linear layer."""
    return nn.Sequential(
        whole_numbers(5),
        *block(1, 16, bits),
        *block(16, 32, bits),
        nn.MaxPool2d(2),
        *block(32, 32, bits),
        nn.MaxPool2d(2),
        nn.Flatten(),
        qnn.QuantLinear(128, 10, **weights(bits)),
    )


RECIPE = Recipe(
    name="digits_cnn_2w2a",
    summary="Three convolutions of 16 to 32 channels with pooling, and a linear layer, two bits throughout.",
    data=digits,
    network=network,
    epochs=30,
    note="input UINT5",
)

if __name__ == "__main__":
    make(RECIPE)
