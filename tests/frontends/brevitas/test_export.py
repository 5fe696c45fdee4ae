"""from_brevitas: every kind of layer and quantiser against Brevitas' own output.

Each export takes seconds, so that a net has many kinds.
"""

from __future__ import annotations

import copy

import brevitas.nn as qnn
import brevitas.quant as mx
import numpy as np
import pytest
import torch
from brevitas import quant as bq
from brevitas.inject.enum import QuantType
from torch import nn

import anybit
from anybit.errors import FrontEndError
from anybit.frontends.brevitas import from_brevitas
from anybit.graph.walk import all_nodes

# torch and Brevitas warn about their own code.
KINDS = ("DeprecationWarning", "UserWarning", "FutureWarning", "ImportWarning")
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in KINDS]

ROUNDINGS = ("ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO", "DPU")


def variant(base, **options):
    """A quantiser of Brevitas with other options."""
    return type(f"{base.__name__}Variant", (base,), options)


def exported(module, *inputs, **options):
    """The hub model of a calibrated module, compared with it on inputs that the export has not seen."""
    torch.manual_seed(1)
    module.train()
    for _ in range(3):
        module(*inputs)
    module.eval()
    before = copy.deepcopy(module.state_dict())
    export = from_brevitas(module, inputs, quiet=True, **options)
    assert export.agreement.holds
    after = module.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items() if isinstance(v, torch.Tensor))
    assert anybit.check(export.model) == ()
    fresh = [2 * torch.randn_like(t) if t.is_floating_point() else t.flip(0) for t in inputs]
    names = [v.name for v in export.model.graph.inputs]
    given = anybit.run(export.model, {n: t.numpy() for n, t in zip(names, fresh, strict=True)})
    with torch.no_grad():
        wanted = module(*fresh)
    wanted = getattr(wanted, "value", wanted).numpy()
    gap = np.abs(next(iter(given.values())) - wanted)
    assert (gap > 1e-5 * np.abs(wanted).max()).mean() <= 1e-3
    return export.model


def operators(model):
    return [n.op_type for n in model.graph]


def roundings(model):
    return [n.attributes["rounding_mode"].value for n in model.graph if "rounding_mode" in n.attributes]


def bits(model):
    return [int(n.inputs[3].const_value.numpy().item()) for n in model.graph if n.op_type == "Quant"]


def test_convolutions_and_activations():
    broadcast = {
        "scaling_per_output_channel": True,
        "per_channel_broadcastable_shape": (1, 4, 1, 1),
        "scaling_stats_permute_dims": (1, 0, 2, 3),
    }
    by_channel = bq.Int8WeightPerChannelFloat
    net = nn.Sequential(
        qnn.QuantIdentity(bit_width=4, return_quant_tensor=True),
        qnn.QuantConv2d(4, 4, 3, groups=4, weight_bit_width=4, bias=True, bias_quant=bq.Int8Bias),
        nn.BatchNorm2d(4),
        qnn.QuantReLU(bit_width=4, **broadcast),
        qnn.QuantConvTranspose2d(4, 3, 4, stride=2, weight_bit_width=3, weight_quant=by_channel),
        qnn.QuantHardTanh(bit_width=5, max_val=1.0, min_val=-1.0),
        nn.Flatten(2),
        qnn.QuantConv1d(3, 2, 3, weight_bit_width=2),
        qnn.QuantTanh(bit_width=4),
        qnn.QuantConvTranspose1d(2, 2, 3, weight_bit_width=4),
        qnn.QuantSigmoid(bit_width=4),
        nn.Flatten(),
        qnn.QuantLinear(2 * 64, 3, bias=True, weight_bit_width=4),
    )
    model = exported(net, torch.randn(2, 4, 5, 5))
    assert sorted(bits(model)) == [2, 3, 4, 4, 4, 4, 4, 4, 4, 5, 8]
    assert "1.weight" in model.graph.initializers


def test_every_rounding_of_weights_and_activations():
    acts = [variant(bq.Int8ActPerTensorFloat, float_to_int_impl_type=t, bit_width=4) for t in ROUNDINGS]
    weights = [variant(bq.Int8WeightPerTensorFloat, float_to_int_impl_type=t, bit_width=4) for t in ROUNDINGS]
    net = nn.Sequential(
        *(qnn.QuantIdentity(act_quant=a) for a in acts),
        *(qnn.QuantLinear(6, 6, bias=True, weight_quant=w) for w in weights),
    )
    model = exported(net, torch.randn(4, 6))
    assert [r for r in roundings(model) if r != "ROUND"] == ["FLOOR", "CEIL", "DOWN"]
    assert bits(model) == [4] * 10


