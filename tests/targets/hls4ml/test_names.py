"""Names of inputs: what C++ or hls4ml would trip over is renamed and said, all else stays."""

from __future__ import annotations

import pytest
from onnx import helper

from anybit.targets.hls4ml.prepare import prepare_hls4ml
from tests.models import model, parameters, quant, samples


def net(name):
    nodes = [
        quant(name, "xq"),
        quant("w", "wq", narrow=1),
        helper.make_node("MatMul", ["xq", "wq"], ["y"]),
    ]
    values = parameters("xq") | parameters("wq") | {"w": samples(6, 4)}
    return model(nodes, values, inputs={name: [1, 6]}, outputs=["y"])


@pytest.mark.parametrize("name", ["x", "global_in", "pixels2"])
def test_a_plain_name_stays(name):
    handover = prepare_hls4ml(net(name))
    assert handover.model.graph.inputs[0].name == name
    assert not any("name" in r.problem for r in handover.rewrites)


@pytest.mark.parametrize(
    "name", ["input", "class", "0", "x.1", "EOF", "input_t", "layer2_out", "Quant_0", "a/b", "nnet"]
)
def test_a_name_that_means_something_else_is_replaced(name):
    handover = prepare_hls4ml(net(name))
    assert handover.ready
    assert handover.model.graph.inputs[0].name == "input_0"
    assert [r.got for r in handover.rewrites if r.node == f"input '{name}'"] == ["now 'input_0'"]
