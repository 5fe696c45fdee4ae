"""Recurrent layers of Brevitas: one Scan for each layer and direction, whatever the number of steps."""

from __future__ import annotations

from dataclasses import replace

import brevitas.nn as qnn
import numpy as np
import onnx_ir as ir
import pytest
import torch
from brevitas import quant as bq
from brevitas.graph.calibrate import calibration_mode
from brevitas.graph.quantize import layerwise_quantize, preprocess_for_quantize, quantize
from torch import nn
from torch.utils import _pytree

import anybit
from anybit.engines.engine import Engine
from anybit.errors import FrontEndError
from anybit.frontends.agreement import AgreementVerdict
from anybit.frontends.brevitas import from_brevitas
from anybit.frontends.comparison.engine import agreement_of_engine
from anybit.frontends.comparison.lockstep import lockstep
from anybit.graph.walk import all_nodes
from tests.frontends.architectures.mutated import kept_graphs
from tests.frontends.unseen import departing

KINDS = ("DeprecationWarning", "UserWarning", "FutureWarning", "ImportWarning")
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in KINDS]

ENGINES = ("reference", "onnxruntime")


class Floor(bq.Int8ActPerTensorFloat):
    bit_width = 5
    float_to_int_impl_type = "FLOOR"


class Narrow(bq.Int8ActPerTensorFloat):
    bit_width = 6
    narrow_range = True


def lstm(**options):
    return qnn.QuantLSTM(3, 4, **options)


def rnn(**options):
    return qnn.QuantRNN(3, 4, **options)


class Classifier(nn.Module):
    """What stands around a recurrent layer in a net: a quantised layer in front of it, and one behind it."""

    def __init__(self, layer, width):
        super().__init__()
        self.front = qnn.QuantLinear(3, 3, bias=True, weight_bit_width=4, input_quant=bq.Int8ActPerTensorFloat)
        self.layer, self.back = layer, qnn.QuantLinear(width, 2, bias=True, input_quant=bq.Int8ActPerTensorFloat)

    def forward(self, x):
        return self.back(self.layer(self.front(x))[0])


class Twice(nn.Module):
    """One layer that is called two times."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(self.layer(x)[0][..., :3])[1]


# Each with its arguments, steps along axis 0 unless batch_first; (steps, batch, features).
NETS = {
    "lstm": (lstm, [(5, 2, 3)]),
    "states": (lambda: lstm(gate_acc_quant=Narrow), [(5, 2, 3), (1, 2, 4), (1, 2, 4)]),
    "coupled gates": (lambda: lstm(coupled_input_forget_gates=True, bias=False, io_quant=Floor), [(5, 2, 3)]),
    "both directions, shared quantisers": (
        lambda: lstm(
            bidirectional=True,
            batch_first=True,
            shared_input_hidden_weights=True,
            shared_intra_layer_weight_quant=True,
            shared_intra_layer_gate_acc_quant=True,
            weight_bit_width=4,
        ),
        [(2, 5, 3)],
    ),
    "two layers, separate cell states": (
        lambda: lstm(num_layers=2, cat_output_cell_states=False, shared_cell_state_quant=False),
        [(5, 2, 3)],
    ),
    "quantised result": (lambda: lstm(return_quant_tensor=True), [(5, 2, 3)]),
    "no quantisers of gates": (lambda: lstm(gate_acc_quant=None, cell_state_quant=None, tanh_quant=None), [(5, 2, 3)]),
    "rnn": (lambda: rnn(batch_first=True), [(2, 5, 3)]),
    "rnn, two layers, both directions": (
        lambda: rnn(num_layers=2, bidirectional=True, nonlinearity="relu", gate_acc_quant=Floor),
        [(5, 2, 3)],
    ),
    "rnn, states": (lambda: rnn(bias=False, io_quant=Narrow), [(5, 2, 3), (1, 2, 4)]),
    "run twice": (lambda: Twice(lstm()), [(5, 2, 3)]),
    "in a net": (lambda: Classifier(lstm(batch_first=True), 4), [(2, 5, 3)]),
}

FLOAT_RESULTS = ("no quantisers of gates", "in a net")
"""They give sums that no quantiser rounds, equal but for the order of summation."""


def calibrated(net, *inputs):
    net.train()
    for _ in range(3):
        net(*inputs)
    return net.eval()


def plain(result):
    if isinstance(result, tuple | list) and not hasattr(result, "value"):
        return [plain(r) for r in result]
    return getattr(result, "value", result)


def scans(model):
    return [n for n in model.graph if n.op_type == "Scan"]


def count(model):
    return sum(1 for _ in all_nodes(model.graph))


def unequal(model, net, *inputs):
    """The number of elements, by both engines, that are not equal to the net's."""
    with torch.no_grad():
        wanted = [t.numpy() for t in _pytree.tree_leaves(plain(net(*inputs)))]
    feeds = {v.name: t.numpy() for v, t in zip(model.graph.inputs, inputs, strict=True)}
    found = 0
    for engine in ENGINES:
        given = anybit.run(model, feeds, engine=engine)
        found += sum(int((a != b).sum()) for a, b in zip(given.values(), wanted, strict=True))
    return found


