"""nets: kinds of nets that no package has small: segmentation, detection heads, 1-D convolutions, taggers."""

from __future__ import annotations

import torch
from torch import nn


def _block(inputs, outputs, stride=1, activation=nn.ReLU):
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), activation())


class UNet(nn.Module):
    """One step down and up again, beside what was kept."""

    def __init__(self):
        super().__init__()
        self.first, self.low, self.last = _block(3, 8), _block(8, 16), _block(24, 8)
        self.down, self.up, self.out = nn.MaxPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        kept = self.first(x)
        return self.out(self.last(torch.cat([kept, self.up(self.low(self.down(kept)))], 1)))


class Heads(nn.Module):
    """Boxes and classes of two maps, as single-shot detectors have them."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList([_block(3, 16, 2, nn.ReLU6), _block(16, 24, 2, nn.ReLU6)])
        self.heads = nn.ModuleList([nn.Conv2d(c, 6 * 7, 3, padding=1) for c in (16, 24)])

    def forward(self, x):
        found = []
        for block, head in zip(self.maps, self.heads, strict=True):
            x = block(x)
            y = head(x)
            found.append(y.reshape(y.shape[0], 6, 7, -1).permute(0, 3, 1, 2).reshape(y.shape[0], -1, 7))
        y = torch.cat(found, 1)
        return y[..., :4], y[..., 4:].softmax(-1)


class Conv1d(nn.Module):
    """Convolutions along time, one of them dilated, a pool and a classifier."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(2, 16, 5, padding=2),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(16, 16, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(16, 4),
        )

    def forward(self, x):
        return self.body(x)


class _Tagger(nn.Module):
    def __init__(self, recurrent, features):
        super().__init__()
        self.words, self.recurrent, self.out = nn.Embedding(64, 16), recurrent, nn.Linear(features, 5)

    def forward(self, x):
        return self.out(self.recurrent(self.words(x))[0])


class GruTagger(_Tagger):
    """A label for each word."""

    def __init__(self):
        super().__init__(nn.GRU(16, 32, batch_first=True), 32)


class LstmTagger(_Tagger):
    """The same, read both ways."""

    def __init__(self):
        super().__init__(nn.LSTM(16, 32, batch_first=True, bidirectional=True), 64)
