"""What both hand-over examples begin with: a digits classifier of 3 bits, trained by Brevitas in a few seconds."""

import numpy as np
import torch
from brevitas import nn as qnn
from brevitas.quant import Int8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

BITS = 3


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training pixels, test pixels (0 .. 1), training labels, test labels."""
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    return tuple(train_test_split(pixels, digits.target, test_size=360, random_state=0, stratify=digits.target))


def layer(features: int, outputs: int) -> nn.Module:
    return qnn.QuantLinear(
        features, outputs, bias=False, weight_quant=Int8WeightPerTensorFixedPoint, weight_bit_width=BITS
    )


def trained() -> nn.Module:
    """64 pixels, two hidden layers of 32, 10 scores; all scales are powers of two."""
    torch.manual_seed(0)
    net = nn.Sequential(
        qnn.QuantIdentity(Int8ActPerTensorFixedPoint, bit_width=6),
        layer(64, 32),
        nn.BatchNorm1d(32),
        qnn.QuantReLU(Uint8ActPerTensorFixedPoint, bit_width=BITS),
        layer(32, 32),
        nn.BatchNorm1d(32),
        qnn.QuantReLU(Uint8ActPerTensorFixedPoint, bit_width=BITS),
        layer(32, 10),
    )
    pixels, _, labels, _ = data()
    x, y = torch.from_numpy(pixels), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        for batch in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    return net.eval()


def accuracy(scores: np.ndarray, labels: np.ndarray) -> str:
    return f"{(scores.argmax(axis=1) == labels).mean():.2%} of {len(labels)} test images"
