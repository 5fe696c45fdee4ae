"""The value that the page shows, against the analyses that it is made of."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from onnx import helper

import anybit
from anybit import prepare_c, prepare_da4ml, prepare_finn, prepare_hls4ml
from anybit.analysis.values import interpreter
from anybit.formats.convert import WRITERS, to_hub
from anybit.plan import plan_of
from anybit.quantization import Divergence, Sensitivity, TensorSensitivity
from anybit.reporting.changes import changes_of
from anybit.reporting.describe import describe
from anybit.reporting.messages import Messages
from anybit.reporting.model import Kind
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import DIGITS, mlp, model, parameters, quant, samples
from tests.reporting.models import HOSTILE, chain, hostile

REAL = (
    "tfc_2w2a",
    "transformer_4w8a",
    "cnv_2w2a",
    "fp8_e4m3_ocp",
    "embedding_4w",
    "hgq2_jet_wrap_trn",
    "quant_lstm_full",
)


def operations(report):
    return [o for b in report.blocks for o in b.operations]


def total(report, figure):
    return sum(getattr(o.cost.dense, figure) for o in operations(report) if o.cost is not None)


def test_costs_of_the_blocks_add_up_to_those_of_the_model():
    report, cost = describe(chain(6)), anybit.cost(chain(6))
    assert total(report, "macs") == cost.dense.macs == report.cost.dense.macs
    assert total(report, "bit_operations") == cost.dense.bit_operations
    assert sum(p.bit_operations for p in report.cost.pairs) == cost.dense.bit_operations


def test_a_layer_says_what_it_multiplies_and_how_it_adds_up():
    layer = describe(chain(2)).blocks[2]
    assert (layer.kind, layer.weight_bits, layer.input_bits, layer.output_bits) == (Kind.LAYER, 2, 1, 2)
    (accumulator,) = layer.operations[0].accumulators
    # 72 products of 0 .. 1 and, by their type alone, -2 .. 1
    assert (accumulator.terms, accumulator.bounds[0].lo, accumulator.bounds[0].hi) == (72, "-144", "72")
    weights = layer.operations[0].parameters[0]
    assert (weights.name, weights.integers, weights.scale) == ("wq1", "INT2", "0.25")


def test_histograms_of_weights_count_every_element():
    weights = describe(chain(2)).blocks[2].operations[0].parameters[0]
    stored = next(t for t in chain(2).graph.initializer if t.name == "w1")
    array = np.frombuffer(stored.raw_data, np.float32)
    integers = np.rint(np.clip(array / 0.25, -1, 1))
    assert weights.held.histogram.counts == tuple(int((integers == i).sum()) for i in (-1, 0, 1))


def test_data_gives_activations_their_ranges():
    x = samples(50, 6)
    without, report = describe(mlp()), describe(mlp(), {"x": x})
    assert (without.samples, report.samples) == (0, 50)
    held = {t.name: t.held for o in operations(report) for t in o.outputs}
    assert held["xq"].elements == x.size
    assert all(t.held is None for o in operations(without) for t in o.outputs)
    for operation in operations(report):
        for tensor in operation.outputs:
            if tensor.held is not None:
                assert tensor.lo <= tensor.held.lowest <= tensor.held.highest <= tensor.hi


def test_edges_join_inputs_blocks_and_outputs():
    report = describe(chain(2))
    kinds = [b.kind for b in report.blocks]
    assert kinds == [Kind.INPUT, Kind.LAYER, Kind.LAYER, Kind.OTHER, Kind.OUTPUT]
    assert [(e.source, e.target, e.name) for e in report.edges] == [
        (0, 1, "x"),
        (1, 2, "a0"),
        (2, 3, "a1"),
        (0, 3, "x"),
        (3, 4, "s1"),
    ]


def test_messages_know_their_block():
    report = describe(chain(2))
    qdq = next(f for f in report.formats if f.format == "QDQ")
    # folded weight quantisers belong to the layer that reads them
    assert {(r.node, r.block) for r in qdq.refusals} == {("Quant 'wq0_node'", 1), ("Quant 'a0_node'", 1)}
    assert dict(zip(report.shares, qdq.shares, strict=True))["operators keep their names"] == "yes"


@pytest.mark.parametrize("source", [mlp(), chain(4), DIGITS / "model.onnx"], ids=["mlp", "chain", "digits"])
def test_targets_say_what_they_say_alone(source):
    """The report makes once what several of them begin with; each alone makes it for itself."""
    report, plain = describe(source), Messages({})
    alone = (
        prepare_finn(source, compared=False),
        prepare_hls4ml(source, compared=False),
        prepare_da4ml(source),
        prepare_c(source),
    )
    found = [(t.ready, t.rewrites, [m.text for m in t.messages]) for t in report.tools]
    assert found == [(a.ready, len(a.rewrites), [m.text for m in plain.findings(a.findings)]) for a in alone]
    plan = plan_of(source)
    assert (report.plan.macs, len(report.plan.steps)) == (plan.macs, len(plan.steps))
    hub, read = to_hub(source)
    for row, write in zip(report.formats, WRITERS.values(), strict=True):
        refused = (*read.refusals, *write(hub.clone()).refusals)
        assert [m.text for m in row.refusals] == [m.text for m in plain.refusals(refused)]


def test_what_targets_have_in_common_is_made_once(monkeypatch):
    """The analysis of the model, of what formats begin with, of FINN's and of hls4ml's model, and of the plan."""
    analysed = []
    original = interpreter._Walk.graph

    def counted(walk, graph):
        analysed.append(len(graph))
        return original(walk, graph)

    monkeypatch.setattr(interpreter._Walk, "graph", counted)
    describe(chain(4))
    assert len(analysed) == 5


def test_dimensions_with_a_name_that_says_nothing_are_free_sizes():
    """Those of one tensor are named by onnx's inference, those of the input by whoever exported it."""
    nodes = [helper.make_node("NonZero", ["x"], ["places"]), helper.make_node("Cast", ["places"], ["y"], to=1)]
    found = describe(model(nodes, {}, inputs={"x": ["unk__3", 4]}, outputs=["y"]), targets=False)
    shapes = [t.shape for b in found.blocks for t in (b.ends, *(t for o in b.operations for t in o.outputs)) if t]
    assert shapes[0] == "? \N{MULTIPLICATION SIGN} 4"
    assert shapes[1:] == ["2 \N{MULTIPLICATION SIGN} ?"] * 3
    assert "unk__" not in str(found)


