"""from_torch: what the flows of torch.ao and torchao make, and quantisers that people write by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.quantization import quantize_fx

from anybit.errors import FrontEndError
from anybit.frontends.torch import from_torch
from tests.frontends.unseen import departing

# torch warns about its own code, and the corners of its exporter.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in ("DeprecationWarning", "UserWarning", "FutureWarning", "ImportWarning")
]


def quantizers(export):
    return [n.op_type for n in export.model.graph].count("Quant")


class Functional(nn.Module):
    """A residual net of torch.ao's eager mode: sums and concatenations by FloatFunctional."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave = ao.QuantStub(), ao.DeQuantStub()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.add, self.cat, self.mul = (nn.quantized.FloatFunctional() for _ in range(3))

    def forward(self, x):
        x = self.enter(x)
        y = self.add.add_relu(x, self.conv(x))
        return self.leave(self.cat.cat([y, self.mul.mul(x, y)], dim=1))


def test_sums_by_float_functional():
    torch.manual_seed(0)
    net = Functional()
    net.qconfig = ao.get_default_qat_qconfig("fbgemm")
    ao.prepare_qat(net.train(), inplace=True)
    net(torch.randn(4, 3, 6, 6))
    net.apply(ao.disable_observer).eval()
    export = from_torch(net, torch.randn(2, 3, 6, 6), quiet=True)
    assert quantizers(export) == 6
    assert departing(export, net, torch.randn(3, 3, 6, 6)) == 0


def test_the_reference_form_of_fx():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()
    x = torch.randn(2, 3, 6, 6)
    prepared = quantize_fx.prepare_fx(net, ao.get_default_qconfig_mapping("fbgemm"), (x,))
    prepared(x)
    reference = quantize_fx.convert_to_reference_fx(copy.deepcopy(prepared))
    export = from_torch(reference, x, quiet=True)
    assert quantizers(export) == 6
    assert departing(export, reference, 2 * torch.randn(5, 3, 6, 6)) == 0
    with pytest.raises(FrontEndError, match=r"module '0'.*integer kernels"):
        from_torch(quantize_fx.convert_fx(prepared), x)


class CalledLinear(nn.Module):
    """A linear layer that is called as a function, whose weights the reference form quantises in its graph."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.weight = nn.Parameter(torch.randn(5, 64))
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, x):
        return nn.functional.linear(torch.relu(self.conv(x)).flatten(1), self.weight, self.bias)


@pytest.mark.parametrize("backend", ["fbgemm", "qnnpack"])
def test_weights_that_the_graph_of_the_reference_form_quantises(backend):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    prepared = quantize_fx.prepare_fx(CalledLinear().eval(), ao.get_default_qconfig_mapping(backend), (x,))
    prepared(x)
    reference = quantize_fx.convert_to_reference_fx(prepared)
    assert any("quantize_per" in str(n.target) and "weight" in str(n.args[0]) for n in reference.graph.nodes)
    export = from_torch(copy.deepcopy(reference), x, quiet=True)
    assert quantizers(export) == 6
    assert departing(export, reference, 2 * torch.randn(5, 3, 6, 6)) == 0
    for node in reference.graph.nodes:
        if node.target is torch.quantize_per_channel:
            setattr(reference, str(node.args[2].target), torch.arange(5))
            with pytest.raises(FrontEndError, match="zero points by channel"):
                from_torch(reference, x)


class InReferenceForm(nn.Module):
    """A quantiser as the reference form has it."""

    def __init__(self, zero_point, dtype):
        super().__init__()
        self.zero_point, self.dtype = zero_point, dtype

    def forward(self, x):
        return torch.quantize_per_tensor(x, 0.0137, self.zero_point, self.dtype).dequantize()


def _quarters(*shape):
    """Quarters of its step, in float32: many lie on half steps, or beside them."""
    return torch.randint(-1200, 1200, shape).float() / 4 * torch.tensor(0.0137)


@pytest.mark.parametrize(("zero_point", "dtype"), [(0, "quint8"), (1, "quint8"), (64, "quint8"), (-37, "qint8")])
def test_half_steps_of_the_reference_form_are_rounded_with_the_zero_point(zero_point, dtype, capsys):
    torch.manual_seed(0)
    net = torch.fx.symbolic_trace(InReferenceForm(zero_point, getattr(torch, dtype)))
    export = from_torch(net, _quarters(4, 2000))
    assert quantizers(export) == 1
    assert departing(export, net, _quarters(9, 2000)) == 0
    assert capsys.readouterr().err.count("\n") == 1  # nothing but what was compared


@pytest.mark.parametrize("options", [{"group_size": 32}, {"granularity": "per_channel", "is_symmetric": False}])
def test_weights_that_torchao_quantises_in_training(options):
    torchao = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    qat = pytest.importorskip("torchao.quantization.qat")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 6))
    weights = qat.IntxFakeQuantizeConfig(torch.int4, **options)
    torchao.quantize_(net, qat.QATConfig(weight_config=weights, step="prepare"))
    export = from_torch(net, torch.randn(4, 64), quiet=True)
    assert quantizers(export) == 1
    assert departing(export, net, torch.randn(7, 64)) == 0
    dynamic = qat.IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)
    net = nn.Sequential(nn.Linear(64, 6))
    torchao.quantize_(net, qat.QATConfig(activation_config=dynamic, weight_config=weights, step="prepare"))
    with pytest.raises(FrontEndError, match=r"module '0.activation_fake_quantizer'.*depends on the data"):
        from_torch(net, torch.randn(4, 64))


class LearnedStep(nn.Module):
    """LSQ as it is often written: the gradient's factor depends on the number of elements."""

    def __init__(self):
        super().__init__()
        self.s = nn.Parameter(torch.tensor(0.1))

    def forward(self, x):
        g = 1.0 / (x.numel() * 7) ** 0.5
        s = (self.s - self.s * g).detach() + self.s * g
        v = torch.clamp(x / s, -8, 7)
        return ((torch.round(v) - v).detach() + v) * s, s


def test_a_step_whose_gradient_depends_on_the_number_of_elements():
    net = LearnedStep()
    export = from_torch(net, torch.randn(4, 6), quiet=True)
    for batch in (1, 3, 1000):
        x = torch.randn(batch, 6)
        assert departing(export, net, x) == 0
        names = [v.name for v in export.model.graph.inputs]
        from anybit import run

        step = list(run(export.model, {names[0]: x.numpy()}).values())[1]
        assert step == net(x)[1].detach().numpy()  # to the last bit, of any batch