@pytest.mark.parametrize("name", NETS)
def test_a_layer_becomes_a_scan_that_gives_its_numbers(name):
    make, shapes = NETS[name]
    inputs = [torch.randn(shape) for shape in shapes]
    net = calibrated(make(), *inputs)
    export = from_brevitas(net, inputs, dynamic_batch=False, quiet=True)
    assert export.agreement.verdict is not AgreementVerdict.WRONG
    layer = getattr(net, "layer", net)
    calls = 2 if name == "run twice" else 1
    assert len(scans(export.model)) == calls * sum(len(directions) for directions in layer.layers)
    assert anybit.check(export.model) == ()
    assert count(anybit.clean(export.model)) == count(export.model)
    fresh = [1.5 * torch.randn(shape) for shape in shapes]
    if name in FLOAT_RESULTS:
        assert departing(export, net, *fresh) == 0
    elif export.agreement.verdict is AgreementVerdict.EQUAL:
        assert unequal(export.model, net, *fresh) == 0
    inner = {str(v.name) for scan in scans(export.model) for n in scan.attributes["body"].as_graph() for v in n.outputs}
    seen = {t.name: t for t in export.agreement.tensors}
    quantisers = {
        str(n.outputs[0].name)
        for scan in scans(export.model)
        for n in scan.attributes["body"].as_graph()
        if n.op_type == "Quant"
    }
    assert quantisers <= seen.keys() & inner
    runs = {seen[q].elements / (5 * 2 * 4) for q in quantisers}  # the example, some like it, far beyond, zeros
    assert runs in ({4}, {6})
    modules = dict(net.named_modules())
    assert all(seen[q].layer.partition(".tensor_quant")[0].rpartition(".")[0] in modules for q in quantisers)