def test_binary_ternary_asymmetric_fixed_point_and_one_bit():
    ternary = variant(bq.SignedTernaryActPerTensorConst, quant_type=QuantType.TERNARY)
    net = nn.Sequential(
        qnn.QuantIdentity(act_quant=ternary, threshold=0.5),
        qnn.QuantLinear(6, 6, bias=False, weight_quant=bq.SignedTernaryWeightPerTensorConst),
        qnn.QuantIdentity(act_quant=ternary, threshold=0.3),
        qnn.QuantLinear(6, 6, bias=False, weight_quant=bq.SignedBinaryWeightPerTensorConst),
        qnn.QuantIdentity(act_quant=bq.ShiftedUint8ActPerTensorFloat, bit_width=4),
        qnn.QuantLinear(6, 6, bias=True, weight_quant=bq.ShiftedUint8WeightPerTensorFloat, weight_bit_width=3),
        qnn.QuantReLU(act_quant=bq.Uint8ActPerTensorFixedPoint, bit_width=5),
        qnn.QuantLinear(6, 6, bias=True, weight_quant=bq.Int8WeightPerTensorFixedPoint),
        qnn.QuantReLU(bit_width=1),
        qnn.QuantLinear(6, 6, bias=False, weight_bit_width=1, weight_narrow_range=False),
        qnn.QuantIdentity(bit_width=1),
        qnn.QuantLinear(6, 6, bias=False, weight_quant=bq.SignedBinaryWeightPerTensorConst),
        qnn.QuantIdentity(act_quant=bq.SignedBinaryActPerTensorConst),
    )
    model = exported(net, torch.randn(4, 6))
    assert operators(model).count("BipolarQuant") == 3
    assert roundings(model).count("HALF_DOWN") == 1
    assert sorted(bits(model)) == [1, 2, 2, 2, 2, 2, 3, 4, 5, 8]  # one signed bit is two, and a clip


def test_minifloats():
    net = nn.Sequential(
        qnn.QuantIdentity(act_quant=bq.Fp8e4m3OCPActPerTensorFloat),
        qnn.QuantLinear(6, 6, bias=True, weight_quant=bq.Fp8e4m3OCPWeightPerChannelFloat),
        qnn.QuantReLU(act_quant=bq.Fp8e5m2OCPActPerTensorFloat),
        qnn.QuantLinear(6, 6, bias=True, weight_quant=bq.Fp8e5m2OCPWeightPerTensorFloat),
    )
    assert operators(exported(net, torch.randn(4, 6))).count("FloatQuant") == 4


def test_accumulator_aware_weights():
    limits = {"weight_bit_width": 4, "weight_accumulator_bit_width": 10}
    net = nn.Sequential(
        qnn.QuantIdentity(bit_width=4, return_quant_tensor=True),
        qnn.QuantConv2d(2, 4, 3, weight_quant=bq.Int8AccumulatorAwareWeightQuant, **limits),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        qnn.QuantConv2d(4, 4, 1, weight_quant=bq.Int8WeightNormL2PerChannelFixedPoint, weight_bit_width=4),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        qnn.QuantConv2d(4, 4, 1, weight_quant=bq.Int8AccumulatorAwareZeroCenterWeightQuant, **limits),
    )
    model = exported(net, torch.randn(2, 2, 5, 5))
    for node in model.graph:  # weights that are on their grid: integers times the scale
        if node.op_type == "Quant" and node.inputs[0].is_initializer():
            q = node.inputs[0].const_value.numpy() / node.inputs[1].const_value.numpy()
            np.testing.assert_allclose(q, np.rint(q), atol=1e-4)


