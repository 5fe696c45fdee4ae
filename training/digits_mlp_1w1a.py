"""Digits by a multilayer perceptron of one bit: each weight and each activation is -1 or 1.

Usage: `python -m training.digits_mlp_1w1a [--out DIR]`
"""

from brevitas import nn as qnn
from torch import nn

from training.data import flat_digits
from training.layers import sign, weights, whole_numbers
from training.make import Recipe, make

WIDTH = 256


def network() -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(
        whole_numbers(5),
        qnn.QuantLinear(64, WIDTH, **weights(1)),
        nn.BatchNorm1d(WIDTH),
        sign(),
        qnn.QuantLinear(WIDTH, WIDTH, **weights(1)),
        nn.BatchNorm1d(WIDTH),
        sign(),
        qnn.QuantLinear(WIDTH, 10, **weights(1)),
    )


RECIPE = Recipe(
    name="digits_mlp_1w1a",
    summary=f"Two hidden layers of {WIDTH} neurons; every weight and every activation between layers is one bit.",
    data=flat_digits,
    network=network,
    epochs=60,
    note="input UINT5",
)

if __name__ == "__main__":
    make(RECIPE)
