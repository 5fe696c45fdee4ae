"""Spoken words by one-dimensional convolutions over raw audio, four bits.

Usage: `python -m training.keywords_conv_4w4a [--out DIR]`
"""

from brevitas import nn as qnn
from torch import nn

from training.data import WORDS, words
from training.layers import relu, weights, whole_numbers
from training.make import Recipe, make


def block(inputs: int, outputs: int, length: int, stride: int) -> list[nn.Module]:
    """A convolution over time, its normalisation and its activation."""
    return [
        qnn.QuantConv1d(inputs, outputs, length, stride=stride, padding=length // 2, **weights(4)),
        nn.BatchNorm1d(outputs),
        relu(4),
    ]


def network() -> nn.Module:
    """The first convolution is a bank of filters; poolings and the later ones leave 16 moments of 1,024."""
    return nn.Sequential(
        whole_numbers(8, signed=True),
        *block(1, 32, 32, 4),
        nn.MaxPool1d(4),
        *block(32, 32, 5, 2),
        *block(32, 32, 5, 2),
        nn.Flatten(),
        qnn.QuantLinear(32 * 16, len(WORDS), **weights(4)),
    )


RECIPE = Recipe(
    name="keywords_conv_4w4a",
    summary="Three one-dimensional convolutions and a linear layer over 128 ms of raw audio, four bits.",
    data=words,
    network=network,
    epochs=20,
    note="input INT8",
)

if __name__ == "__main__":
    make(RECIPE)
