"""A regression: Friedman's first problem by a multilayer perceptron, weights of 4 bits, activations of 6.

Usage: `python -m training.friedman_mlp_4w6a [--out DIR]`
"""

from brevitas import nn as qnn
from torch import nn

from training.data import friedman
from training.layers import bias, relu, weights, whole_numbers
from training.make import Recipe, make

WIDTH = 64


def network() -> nn.Module:
    """Two hidden layers; only the last one has a bias, of 16 bits."""
    return nn.Sequential(
        whole_numbers(8),
        qnn.QuantLinear(10, WIDTH, **weights(4)),
        nn.BatchNorm1d(WIDTH),
        relu(6),
        qnn.QuantLinear(WIDTH, WIDTH, **weights(4)),
        nn.BatchNorm1d(WIDTH),
        relu(6),
        qnn.QuantLinear(WIDTH, 1, **weights(8) | bias(16)),
    )


RECIPE = Recipe(
    name="friedman_mlp_4w6a",
    summary=f"Two hidden layers of {WIDTH} neurons. The noise in the data makes 1 the least mean squared error there "
    "is; always guessing the mean has 25.",
    data=friedman,
    network=network,
    epochs=15,
    batch=128,
    note="input UINT8, weights of the last layer INT8, its bias INT16",
)

if __name__ == "__main__":
    make(RECIPE)