class FloatClassifier(nn.Module):
    """A net of floats, as the post-training flows are given it."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.back = layer, nn.Linear(4, 2)

    def forward(self, x):
        steps, _ = self.layer(x)
        return self.back(torch.relu(steps))  # Brevitas' own flow stops at a result in a tuple without an activation


@pytest.mark.parametrize("flow", [quantize, layerwise_quantize])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])
def test_what_the_flows_make_of_a_recurrent_layer_becomes_a_scan(flow, kind):
    net = FloatClassifier(kind(3, 4, batch_first=True)).eval()
    x = torch.randn(2, 5, 3)
    if flow is quantize:
        net = preprocess_for_quantize(net, trace_model=True)
    net = flow(net)
    with torch.no_grad(), calibration_mode(net):
        net(x)
    net.eval()
    export = from_brevitas(net, x, quiet=True)
    (scan,) = scans(export.model)
    assert "Quant" in [n.op_type for n in scan.attributes["body"].as_graph()]
    assert departing(export, net, torch.randn(7, 5, 3)) == 0


def test_the_batch_and_the_number_of_steps_may_be_free():
    x = torch.randn(2, 5, 3)
    net = calibrated(Classifier(lstm(batch_first=True), 4), x)
    export = from_brevitas(net, x, quiet=True)
    assert departing(export, net, torch.randn(7, 5, 3)) == 0
    axes = {"x": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}}
    export = from_brevitas(net, x, dynamic_shapes=axes, quiet=True)
    assert [str(size) for size in export.model.graph.inputs[0].shape][:2] == ["batch", "length"]
    assert departing(export, net, torch.randn(3, 11, 3)) == 0


def test_the_size_of_a_model_does_not_depend_on_the_number_of_steps():
    sizes = []
    for steps in (5, 200):
        torch.manual_seed(0)
        x = torch.randn(steps, 1, 3)
        net = calibrated(lstm(), torch.randn(5, 1, 3))
        with kept_graphs() as kept:
            export = from_brevitas(net, x, dynamic_batch=False, quiet=True)
        captured = kept.traced[0].captured.source
        sizes.append((count(export.model), len(captured.graph.nodes), len(export.agreement.tensors)))
    assert sizes[0] == sizes[1]
    assert unequal(export.model, net, torch.randn(200, 1, 3)) == 0


class Halved(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.batch_first = cell, cell.batch_first

    def forward(self, x, *states, **weights):
        return self.cell(x / 2, *states, **weights)


def hooked(net):
    net.layers[0][0].cell.register_forward_hook(lambda *_: None)
    return net


def hooked_inside(net):
    net.layers[0][0].cell.output_quant.fused_activation_quant_proxy.register_forward_hook(lambda *_: None)
    return net


def own_cell(net):
    layer = net.layers[0][0]
    layer._fast_cell = Halved(layer.fast_cell)
    return net


def own_kind(net):
    layer = net.layers[0][0]
    layer.__class__ = type("Mine", (type(layer),), {})
    return net


@pytest.mark.parametrize("change", [hooked, hooked_inside, own_cell, own_kind])
def test_what_is_not_brevitas_own_is_unrolled(change):
    x = torch.randn(2, 2, 3)
    net = change(calibrated(rnn(), x))
    model = from_brevitas(net, x, dynamic_batch=False, quiet=True).model
    assert not scans(model)
    assert unequal(model, net, torch.randn(2, 2, 3)) == 0


def test_unrolled_where_that_is_asked_for():
    x = torch.randn(3, 2, 3)
    net = calibrated(rnn(), x)
    model = from_brevitas(net, x, dynamic_batch=False, unroll=True, quiet=True).model
    assert not scans(model)
    assert [n.op_type for n in model.graph].count("Tanh") == 3
    assert unequal(model, net, torch.randn(3, 2, 3)) == 0


def test_a_layer_that_reads_constants_is_a_constant():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.tokens = rnn(), nn.Parameter(torch.randn(3, 1, 3))

        def forward(self, x):
            return x + self.rnn(self.tokens)[0][-1]

    x = torch.randn(2, 4)
    net = calibrated(Fixed(), x)
    model = from_brevitas(net, x, quiet=True).model
    assert [n.op_type for n in model.graph] == ["Add"]
    assert unequal(model, net, torch.randn(3, 4)) == 0


@pytest.fixture(scope="module")
def traced():
    """The graph of a net, the inputs of a call, and what the net makes of them."""
    torch.manual_seed(0)
    x = torch.randn(4, 2, 3)
    net = calibrated(Classifier(lstm(bidirectional=True), 8), x)
    with kept_graphs() as kept:
        from_brevitas(net, x, dynamic_batch=False, quiet=True)
    (graph,) = kept.traced
    unseen = 2 * torch.randn(4, 2, 3)
    recording, _ = graph.record([unseen])
    return graph.model, {str(graph.model.graph.inputs[0].name): unseen.numpy()}, recording


def is_right(model, feeds, recording):
    """Whether the comparison finds nothing wrong with a model."""
    try:
        return not any(t.departing for t in lockstep(model, feeds, recording))
    except FrontEndError:
        return False


def quantisers(scan):
    return [n for n in scan.attributes["body"].as_graph() if n.op_type == "Quant"]


def scale_up(node):
    value = node.inputs[1]
    own = ir.Value(name=f"{node.outputs[0].name}/scale", const_value=None)
    array = np.nextafter(value.const_value.numpy(), np.float32(np.inf))
    own.const_value = ir.tensor(array, name=own.name)
    own.type, own.shape = value.type, value.shape
    node.replace_input_with(1, own)
    return own


def mode(node):
    other = "FLOOR" if node.attributes["rounding_mode"].as_string() != "FLOOR" else "CEIL"
    node.attributes["rounding_mode"] = ir.AttrString("rounding_mode", other)


def flag(name):
    def change(node):
        node.attributes[name] = ir.AttrInt64(name, 1 - node.attributes[name].as_int())

    return change


MUTATIONS = {"scale": scale_up, "mode": mode, "narrow": flag("narrow"), "signed": flag("signed")}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_what_is_changed_in_a_body_is_found(traced, mutation):
    model, feeds, recording = traced
    assert is_right(model, feeds, recording)
    names = [n.outputs[0].name for n in quantisers(scans(model)[0])]
    assert len(names) == 13
    for index, name in enumerate(names):
        changed = model.clone()
        own = MUTATIONS[mutation](quantisers(scans(changed)[0])[index])
        if own is not None:
            changed.graph.register_initializer(own)
        assert not is_right(changed, feeds, recording), name


def set_integers(name, values):
    def change(model):
        scans(model)[0].attributes[name] = ir.AttrInt64s(name, values)

    return change


def other_function(model):
    """Sigmoid in the place of the first Tanh."""
    body = scans(model)[0].attributes["body"].as_graph()
    node = next(n for n in body if n.op_type == "Tanh")
    node.op_type = "Sigmoid"


def crossed_states(model):
    scan = scans(model)[0]
    body = scan.attributes["body"].as_graph()
    body.outputs[0], body.outputs[1] = body.outputs[1], body.outputs[0]


def renamed(model):
    scans(model)[0].name = "another"
    mode(quantisers(scans(model)[0])[0])


LOOPS = {
    "direction": set_integers("scan_input_directions", [1]),
    "order of results": set_integers("scan_output_directions", [1]),
    "function": other_function,
    "states": crossed_states,
    "name": renamed,
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_that_is_another_one_is_found(traced, name):
    model, feeds, recording = traced
    changed = model.clone()
    LOOPS[name](changed)
    assert not is_right(changed, feeds, recording)


def test_a_loop_of_another_length_is_found(traced):
    model, feeds, recording = traced
    short = {name: rows[:-1] for name, rows in recording.steps.items()}
    with pytest.raises(FrontEndError, match="more or fewer times"):
        lockstep(model, feeds, replace(recording, steps=short))


@pytest.mark.parametrize("engine", [Engine.REFERENCE, Engine.ONNXRUNTIME])
def test_an_engine_is_compared_at_each_step(traced, engine):
    model, feeds, _ = traced
    found = {t.name: t for t in agreement_of_engine(model, feeds, {}, engine=engine)}
    inner = {str(n.outputs[0].name) for scan in scans(model) for n in quantisers(scan)}
    assert inner <= found.keys()
    assert all(found[name].elements == 4 * 2 * 4 for name in inner)
    assert not any(t.departing for t in found.values())


def test_the_values_of_a_body_are_bounded_by_its_quantisers(traced):
    values = anybit.analyse(traced[0])
    bounded = [values[str(v.name)] for scan in scans(traced[0]) for v in scan.outputs]
    assert all(np.isfinite(v.lo).all() and np.isfinite(v.hi).all() for v in bounded)
