"""Digits by a multilayer perceptron of four bits.

Usage: `python -m training.digits_mlp_4w4a [--out DIR]`
"""

from brevitas import nn as qnn
from torch import nn

from training.data import flat_digits
from training.layers import relu, weights, whole_numbers
from training.make import Recipe, make

WIDTH = 64


def network() -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(
        whole_numbers(5),
        qnn.QuantLinear(64, WIDTH, **weights(4)),
        nn.BatchNorm1d(WIDTH),
        relu(4),
        qnn.QuantLinear(WIDTH, WIDTH, **weights(4)),
        nn.BatchNorm1d(WIDTH),
        relu(4),
        qnn.QuantLinear(WIDTH, 10, **weights(4)),
    )


RECIPE = Recipe(
    name="digits_mlp_4w4a",
    summary=f"Two hidden layers of {WIDTH} neurons, four bits throughout.",
    data=flat_digits,
    network=network,
    epochs=40,
    note="input UINT5",
)

if __name__ == "__main__":
    make(RECIPE)
