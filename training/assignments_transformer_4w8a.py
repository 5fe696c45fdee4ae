"""What a variable holds, by a small transformer: weights of 4 bits, activations of 8.

Usage: `python -m training.assignments_transformer_4w8a [--out DIR]`
"""

from typing import Any

import torch
from brevitas import nn as qnn
from torch import nn

from training.data import NAMES, STEPS, VALUES, assignments
from training.layers import relu, share, signed, weights
from training.make import Recipe, make

WIDTH, HEADS, BITS = 32, 2, 8


def linear(inputs: int, outputs: int) -> nn.Module:
    """A linear layer of 4-bit weights."""
    return qnn.QuantLinear(inputs, outputs, **weights(4))


class Attention(nn.Module):
    """y = (softmax(q k' / sqrt(d)) v) W in each head.

    q, k, v and the softmax are quantised before they are multiplied.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Sequential(linear(WIDTH, WIDTH), signed(BITS)) for _ in range(3))
        self.share = share(BITS)
        self.out = nn.Sequential(signed(BITS), linear(WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sequences [N, length, WIDTH], to the same."""
        query, key, value = (f(x).unflatten(2, (HEADS, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        mixed = self.share(scores.softmax(dim=-1)) @ value
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """y = z + mlp(norm(z)), z = x + attention(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(WIDTH), signed(BITS), Attention())
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH), signed(BITS), linear(WIDTH, 2 * WIDTH), relu(BITS), linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sequences [N, length, WIDTH], to the same."""
        x = x + self.attention(x)
        return x + self.mlp(x)


class Network(nn.Module):
    """Tokens and their places as vectors, two blocks, and the value read off the last place."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = qnn.QuantEmbedding(NAMES * VALUES + NAMES, WIDTH, **_embedding())
        self.places = qnn.QuantEmbedding(STEPS + 1, WIDTH, **_embedding())
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), signed(BITS), linear(WIDTH, VALUES))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of the values [N, VALUES] of tokens [N, STEPS + 1]."""
        x = self.tokens(tokens) + self.places(torch.arange(STEPS + 1))
        return self.head(self.blocks(x)[:, -1])


def _embedding() -> dict[str, Any]:
    return {name: value for name, value in weights(4).items() if name != "bias"}


RECIPE = Recipe(
    name="assignments_transformer_4w8a",
    summary=f"Two blocks of width {WIDTH} with {HEADS} heads; layer normalisation and softmax are floats. It has to "
    "find the latest assignment to the name asked for among 12.",
    data=assignments,
    network=Network,
    epochs=12,
    batch=128,
    note="embeddings INT4",
)

if __name__ == "__main__":
    make(RECIPE)
