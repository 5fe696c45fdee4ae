"""Brevitas in PyTorch's eval mode: nets of the measured architectures, with random weights; times only.

Sizes, bit widths and whether weights have a scale per channel are those of the measured files. Simpler than there:
biases stay float, averages are not truncated, and all activations have one scale a tensor.

guest_brevitas.py eval NET BATCH      takes turns, see guests.py
guest_brevitas.py cached NET BATCH    the same in Brevitas' inference mode, which quantises the weights once
guest_brevitas.py export NET FILE     writes the net as QONNX
"""

from __future__ import annotations

import sys
from itertools import pairwise

import torch
from brevitas import nn as qnn
from brevitas.export import export_qonnx
from brevitas.export.inference import quant_inference_mode
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from guest import serve
from torch import Tensor, nn


def _weights(bits: int, *, per_channel: bool = False, bias: bool = False) -> dict[str, object]:
    if bits == 1:
        return {"weight_quant": SignedBinaryWeightPerTensorConst, "bias": bias}
    quantizer = Int8WeightPerChannelFloat if per_channel else Int8WeightPerTensorFloat
    return {"weight_quant": quantizer, "weight_bit_width": bits, "bias": bias}


def _activation(bits: int, *, signed: bool = True) -> nn.Module:
    if bits == 1:
        return qnn.QuantIdentity(SignedBinaryActPerTensorConst)
    if signed:
        return qnn.QuantIdentity(Int8ActPerTensorFloat, bit_width=bits)
    return qnn.QuantReLU(Uint8ActPerTensorFloat, bit_width=bits)


def _linear(inputs: int, outputs: int, bits: int) -> list[nn.Module]:
    # Without momentum, one batch gives the norm its statistics; with it, all activations of deep nets round to 0.
    return [qnn.QuantLinear(inputs, outputs, **_weights(bits)), nn.BatchNorm1d(outputs, momentum=None)]


def _conv(
    inputs: int, outputs: int, bits: int, kernel: int, *, per_channel: bool = True, **given: int
) -> list[nn.Module]:
    conv = qnn.QuantConv2d(inputs, outputs, kernel, **given, **_weights(bits, per_channel=per_channel))
    return [conv, nn.BatchNorm2d(outputs, momentum=None)]


def _tfc(bits: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten(), _activation(bits)]
    for features in (784, 64, 64):
        layers += [*_linear(features, 64, bits), _activation(bits)]
    return nn.Sequential(*layers, qnn.QuantLinear(64, 10, **_weights(bits)))


def _jet(bits: int) -> nn.Module:
    layers: list[nn.Module] = []
    for features, outputs in pairwise((16, 64, 32, 32)):
        layers += [qnn.QuantLinear(features, outputs, **_weights(bits, bias=True)), _activation(bits, signed=False)]
    return nn.Sequential(*layers, qnn.QuantLinear(32, 5, **_weights(bits, bias=True)), nn.Softmax(dim=-1))


def _cnv(bits: int) -> nn.Module:
    layers: list[nn.Module] = [_activation(8)]
    inputs = 3
    for outputs, pool in ((64, False), (64, True), (128, False), (128, True), (256, False), (256, False)):
        layers += [*_conv(inputs, outputs, bits, 3, per_channel=False), _activation(bits)]
        layers += [nn.MaxPool2d(2)] if pool else []
        inputs = outputs
    layers += [nn.Flatten()]
    for features in (256, 512):
        layers += [*_linear(features, 512, bits), _activation(bits)]
    return nn.Sequential(*layers, qnn.QuantLinear(512, 10, **_weights(bits)))


def _mobilenet(width: float, bits: int, classes: int) -> nn.Module:
    sizes = [int(width * c) for c in (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)]
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    layers = [*_conv(3, sizes[0], 8, 3, stride=2), _activation(bits, signed=False)]
    for (inputs, outputs), stride in zip(pairwise(sizes), strides, strict=True):
        layers += [*_conv(inputs, inputs, bits, 3, stride=stride, padding=1, groups=inputs)]
        layers += [_activation(bits, signed=False), *_conv(inputs, outputs, bits, 1), _activation(bits, signed=False)]
    head = qnn.QuantLinear(sizes[-1], classes, **_weights(bits, bias=True))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


