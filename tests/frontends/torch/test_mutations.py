"""Mutated exports: whatever differs from the source is wrong, and never passes for a tie.

Each net is exported once; then one thing of the ONNX model is changed, and the comparison has to name it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from anybit.errors import FrontEndError
from anybit.frontends.agreement import AgreementVerdict
from anybit.frontends.torch import quant
from anybit.frontends.torch.call import call_of
from anybit.frontends.torch.calls import compared_on
from anybit.frontends.torch.convert import hub_model
from anybit.frontends.torch.copies import evaluated
from anybit.frontends.torch.flat import flat
from anybit.io.load import load

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "UserWarning", "FutureWarning")
]


class Plain(nn.Module):
    """Convolution, residual sum and dense layer with quantisers of anybit; scales that are no powers of two."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.dense = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Linear(2, 3)

    def forward(self, x):
        x = quant(x, 0.0371, 0.0, 6)
        w = quant(self.conv.weight, 0.0213, 0.0, 4, narrow=True)
        y = quant(torch.relu(self.norm(nn.functional.conv2d(x, w, self.conv.bias, padding=1))), 0.0413, 0.0, 5)
        y = quant((x + y).mean((2, 3)), 0.0127, 2.0, 6, signed=False)
        return quant(nn.functional.linear(y, quant(self.dense.weight, 0.0171, 0.0, 5), self.dense.bias), 0.019)


class Fake(nn.Module):
    """torch's own fake quantisation, by tensor and by channel, with a pool between two equal quantisers."""

    def __init__(self):
        super().__init__()
        self.pool, self.dense = nn.AdaptiveAvgPool2d(1), nn.Linear(2, 3)
        self.register_buffer("scale", torch.tensor([0.0131, 0.0197, 0.0071]))
        self.register_buffer("zero", torch.zeros(3, dtype=torch.int32))

    def forward(self, x):
        x = torch.fake_quantize_per_tensor_affine(x, 0.037, 3, -128, 127)
        x = torch.flatten(torch.fake_quantize_per_tensor_affine(self.pool(x), 0.037, 0, -128, 127), 1)
        w = torch.fake_quantize_per_channel_affine(self.dense.weight, self.scale, self.zero, 0, -127, 127)
        return torch.fake_quantize_per_tensor_affine(nn.functional.linear(x, w, self.dense.bias), 0.0119, 7, 0, 255)


class Attention(nn.Module):
    """Products of two activations, softmax, GELU and layer normalisation between quantisers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)

    def forward(self, x):
        x = quant(self.norm(x.flatten(1).unflatten(1, (-1, 6))), 0.031, 0.0, 6)
        scores = quant(torch.softmax(x @ x.transpose(1, 2) * 0.3, -1), 0.0043, 0.0, 8, signed=False)
        return quant(nn.functional.gelu(scores @ x), 0.017, 0.0, 8)


class Sequences(nn.Module):
    """A dense layer on the rows of sequences, for which the model has its weights and their scales transposed."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(6, 3)
        self.register_buffer("scale", torch.tensor([[0.0131], [0.0197], [0.0071]]))

    def forward(self, x):
        w = quant(self.dense.weight, self.scale, 0.0, 5, narrow=True)
        return quant(nn.functional.linear(quant(x, 0.0371, 0.0, 6), w, self.dense.bias), 0.019)


NETS = {"plain": Plain, "fake": Fake, "attention": Attention, "sequences": Sequences}


@pytest.fixture(scope="module", params=NETS)
def exported(request):
    """The export of a net, before the comparison."""
    torch.manual_seed(0)
    module = evaluated(NETS[request.param](), quiet=True)
    call = call_of(module, torch.randn(4, 2, 6, 6), None, dynamic_batch=True, dynamic_shapes=None)
    module = flat(module, call)
    return module, hub_model(module, call.tensors, call.shapes, approximate=False), call


