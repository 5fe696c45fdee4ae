"""Digits by the convolutional network of `digits_cnn_2w2a`, at four bits.

Usage: `python -m training.digits_cnn_4w4a [--out DIR]`
"""

from functools import partial

from training.data import digits
from training.digits_cnn_2w2a import network
from training.make import Recipe, make

RECIPE = Recipe(
    name="digits_cnn_4w4a",
    summary="Three convolutions of 16 to 32 channels with pooling, and a linear layer, four bits throughout.",
    data=digits,
    network=partial(network, 4),
    epochs=30,
    note="input UINT5",
)

if __name__ == "__main__":
    make(RECIPE)