def test_unknown_operators_are_drawn_and_found():
    report = describe(hostile())
    found = [f for f in report.findings if f.rule == "operator"]
    assert [f.severity for f in found] == ["error"]
    (operation,) = report.blocks[found[0].block].operations
    assert operation.operator == f"{HOSTILE[0]}::Quant"
    assert operation.cost.dense.macs is None  # not known, and so the model's
    assert report.cost.dense.macs is None


def test_names_are_cut_and_escaped():
    names = [o.name for o in operations(describe(hostile()))]
    assert any(n.endswith("… (5,000 characters)") and len(n) < 2100 for n in names)
    assert any("\\u2028" in n and "\\u202e" in n and "\\x07" in n for n in names)
    assert HOSTILE[0] in names  # markup is for the page to make harmless


def test_nodes_without_names_and_subgraphs_keep_their_cost():
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["t"])],
        "then",
        [],
        [helper.make_tensor_value_info("t", 1, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["e"])], "else", [], [helper.make_tensor_value_info("e", 1, None)]
    )
    proto = model(
        [
            helper.make_node("If", ["c"], ["i"], then_branch=body, else_branch=other),
            helper.make_node("MatMul", ["i", "w"], ["m"]),
            helper.make_node("MatMul", ["m", "w"], ["y"]),
        ],
        {"w": np.ones((4, 4), np.float32)},
        inputs={"x": ["batch", 4]},
        outputs=["y"],
    )
    inputs = proto.graph.input
    inputs.append(helper.make_tensor_value_info("c", 9, []))
    report = describe(proto)
    assert [o.cost.dense.macs for o in operations(report)] == [16, 16, 16]
    assert report.cost.dense.macs == 48


def test_two_nodes_of_one_name_keep_their_own_cost():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="same"),
        helper.make_node("MatMul", ["m", "v"], ["y"], name="same"),
    ]
    initializers = {"w": np.ones((4, 8), np.float32), "v": np.ones((8, 2), np.float32)}
    report = describe(model(nodes, initializers, inputs={"x": [1, 4]}, outputs=["y"]))
    assert [o.cost.dense.macs for o in operations(report)] == [32, 16]


