"""from_torch: every kind of quantiser of PyTorch against PyTorch's own output, ties included."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver

import anybit
from anybit.errors import FrontEndError, UsageError
from anybit.frontends.agreement import AgreementVerdict
from anybit.frontends.torch import bipolar_quant, float_quant, from_torch, quant, trunc
from tests.frontends.unseen import departing

# torch warns about its own code, and the corners of its exporter.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "UserWarning", "FutureWarning")
]


def outputs(model, *inputs):
    names = [v.name for v in model.graph.inputs]
    return list(anybit.run(model, dict(zip(names, inputs, strict=True)), engine="reference").values())


def operators(model):
    return [n.op_type for n in model.graph]


def grids(model):
    """Bit width, sign and narrowness of each Quant."""
    found = []
    for node in model.graph:
        if node.op_type == "Quant":
            bits = int(node.inputs[3].const_value.numpy().item())
            found.append((bits, node.attributes["signed"].value, node.attributes["narrow"].value))
    return found


def half_steps(*scales):
    """Every half step of each scale, and the floats beside it."""
    middle = np.concatenate([(np.arange(-40, 40) + 0.5) * np.float64(s) for s in scales]).astype(np.float32)
    return np.concatenate([middle, np.nextafter(middle, np.float32(9e9)), np.nextafter(middle, np.float32(-9e9))])


class FakeQuantised(nn.Module):
    """Each overload, ranges of 3 to 8 bits and of no grid, zero points, channels."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor([0.1, 0.23, 0.07]))
        self.register_buffer("zero", torch.tensor([0, 3, -2], dtype=torch.int32))

    def forward(self, x):
        affine, channel = torch.fake_quantize_per_tensor_affine, torch.fake_quantize_per_channel_affine
        return (
            affine(x, 0.1, 0, -8, 7),
            affine(x, 0.13, 3, 0, 15),
            affine(x, 0.25, 128, 0, 255),
            affine(x, 0.07, 1, -3, 5),
            affine(x, self.scale[1], self.zero[1], -8, 7),
            channel(x, self.scale, self.zero, 1, -4, 3),
        )


def test_fake_quantisation_is_exact_on_every_tie():
    module = FakeQuantised()
    model = from_torch(module, torch.randn(4, 3), quiet=True).model
    x = np.repeat(half_steps(0.1, 0.13, 0.25, 0.07, 0.23)[:, None], 3, axis=1)
    for given, wanted in zip(outputs(model, x), module(torch.from_numpy(x)), strict=True):
        np.testing.assert_array_equal(given, wanted.numpy())
    assert grids(model)[2] == (8, 1, 0)  # 0 .. 255 around 128


def test_an_approximate_export_has_one_quantiser_each_and_moves_ties_by_a_step():
    module = FakeQuantised()
    model = from_torch(module, torch.randn(4, 3), approximate=True, quiet=True).model
    assert not {"Mul", "Div"} & set(operators(model))
    x = np.repeat(half_steps(0.13)[:, None], 3, axis=1)
    given, wanted = outputs(model, x)[1], module(torch.from_numpy(x))[1].numpy()
    assert 0 < (given != wanted).mean() < 0.1
    assert np.abs(given - wanted).max() < 0.1301


