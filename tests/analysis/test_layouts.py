"""Layouts: names of axes through graphs, forwards and backwards, and what the operators say."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import anybit
from anybit.analysis.layouts import layouts_of
from anybit.cleanup.infer_shapes import InferShapes
from tests.counting import calls
from tests.integration.corpus import CORPUS, corpus_files, needs_corpus
from tests.models import DOMAIN, mlp, model, parameters, quant


def layouts(proto) -> dict[str, str]:
    return {t.name: "".join(t.layout) for t in anybit.types(proto) if t.layout is not None}


def image_network(rank: int = 4):
    spatial = "DHW"[-(rank - 2) :]
    w = np.ones((4, 3, *(1 for _ in spatial)), np.float32)
    nodes = [
        quant("x", "q"),
        helper.make_node("Conv", ["q", "w"], ["h"], "conv"),
        helper.make_node("Add", ["h", "h"], ["a"], "twice"),
        helper.make_node("Transpose", ["a"], ["t"], "turn", perm=[0, *range(2, rank), 1]),
        helper.make_node("Relu", ["t"], ["r"], "relu"),
        helper.make_node("ReduceMean", ["r", "axes"], ["m"], "mean", keepdims=0),
        helper.make_node("MatMul", ["m", "v"], ["y"], "matmul"),
    ]
    constants = {"w": w, "axes": np.arange(1, rank - 1), "v": np.ones((4, 2), np.float32)} | parameters("q")
    return model(nodes, constants, inputs={"x": [1, 3, *(5 for _ in spatial)]}, outputs=["y"])


@pytest.mark.parametrize(("rank", "first", "last"), [(3, "NCW", "NWC"), (4, "NCHW", "NHWC"), (5, "NCDHW", "NDHWC")])
def test_axes_through_a_network(rank, first, last):
    expected = dict.fromkeys("xqha", first) | dict.fromkeys("tr", last) | dict.fromkeys("my", "NC")
    assert layouts(image_network(rank)) == expected


def test_a_mlp_and_our_operators():
    assert set(layouts(mlp()).values()) == {"NC"}
    nodes = [
        helper.make_node("MaxPoolNHWC", ["x"], ["p"], "pool", domain=DOMAIN, kernel_shape=[2, 2]),
        helper.make_node(
            "MultiThreshold", ["p", "t"], ["y"], "t", domain=DOMAIN, out_dtype="UINT2", data_layout="NHWC"
        ),
    ]
    proto = model(nodes, {"t": np.zeros((3, 3), np.float32)}, inputs={"x": [1, 4, 4, 3]}, outputs=["y"])
    assert layouts(proto) == dict.fromkeys("xpy", "NHWC")


def test_what_is_added_and_what_nothing_says():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "m"),
        helper.make_node("Unsqueeze", ["m", "axes"], ["u"], "u"),
        helper.make_node("Squeeze", ["u", "axes"], ["y"], "s"),
    ]
    constants = {"axes": np.array([2, 3]), "w": np.ones((3, 3), np.float32)}
    assert layouts(model(nodes, constants, inputs={"x": [1, 3]}, outputs=["y"])) == {
        "x": "NC", "m": "NC", "u": "NCxx", "y": "NC",
    }  # fmt: skip
    plain = model([helper.make_node("Relu", ["x"], ["y"])], {}, inputs={"x": [1, 3, 4, 4]}, outputs=["y"])
    assert layouts(plain) == {}
    stated = anybit.annotations.set_layout(plain, "x", ["N", "H", "W", "C"])
    assert layouts(stated) == dict.fromkeys("xy", "NHWC")


def test_the_file_names_them_on_request_and_they_turn_with_the_tensors():
    applied = anybit.apply(image_network(), ["annotate-layouts"])
    assert anybit.annotations.layout(applied.model, "a") == tuple("NCHW")
    assert not anybit.apply(applied.model, ["annotate-layouts"]).steps[0].modified
    turned = anybit.apply(image_network(), ["to-channels-last:annotate=true,keep_input=false"]).model
    assert anybit.annotations.layout(turned, "x") == tuple("NHWC")
    written = {str(v.name): anybit.annotations.layout(turned, str(v.name)) for n in turned.graph for v in n.outputs}
    assert written["h"] == tuple("NHWC")
    assert written["y"] == ("N", "C")
    assert layouts(anybit.to_proto(turned))["h"] == "NHWC"
    silent = anybit.apply(image_network(), ["to-channels-last"]).model
    assert anybit.annotations.layout(silent, "h") is None


@needs_corpus
def test_real_networks_know_their_images():
    seen = 0
    for case in corpus_files():
        if case.path.parent.name not in ("cnv_2w2a", "resnet18_4w4a", "trunc_avgpool_floor"):
            continue
        loaded = anybit.load(case.path)
        (first, *_) = loaded.graph.inputs
        if first.shape is not None and first.shape.rank() == 4:
            assert layouts(loaded)[str(first.name)] == "NCHW", case.name
            seen += 1
    assert seen >= 2, CORPUS


def test_a_long_chain_is_linear():
    def cost(count: int) -> int:
        nodes = [helper.make_node("Neg", [f"t{i}"], [f"t{i + 1}"], f"n{i}") for i in range(count)]
        nodes.append(helper.make_node("GlobalMaxPool", [f"t{count}"], ["y"], "pool"))
        loaded = anybit.load(model(nodes, {}, inputs={"t0": [1, 2, 3, 3]}, outputs=["y"]))
        InferShapes()(loaded)
        assert len(layouts_of(loaded)) == count + 2
        return calls(lambda: layouts_of(loaded))

    assert cost(4000) < 5 * cost(1000)