def test_a_model_of_nothing_but_constants_and_one_that_passes_its_input_on():
    proto = model(
        [quant("w", "y")], {"w": np.ones(3, np.float32)} | parameters("y"), inputs={"x": [1]}, outputs=["y", "x"]
    )
    report = describe(proto)
    assert [b.kind for b in report.blocks] == [Kind.INPUT, Kind.OTHER, Kind.OUTPUT, Kind.OUTPUT]
    assert [(e.source, e.target) for e in report.edges] == [(1, 2), (0, 3)]


@pytest.mark.parametrize("bad", ["cycle", "undefined"])
def test_the_page_of_a_graph_without_an_order_says_so(bad):
    source = "z" if bad == "cycle" else "nowhere"
    nodes = [helper.make_node("Add", ["x", source], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    report = describe(model(nodes, {}, inputs={"x": [1]}, outputs=["z"]))
    assert [(f.severity, f.rule) for f in report.findings] == [("error", bad)]
    assert report.blocks == ()


def test_the_same_model_is_described_alike():
    first, second = (dataclasses.asdict(describe(DIGITS / "model.onnx")) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(second, allow_nan=False)


@needs_corpus
@pytest.mark.parametrize("name", REAL)
def test_real_models(name):
    path = CORPUS / name / "model.onnx"
    report, cost = describe(path), anybit.cost(path)
    json.dumps(dataclasses.asdict(report), allow_nan=False)
    if cost.dense.macs is not None:
        assert total(report, "macs") == cost.dense.macs
    assert all(e.source < e.target for e in report.edges)
    assert sum(b.folded + len(b.operations) for b in report.blocks) <= report.nodes
    reached = {0} | {e.target for e in report.edges}
    assert reached == set(range(len(report.blocks)))  # one input, and everything follows from it


def test_tools_and_the_native_plan_are_those_of_the_package():
    report = describe(DIGITS / "model.onnx")
    ready = {t.name: t.ready for t in report.tools}
    assert ready["FINN"] == anybit.prepare_finn(DIGITS / "model.onnx").ready
    assert ready["hls4ml"] == anybit.prepare_hls4ml(DIGITS / "model.onnx").ready
    assert ready["C"] == anybit.prepare_c(DIGITS / "model.onnx").ready
    plan = plan_of(DIGITS / "model.onnx")
    assert (report.plan.macs, len(report.plan.steps)) == (plan.macs, len(plan.steps))
    assert all(s.block is not None for s in report.plan.steps)


def test_what_no_tool_takes_is_said_by_each():
    report = describe(hostile())
    assert [t.ready for t in report.tools] == [False] * 4
    assert all(t.messages for t in report.tools)
    assert report.plan.steps == ()
    assert report.plan.refusals


def test_losses_belong_to_the_blocks_of_their_tensors():
    rows = (("x", False), ("w1", True), ("a1", False), ("elsewhere", False))
    losses = Sensitivity(4, tuple(TensorSensitivity(n, w, 4, Divergence(0.0, 0.0, 0.0)) for n, w in rows))
    report = describe(chain(2), sensitivity=losses, targets=False)
    assert [t.block for t in report.losses.tensors] == [0, 2, 2, None]
    assert report.losses.tensors[0].sqnr is None  # nothing lost: no number for JSON
    assert (report.tools, report.plan, report.formats) == ((), None, ())


def test_blocks_that_correspond_are_those_of_one_name_or_kind():
    before, after = describe(chain(2), targets=False), describe(chain(3), targets=False)
    changes = changes_of(before, after, (chain(2), chain(3)), None)
    assert changes.earlier == (0, 1, 2, 3, None, 4)
    assert changes.compared.random
    assert changes.compared.outputs[0].departing
    assert changes.compared.failure == ""


def test_models_that_cannot_be_compared_say_why():
    first, second = chain(1), mlp()
    described = (describe(first, targets=False), describe(second, targets=False))
    changes = changes_of(*described, (first, second), {"x": np.zeros((1, 8, 8, 8), np.float32)})
    assert changes.compared.failure
    assert changes.compared.outputs == ()