def judge(exported, change=None, **options):
    module, traced, call = exported
    model = load(ir.to_proto(traced.model))
    if change is not None:
        change(model)
    options = {"tolerance": None, "quiet": True, **options}
    return compared_on(replace(traced, model=model), module, call, **options).agreement


def quantizers(model):
    return [node for node in model.graph if node.op_type == "Quant"]


def set_constant(value, array):
    value.const_value = ir.tensor(array)


def changed(node, position, function):
    value = node.inputs[position]
    set_constant(value, np.asarray(function(value.const_value.numpy()), np.float32))


def test_the_export_itself_is_equal_or_has_ties(exported):
    agreement = judge(exported)
    assert agreement.verdict in (AgreementVerdict.EQUAL, AgreementVerdict.TIES)
    assert all(d.departing == 0 for d in agreement.outputs) or agreement.ties
    assert 0 < agreement.scatter.elements < agreement.outputs[0].elements  # without the extreme samples


def ulp_up(node):
    changed(node, 1, lambda s: np.nextafter(s, np.float32(np.inf)))


def ulp_down(node):
    changed(node, 1, lambda s: np.nextafter(s, np.float32(0)))


def zero_point_up(node):
    changed(node, 2, lambda z: z + 1)


def one_bit_less(node):
    changed(node, 3, lambda b: b - 1)


def flag(name):
    def change(node):
        node.attributes[name] = ir.AttrInt64(name, 1 - node.attributes[name].value)

    return change


def mode(name):
    def change(node):
        node.attributes["rounding_mode"] = ir.AttrString("rounding_mode", name)

    return change


CHANGES = {
    "scale one ulp up": ulp_up,
    "scale one ulp down": ulp_down,
    "zero point": zero_point_up,
    "bits": one_bit_less,
    "narrow": flag("narrow"),
    "signed": flag("signed"),
    "floor": mode("FLOOR"),
    "half up": mode("HALF_UP"),
    "half down": mode("HALF_DOWN"),
    "up": mode("UP"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_every_quantiser_is_wrong(exported, change):
    count = len(quantizers(exported[1].model))
    for index in range(count):

        def mutate(model, index=index):
            CHANGES[change](quantizers(model)[index])

        with pytest.raises(FrontEndError, match="source"):
            judge(exported, mutate)


def test_every_changed_constant_is_wrong(exported):
    names = [n for n, v in exported[1].model.graph.initializers.items() if v.const_value.dtype == ir.DataType.FLOAT]
    for name in names:
        for shift in (np.float32(1e-3), None):

            def mutate(model, name=name, shift=shift):
                value = model.graph.initializers[name]
                array = value.const_value.numpy()
                set_constant(value, np.nextafter(array, np.float32(np.inf)) if shift is None else array + shift)

            with pytest.raises(FrontEndError, match="source"):
                judge(exported, mutate)


def test_swapped_quantisers_are_wrong(exported):
    def swap(model):
        first, second = quantizers(model)[:2]
        for position in range(1, 4):
            a, b = first.inputs[position], second.inputs[position]
            first.replace_input_with(position, b)
            second.replace_input_with(position, a)

    with pytest.raises(FrontEndError, match="source"):
        judge(exported, swap)


def test_a_quantiser_that_is_left_out_is_wrong(exported):
    for index in range(len(quantizers(exported[1].model))):

        def leave_out(model, index=index):
            node = quantizers(model)[index]
            model.graph.insert_after(node, copy := ir.node("Identity", [node.inputs[0]]))
            new, old = copy.outputs[0], node.outputs[0]
            new.type, new.shape = old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            model.graph.remove(node)
            new.name = old.name

        if exported[1].model.graph.initializers.get(quantizers(exported[1].model)[index].inputs[0].name) is not None:
            continue  # weights lie on their grid: without the quantiser they are the same
        with pytest.raises(FrontEndError, match="source"):
            judge(exported, leave_out)