class Residual(nn.Module):
    """Sums of quantised tensors, quantised biases and outputs, truncation, a fork."""

    def __init__(self):
        super().__init__()
        self.enter = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)
        self.conv = qnn.QuantConv2d(
            2, 2, 3, padding=1, weight_bit_width=4, bias=True, bias_quant=bq.Int16Bias, return_quant_tensor=True
        )
        self.relu = qnn.QuantReLU(bit_width=4, return_quant_tensor=True)
        self.add = qnn.QuantEltwiseAdd(bit_width=4, return_quant_tensor=True)
        self.pool = qnn.TruncAvgPool2d(2, bit_width=4, float_to_int_impl_type="FLOOR")
        self.head = qnn.QuantLinear(
            8, 3, bias=True, bias_quant=bq.Int32Bias, weight_bit_width=4, output_quant=bq.Int8ActPerTensorFloat
        )

    def forward(self, x):
        x = self.enter(x)
        y = self.add(x, self.relu(self.conv(x)))
        return self.head(torch.flatten(self.pool(y), 1))


def test_residual_sums_truncation_and_biases():
    model = exported(Residual(), torch.randn(2, 2, 4, 4))
    assert operators(model).count("Trunc") == 1
    assert sorted(bits(model))[-2:] == [16, 32]
    assert model.graph.inputs[0].shape[0] == "N"


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = qnn.QuantEmbedding(10, 8, weight_bit_width=4)
        self.enter = qnn.QuantIdentity(bit_width=8, return_quant_tensor=True)
        self.attention = qnn.QuantMultiheadAttention(8, 2, batch_first=True, packed_in_proj=False)

    def forward(self, i):
        x = self.enter(self.table(i))
        return self.attention(x, x, x)[0]


def test_embedding_and_attention():
    model = exported(Embedded(), torch.randint(0, 10, (3, 5)))
    assert "Gather" in operators(model)
    assert operators(model).count("Quant") == 16


class WeightAlone(nn.Module):
    """A layer that never runs: what it is part of reads its weight, as windowed attention of torchvision does."""

    def __init__(self):
        super().__init__()
        self.enter = qnn.QuantIdentity(return_quant_tensor=True)
        self.unrun = qnn.QuantLinear(4, 3, bias=True, bias_quant=bq.Int16Bias)
        self.last = qnn.QuantLinear(3, 2, bias=True, weight_bit_width=4)

    def forward(self, x):
        return self.last(nn.functional.linear(self.enter(x).value, self.unrun.weight, self.unrun.bias))


def test_a_layer_that_never_runs_has_no_quantisers():
    model = exported(WeightAlone(), torch.randn(3, 4))
    assert operators(model).count("Quant") == 2


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = qnn.QuantLSTM(3, 2, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


def test_an_lstm_keeps_all_its_quantisers():
    model = exported(Recurrent(), torch.randn(2, 2, 3))
    nodes = list(all_nodes(model.graph))
    assert not any(n.domain == "onnx.brevitas" for n in nodes)
    assert [n.op_type for n in nodes].count("Quant") > 20


def test_shared_quantisers_and_layers():
    a = qnn.QuantLinear(6, 6, bias=True, weight_bit_width=4)
    b = qnn.QuantLinear(6, 6, bias=True, weight_quant=a.weight_quant)
    relu = qnn.QuantReLU(bit_width=4)
    model = exported(nn.Sequential(a, relu, b, relu, a), torch.randn(4, 6))
    assert operators(model).count("Gemm") == 3


def test_what_cannot_be_exported_is_named():
    from brevitas_examples.common.generative.quantizers import Int8DynamicActPerTensorFloat

    dynamic = nn.Sequential(qnn.QuantIdentity(act_quant=Int8DynamicActPerTensorFloat))
    with pytest.raises(FrontEndError, match=r"module '0.act_quant': the scale of this quantiser depends on the data"):
        from_brevitas(dynamic, torch.randn(2, 3))
    grouped = nn.Sequential(qnn.QuantIdentity(act_quant=mx.MXInt8Act, group_dim=1))
    with pytest.raises(FrontEndError, match=r"module '0.act_quant': the scale of this quantiser depends on the data"):
        from_brevitas(grouped, torch.randn(2, 32))


def test_weights_in_groups():
    net = nn.Sequential(
        qnn.QuantLinear(60, 32, bias=True, weight_quant=mx.MXInt8Weight),  # 60 is no multiple of the group
        qnn.QuantLinear(32, 5, bias=True, weight_quant=mx.MXFloat8e4m3Weight),
    )
    model = exported(net, torch.randn(3, 60))
    assert [n.op_type for n in model.graph if n.domain] == ["Quant", "FloatQuant"]