class Net(nn.Module):
    """A convolution and a dense layer, trained with the operators of anybit."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense = nn.Conv2d(2, 4, 3), nn.Linear(36, 5)
        self.log_scale = nn.Parameter(torch.tensor(-3.0))

    def forward(self, x):
        x = quant(x, 0.125, bit_width=4)
        w = quant(self.conv.weight, torch.exp2(self.log_scale), bit_width=3, narrow=True)
        x = quant(torch.relu(nn.functional.conv2d(x, w, self.conv.bias)), 0.11, 0.0, 3, signed=False)
        x = trunc(x, 0.11, 0.0, 3, 0.22, 2, signed=False)
        w = bipolar_quant(self.dense.weight, 0.3)
        y = nn.functional.linear(torch.flatten(x, 1), w, self.dense.bias)
        return float_quant(y, 0.01, 4, 3, 7, 448.0)


def test_a_net_with_the_operators_of_anybit(tmp_path, capsys):
    torch.manual_seed(0)
    net = Net().train()
    before = copy.deepcopy(net.state_dict())
    export = from_torch(net, torch.randn(1, 2, 5, 5))
    assert capsys.readouterr().err.startswith("anybit: equal: ")
    assert export.agreement.holds
    assert net.training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert sorted(set(operators(export.model)) & {"Quant", "BipolarQuant", "Trunc", "FloatQuant"}) == [
        "BipolarQuant",
        "FloatQuant",
        "Quant",
        "Trunc",
    ]
    assert anybit.check(export.model) == ()
    weights = export.model.graph.initializers["conv.weight"].const_value.numpy()
    np.testing.assert_array_equal(weights, np.clip(np.rint(weights * 8), -3, 3) / 8)  # on the grid
    anybit.save(export.model, tmp_path / "net.onnx")
    x = torch.randn(7, 2, 5, 5)  # another batch, another engine
    given = anybit.run(tmp_path / "net.onnx", x.numpy())
    np.testing.assert_allclose(next(iter(given.values())), net.eval()(x).detach(), atol=1e-6)


def test_nothing_of_this_machine_goes_into_the_file(tmp_path):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    path = tmp_path / "model.onnx"
    anybit.save(from_torch(net, torch.zeros(2, 4), quiet=True).model, path)
    content = path.read_bytes()
    assert b"stack_trace" not in content
    assert torch.__file__.encode() not in content
    assert __file__.encode() not in content


def test_a_fixed_batch_where_the_module_fixes_its_own():
    class Fixed(nn.Module):
        def forward(self, x, y):
            return quant(x.reshape(2, 6), 0.3, bit_width=4) + y

    inputs = (torch.randn(2, 3, 2), torch.randn(2, 6))
    with pytest.raises(FrontEndError, match="dynamic_batch=False"):
        from_torch(Fixed(), inputs, quiet=True)
    model = from_torch(Fixed(), inputs, dynamic_batch=False, quiet=True).model
    assert [list(v.shape) for v in model.graph.inputs] == [[2, 3, 2], [2, 6]]


def qat(lo, hi, *, observer=MovingAverageMinMaxObserver, dtype=torch.quint8, **options):
    return FakeQuantize.with_args(observer=observer, quant_min=lo, quant_max=hi, dtype=dtype, **options)


def prepared(**options):
    """QAT of torch.ao: 4-bit activations, 3-bit weights by channel, batch normalisation fused into a convolution."""
    torch.manual_seed(0)
    net = nn.Sequential(
        torch.ao.quantization.QuantStub(),
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(27, 4),
    ).train()
    weights = qat(
        -4,
        3,
        observer=MovingAveragePerChannelMinMaxObserver,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
    )
    net.qconfig = torch.ao.quantization.QConfig(activation=qat(0, 15, **options), weight=weights)
    torch.ao.quantization.fuse_modules_qat(net, [["1.0", "1.1", "1.2"]], inplace=True)
    torch.ao.quantization.prepare_qat(net, inplace=True)
    net(torch.randn(8, 2, 5, 5))
    return net


def test_modules_that_torch_ao_has_prepared():
    net = prepared()
    net.apply(torch.ao.quantization.disable_observer)
    model = from_torch(net, torch.randn(4, 2, 5, 5), quiet=True).model
    assert grids(model).count((3, 1, 0)) == 2
    assert operators(model).count("Quant") == 5
    x = torch.randn(5, 2, 5, 5)
    np.testing.assert_allclose(outputs(model, x.numpy())[0], net.eval()(x).detach(), atol=1e-5)


def test_an_observer_that_is_still_enabled_is_refused_by_its_path():
    with pytest.raises(FrontEndError, match=r"module '0.activation_post_process'.*still observes.*disable_observer"):
        from_torch(prepared(), torch.randn(4, 2, 5, 5))
    with pytest.raises(FrontEndError, match=r"module '0.activation_post_process'.*depends on the data"):
        from_torch(prepared(is_dynamic=True, averaging_constant=1), torch.randn(4, 2, 5, 5))


def test_observers_and_integer_kernels_are_refused_by_their_path():
    net = nn.Sequential(nn.Linear(3, 3))
    net.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    ready = torch.ao.quantization.prepare(net.eval())
    with pytest.raises(FrontEndError, match=r"module '0.activation_post_process': an observer"):
        from_torch(ready, torch.randn(2, 3))
    dynamic = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 3)))
    with pytest.raises(FrontEndError, match=r"module '0'.*depends on the data.*before torch.ao.quantization.convert"):
        from_torch(dynamic, torch.randn(2, 3))


class Pairs(nn.Module):
    """What PT2E leaves: pairs by tensor and by channel, integer weights, groups of four bits."""

    def __init__(self, *, hi=15):
        super().__init__()
        from torch.ao.quantization.fx import _decomposed  # noqa: F401  it registers the operators

        self.hi = hi
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("w", torch.randint(-7, 8, (5, 8), dtype=torch.int8, generator=generator))
        self.register_buffer("g", torch.randint(-8, 8, (3, 8), dtype=torch.int8, generator=generator))
        self.register_buffer("s", torch.rand(5, generator=generator) + 0.01)
        self.register_buffer("gs", torch.rand(3, 2, generator=generator) + 0.01)
        self.register_buffer("z", torch.zeros(5, dtype=torch.int64))
        self.register_buffer("gz", torch.tensor([[0, 1], [-2, 0], [0, 3]]))

    def forward(self, x):
        q = torch.ops.quantized_decomposed
        x = q.dequantize_per_tensor(
            q.quantize_per_tensor(x, 0.13, 7, 0, 15, torch.uint8), 0.13, 7, 0, self.hi, torch.uint8
        )
        w = q.dequantize_per_channel(self.w, self.s, self.z, 0, -7, 7, torch.int8)
        g = q.dequantize_per_channel_group(self.g, self.gs, self.gz, -8, 7, torch.int8, 4, torch.float32)
        y = nn.functional.linear(x, w)
        y = q.quantize_per_channel(y, self.s, self.z, 1, -4, 3, torch.int8)
        return x, q.dequantize_per_channel(y, self.s, self.z, 1, -4, 3, torch.int8), nn.functional.linear(x, g)


def test_pairs_keep_their_ranges():
    module = Pairs()
    model = from_torch(module, torch.randn(4, 8), quiet=True).model
    assert sorted(grids(model)) == [(3, 1, 0), (4, 1, 0), (4, 1, 1), (5, 1, 0)]  # 0 .. 15 around 7 is no grid
    x = np.repeat(half_steps(0.13)[:, None], 8, axis=1)
    np.testing.assert_array_equal(outputs(model, x)[0], module(torch.from_numpy(x))[0].numpy())


def test_a_pair_of_two_ranges_is_refused():
    with pytest.raises(FrontEndError, match=r"different parameters: got 0 .. 15 and 0 .. 255"):
        from_torch(Pairs(hi=255), torch.randn(4, 8))


def test_integer_weights_of_torchao():
    torchao = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    net = nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 4)).eval()
    config = torchao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=torchao.PerGroup(32))
    torchao.quantize_(net[0], config)
    model = from_torch(net, torch.randn(4, 64), quiet=True).model
    assert grids(model) == [(4, 1, 0)]
    assert model.graph[0].outputs[0].shape == (6, 2, 32)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Dynamic(nn.Module):
    def forward(self, x):
        return quant(x, x.abs().amax() / 7, bit_width=4)


class DynamicFake(nn.Module):
    def forward(self, x):
        return torch.fake_quantize_per_tensor_affine(x, x.abs().amax() / 7, torch.zeros((), dtype=torch.int32), -8, 7)


class Wide(nn.Module):
    def forward(self, x):
        return torch.fake_quantize_per_tensor_affine(x.double(), 0.1, 0, -8, 7)


@torch.library.custom_op("anybit_test::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@twice.register_fake
def _(x):
    return torch.empty_like(x)


class Custom(nn.Module):
    def forward(self, x):
        return twice(x)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Branching, r"module 'inner': the module cannot be captured.*torch.where or torch.cond"),
        (Dynamic, r"module 'inner', .*the scale of this quantiser depends on the data.*freeze it"),
        (DynamicFake, r"module 'inner', .*the scale of this quantiser depends on the data"),
        (Wide, r"module 'inner', .*element type of a quantiser: got torch.float64"),
        (Custom, r"module 'inner', .*a custom operator without translation: got anybit_test.twice"),
    ],
)
def test_what_cannot_be_exported_is_named(kind, text):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = kind()

        def forward(self, x):
            return self.inner(x) + 1

    with pytest.raises(FrontEndError, match=text):
        from_torch(Outer(), torch.randn(2, 3))


class Drawing(nn.Module):
    """Stochastic depth as a graph has it that was traced while training."""

    def __init__(self, probability):
        super().__init__()
        self.probability = probability

    def forward(self, x):
        return x * torch.empty_like(x).bernoulli_(self.probability)


@pytest.mark.parametrize("probability", [0.5, 0.99999])  # the latter mostly gives the same numbers
@pytest.mark.parametrize("options", [{}, {"dynamic_batch": False}])
def test_a_module_that_draws_numbers_is_said_to_be_random(options, probability):
    net = nn.Sequential(nn.Linear(3, 3), Drawing(probability), nn.Linear(3, 2))
    with pytest.raises(FrontEndError, match=r"module '1': the module gives other numbers each time.*stochastic depth"):
        from_torch(net, torch.randn(8, 3), **options)


def test_example_inputs():
    with pytest.raises(UsageError, match=r"argument 'example_inputs'.*expected torch.Tensor"):
        from_torch(nn.Identity(), 3)
    with pytest.raises(FrontEndError, match="no example inputs"):
        from_torch(nn.Identity(), ())
    with pytest.raises(FrontEndError, match=r"no common batch.*dynamic_batch=False"):
        from_torch(nn.Bilinear(1, 1, 1), (torch.zeros(2, 1), torch.zeros(3, 1)))


class Sliced(nn.Module):
    """Layers of which all but the first are run, as nets of transformers run theirs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Scaled(s) for s in (0.1, 0.13, 0.17))

    def forward(self, x):
        for layer in self.layers[1:]:
            x = layer(x)
        return x


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.dense, self.scale = nn.Linear(4, 4), scale

    def forward(self, x):
        return quant(self.dense(x), torch.tensor(self.scale), torch.tensor(0.0), 6)


def test_layers_in_a_slice_of_a_list():
    torch.manual_seed(0)
    found = from_torch(Sliced(), torch.randn(3, 4), quiet=True)
    assert found.agreement.holds
    assert {t.layer for t in found.agreement.tensors} >= {"layers.1", "layers.1.dense", "layers.2", "layers.2.dense"}


def test_a_float_convolution_takes_up_the_normalisation_behind_it():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), Scaled(0.1))
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    found = from_torch(net, torch.randn(2, 2, 6, 6), quiet=True)
    assert found.agreement.holds
    assert operators(found.model)[:2] == ["Conv", "Relu"]


class InFloat64(nn.Module):
    """A layer behind which some steps are computed in float64."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 5)
        self.factor = torch.tensor(0.1234567890123, dtype=torch.float64)

    def forward(self, x):
        y = (self.fc(x).double() * self.factor + self.factor).float()
        return torch.fake_quantize_per_tensor_affine(y, 0.01, 3, 0, 255)


def test_steps_in_float64():
    torch.manual_seed(0)
    net = InFloat64()
    export = from_torch(net, torch.randn(4, 6), quiet=True)
    assert export.agreement.verdict is AgreementVerdict.EQUAL
    assert departing(export, net, torch.randn(9, 6)) == 0
