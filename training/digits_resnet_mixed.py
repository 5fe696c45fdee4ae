"""Digits by a residual network of mixed precision: 8 bits at both ends and along the shortcuts, 2 to 4 between.

Usage: `python -m training.digits_resnet_mixed [--out DIR]`
"""

import torch
from brevitas import nn as qnn
from torch import nn

from training.data import digits
from training.layers import relu, weights, whole_numbers
from training.make import Recipe, make


class Residual(nn.Module):
    """y = relu(x + f(x)): f is two convolutions, its weights and its inner activation of so many bits."""

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            qnn.QuantConv2d(channels, channels, 3, padding=1, **weights(bits)),
            nn.BatchNorm2d(channels),
            relu(bits),
            qnn.QuantConv2d(channels, channels, 3, padding=1, **weights(bits)),
            nn.BatchNorm2d(channels),
        )
        self.relu = relu(8, top=8.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [N, channels, height, width], to the same."""
        return self.relu(x + self.inner(x))


def network() -> nn.Module:
    """A convolution, two residual blocks with one of stride 2 between them, the mean over the image, a linear layer."""
    return nn.Sequential(
        whole_numbers(5),
        qnn.QuantConv2d(1, 16, 3, padding=1, **weights(8)),
        nn.BatchNorm2d(16),
        relu(8),
        Residual(16, bits=4),
        qnn.QuantConv2d(16, 32, 3, padding=1, stride=2, **weights(4)),
        nn.BatchNorm2d(32),
        relu(8),
        Residual(32, bits=2),
        nn.AvgPool2d(4),
        nn.Flatten(),
        qnn.QuantLinear(32, 10, **weights(8)),
    )


RECIPE = Recipe(
    name="digits_resnet_mixed",
    summary="Two residual blocks, the first of 4 bits, the second of 2; the first and the last layer and the shortcuts "
    "have 8 bits.",
    data=digits,
    network=network,
    epochs=30,
    note="weights INT2, INT4 and INT8, activations UINT2, UINT4 and UINT8, input UINT5",
)

if __name__ == "__main__":
    make(RECIPE)