class _Residual(nn.Module):
    """Two convolutions and a shortcut, added on one grid."""

    def __init__(self, inputs: int, outputs: int, stride: int, bits: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            *_conv(inputs, outputs, bits, 3, stride=stride, padding=1), _activation(bits, signed=False)
        )
        self.second = nn.Sequential(*_conv(outputs, outputs, bits, 3, padding=1))
        same = stride == 1 and inputs == outputs
        self.grid = _activation(bits, signed=False)
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_conv(inputs, outputs, bits, 1, stride=stride), self.grid)
        )
        self.last = _activation(bits, signed=False)

    def forward(self, x: Tensor) -> Tensor:
        """relu(grid(second(first(x))) + shortcut(x))."""
        return self.last(self.grid(self.second(self.first(x))) + self.shortcut(x))


def _resnet18(bits: int) -> nn.Module:
    layers = [*_conv(3, 64, 8, 3, padding=1), _activation(bits, signed=False)]
    inputs = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [_Residual(inputs, outputs, stride, bits), _Residual(outputs, outputs, 1, bits)]
        inputs = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), qnn.QuantLinear(512, 10, **_weights(8, bias=True))
    )


class _Block(nn.Module):
    """One transformer block of 64 features, 4 heads, 4-bit weights and 8-bit activations."""

    def __init__(self, features: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _ in range(2))
        self.grids = nn.ModuleList(qnn.QuantIdentity(Int8ActPerTensorFloat, bit_width=8) for _ in range(9))
        sizes = ((features, 3 * features), (features, features), (features, 2 * features), (2 * features, features))
        self.layers = nn.ModuleList(qnn.QuantLinear(i, o, **_weights(4, per_channel=True, bias=True)) for i, o in sizes)

    def forward(self, x: Tensor) -> Tensor:
        """x + attention, then + MLP, each behind a norm; every operand of a product is quantised."""
        g, (n, t, f) = self.grids, x.shape
        x = g[0](x)
        qkv = self.layers[0](g[1](self.norms[0](x)))
        q, k, v = (p.reshape(n, t, self.heads, f // self.heads).transpose(1, 2) for p in qkv.chunk(3, dim=-1))
        shares = torch.softmax(g[2](q) @ g[3](k).transpose(2, 3) / 4, dim=-1)
        mixed = (g[4](shares) @ g[5](v)).transpose(1, 2).reshape(n, t, f)
        x = g[0](x + self.layers[1](g[6](mixed)))
        hidden = nn.functional.gelu(self.layers[2](g[7](self.norms[1](x))))
        return g[0](x + self.layers[3](g[8](hidden)))


_NETS = {
    "tfc_2w2a": (lambda: _tfc(2), (1, 28, 28)),
    "jet": (lambda: _jet(6), (16,)),
    "cnv_1w1a": (lambda: _cnv(1), (3, 32, 32)),
    "cnv_2w2a": (lambda: _cnv(2), (3, 32, 32)),
    "mobilenet_05_96": (lambda: _mobilenet(0.5, 4, 100), (3, 96, 96)),
    "mobilenet_224": (lambda: _mobilenet(1.0, 4, 1000), (3, 224, 224)),
    "resnet18": (lambda: _resnet18(4), (3, 32, 32)),
    "transformer": (_Block, (16, 64)),
}


def _built(name: str, batch: int) -> tuple[nn.Module, Tensor]:
    make, shape = _NETS[name]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = make()
    with torch.no_grad():
        net.train()(torch.randn(4, *shape))  # scales of activations, and of norms
    return net.eval(), torch.rand(batch, *shape)


def main() -> None:
    """See above."""
    task, name, last = sys.argv[1:]
    with torch.no_grad():
        if task == "export":
            net, x = _built(name, 1)
            export_qonnx(net, args=x, export_path=last, dynamo=False)
            return
        net, x = _built(name, int(last))
        with quant_inference_mode(net, cache_quant_weight=True, enabled=task == "cached"):
            serve(lambda: net(x))


if __name__ == "__main__":
    main()
