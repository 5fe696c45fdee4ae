"""QuantTensors in forward: arithmetic among them, their parts, attention as the flows make it."""

from __future__ import annotations

import brevitas.nn as qnn
import pytest
import torch
from brevitas import quant as bq
from brevitas.graph.quantize import layerwise_quantize
from brevitas.quant_tensor import QuantTensor
from torch import nn

from anybit.errors import FrontEndError
from anybit.frontends.brevitas import from_brevitas
from tests.frontends.unseen import departing

# torch and Brevitas warn about their own code.
KINDS = ("DeprecationWarning", "UserWarning", "FutureWarning", "ImportWarning")
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in KINDS]


def calibrated(module, *inputs):
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(*inputs)
    return module.eval()


def exact(module, *inputs):
    """The hub model of a module, which gives the module's numbers on inputs that the export has not seen."""
    export = from_brevitas(calibrated(module, *inputs), inputs, quiet=True)
    assert departing(export, module, *(1.5 * torch.randn_like(x) for x in inputs)) == 0
    return export.model


class Arithmetic(nn.Module):
    """A sum, a concatenation, a product and a difference, as Brevitas' residual nets write them; parts and integers."""

    def __init__(self):
        super().__init__()
        self.q = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)
        self.conv = qnn.QuantConv2d(3, 3, 3, padding=1, weight_bit_width=4, bias=True, return_quant_tensor=True)
        self.after = qnn.QuantReLU(bit_width=4, return_quant_tensor=True)

    def forward(self, x):
        y = self.q(x)
        assert isinstance(y, QuantTensor), "a sum of QuantTensors"
        z = self.q(self.conv(y))
        both, plain = torch.cat([y, z], dim=1), y.value / y.scale + y.zero_point
        return both, (y + z).value, y * z, y - z, plain, z.int().float() * z.bit_width, self.after(y + z)


def test_arithmetic_among_quant_tensors():
    exact(Arithmetic(), torch.randn(2, 3, 4, 4))


class Biased(nn.Module):
    """Layers behind one another without a quantiser between: their zero points are biases, over the scale."""

    def __init__(self):
        super().__init__()
        self.q = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)
        self.a = qnn.QuantLinear(4, 6, bias=True, weight_bit_width=4, return_quant_tensor=True)
        self.b = qnn.QuantLinear(6, 4, bias=True, weight_bit_width=4)

    def forward(self, x):
        return self.b(self.a(self.q(x))), self.q(x) + x


def test_zero_points_that_are_computed():
    exact(Biased(), torch.randn(3, 4))


class Twice(nn.Module):
    """One truncation, and one layer with a bias of the sum's scale, on tensors of two grids."""

    def __init__(self):
        super().__init__()
        self.q = qnn.QuantReLU(bit_width=8, return_quant_tensor=True)
        self.small = qnn.TruncAvgPool2d(2, stride=2, bit_width=6, return_quant_tensor=True)
        self.pool = qnn.TruncAdaptiveAvgPool2d(1, bit_width=8, return_quant_tensor=True)
        self.dense = qnn.QuantConv2d(3, 3, 1, bias=True, bias_quant=bq.Int8Bias, weight_bit_width=4)

    def forward(self, x):
        x = self.q(x)
        return self.dense(self.pool(x)), self.dense(self.pool(self.small(x)))


def test_one_layer_on_two_grids():
    exact(Twice(), torch.randn(2, 3, 8, 8))


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.q = qnn.QuantIdentity(return_quant_tensor=True)
        self.attention = qnn.QuantMultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x):
        x = self.q(x)
        return self.attention(x, x, x)


def test_attention_with_packed_projections():
    model = exact(Attention(packed_in_proj=True), torch.randn(2, 3, 8))
    assert [n.op_type for n in model.graph].count("Gemm") + [n.op_type for n in model.graph].count("MatMul") == 4


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def test_attention_as_a_flow_makes_it():
    exact(layerwise_quantize(Plain().eval()), torch.randn(2, 3, 8))


class Forks(nn.Module):
    """Branches on the values of a tensor outside of Brevitas' code."""

    def __init__(self):
        super().__init__()
        self.q = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)

    def forward(self, x):
        y = self.q(x)
        return y + y if y.value.sum() > 0 else y


def test_a_branch_that_depends_on_the_data_is_still_refused():
    with pytest.raises(FrontEndError, match=r"cannot be captured.*torch.where or torch.cond"):
        from_brevitas(calibrated(Forks(), torch.randn(2, 3)), torch.randn(2, 3))
