from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit import compare, load
from anybit.passes.lowering.subpixel_to_deconv import SubpixelToDeconv
from tests.integration.corpus import executable_files, needs_corpus
from tests.models import model, parameters, quant
from tests.passes.lowering.deconvolution import applied as rewritten
from tests.passes.lowering.deconvolution import assert_equal, integers, ops
from tests.strategies import examples, seeds

MODES = ("CRD", "DCR")


def conv(x, w, y, *bias, **attributes):
    return helper.make_node("Conv", [x, w, *bias], [y], name=f"{y}_conv", **attributes)


def shuffle(x, y, block=2, mode="CRD"):
    return helper.make_node("DepthToSpace", [x], [y], name=f"{y}_shuffle", blocksize=block, mode=mode)


def applied(proto, *, modified=True):
    return rewritten(proto, SubpixelToDeconv(), modified=modified)


def test_before_and_after():
    rng = np.random.default_rng(0)
    proto = model(
        [conv("x", "w", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), shuffle("c", "y")],
        {"w": integers(rng, 8, 3, 3, 3)},
        inputs={"x": [1, 3, 5, 4]},
        outputs=["y"],
    )
    read = applied(proto)
    (node,) = read.graph
    assert node.op_type == "ConvTranspose"
    assert node.name == "c_conv"
    assert [v.name for v in node.inputs] == ["x", "y_weight"]
    assert node.outputs[0].name == "y"
    assert {n: list(a.value) if n != "group" else a.value for n, a in node.attributes.items()} == {
        "group": 1, "kernel_shape": [6, 6], "pads": [2, 2, 2, 2], "strides": [2, 2],
    }  # fmt: skip
    assert list(read.graph.initializers) == ["y_weight"]
    assert_equal(proto, read, {"x": integers(rng, 1, 3, 5, 4)})


@st.composite
def subpixel_models(draw):
    rng = np.random.default_rng(draw(seeds))
    block, mode = draw(st.sampled_from((2, 3))), draw(st.sampled_from(MODES))
    groups = draw(st.sampled_from((1, 2))) if mode == "CRD" else 1
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    attributes = {"kernel_shape": kernel, "group": groups}
    match draw(st.sampled_from(("pads", "SAME_UPPER", "SAME_LOWER", "VALID"))):
        case "pads":
            attributes["pads"] = [int(rng.integers(0, k)) for k in (*kernel, *kernel)]
        case automatic:
            attributes["auto_pad"] = automatic
    channels = groups * draw(st.integers(1, 2))
    outputs = channels * block**2
    w = integers(rng, outputs, 2, *kernel)
    initializers, nodes, weight, bias = {"w": w}, [], "w", []
    quantizer = draw(st.sampled_from((None, "tensor", "channel", "bipolar")))
    if quantizer == "bipolar":
        nodes.append(helper.make_node("BipolarQuant", ["w", "s"], ["wq"], domain="qonnx.custom_op.general"))
        initializers["s"], weight = np.float32(0.5), "wq"
    elif quantizer is not None:
        scale = np.exp2(rng.integers(-2, 2, (outputs, 1, 1, 1))).astype(np.float32) if quantizer == "channel" else 1.0
        nodes.append(quant("w", "wq"))
        initializers |= parameters("wq", scale=scale)
        weight = "wq"
    if draw(st.booleans()):
        each = integers(rng, channels)
        b = np.repeat(each, block**2) if mode == "CRD" else np.tile(each, block**2)
        initializers["b"], bias = b, ["b"]
    nodes += [conv("x", weight, "c", *bias, **attributes), shuffle("c", "y", block, mode)]
    size = [5, 6]
    proto = model(nodes, initializers, inputs={"x": [2, 2 * groups, *size]}, outputs=["y"])
    return proto, {"x": integers(rng, 2, 2 * groups, *size)}


@examples(40)
@given(subpixel_models())
def test_outputs_are_the_same(case):
    proto, x = case
    read = applied(proto)
    assert "DepthToSpace" not in ops(read)
    assert "Conv" not in ops(read)
    assert_equal(proto, read, x)


@pytest.mark.parametrize("mode", MODES)
def test_scales_per_channel_move_with_their_weights(mode):
    rng = np.random.default_rng(3)
    per_block = np.tile([0.5, 1.0], 4) if mode == "DCR" else np.repeat([0.5, 1.0], 4)
    for scale, expected in ((per_block, (1, 2, 1, 1)), (np.exp2(np.arange(8.0) - 4), (1, 2, 6, 6))):
        proto = model(
            [quant("w", "wq"), conv("x", "wq", "c"), shuffle("c", "y", mode=mode)],
            {"w": integers(rng, 8, 3, 3, 3)} | parameters("wq", scale=np.float32(scale.reshape(8, 1, 1, 1))),
            inputs={"x": [1, 3, 5, 4]},
            outputs=["y"],
        )
        read = applied(proto)
        (node,) = [n for n in read.graph if n.op_type == "Quant"]
        assert node.inputs[1].const_value.shape == expected
        assert_equal(proto, read, {"x": integers(rng, 1, 3, 5, 4)})


def test_forks_shared_weights_and_subgraphs():
    rng = np.random.default_rng(4)
    inner = helper.make_graph(
        [conv("x", "wq", "ci"), shuffle("ci", "yi", mode="DCR")], "inner", [],
        [helper.make_tensor_value_info("yi", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        quant("w", "wq"),
        conv("x", "wq", "c"),
        shuffle("c", "y"),
        conv("x", "wq", "d"),  # another reader of the weight
        helper.make_node("If", ["on"], ["z"], then_branch=inner, else_branch=inner),
        helper.make_node("Relu", ["y"], ["r"]),
    ]
    proto = model(
        nodes,
        {"w": integers(rng, 8, 3, 3, 3), "on": np.array(1, bool)} | parameters("wq"),
        inputs={"x": [1, 3, 5, 4]},
        outputs=["y", "d", "z", "r"],
    )
    read = applied(proto)
    assert sum(n.op_type == "ConvTranspose" for n in read.graph.all_nodes()) == 3
    assert sum(n.op_type == "DepthToSpace" for n in read.graph.all_nodes()) == 0
    assert_equal(proto, read, {"x": integers(rng, 1, 3, 5, 4)})


def test_annotations_stay():
    read = load(model([conv("x", "w", "c"), shuffle("c", "y")], {"w": np.ones((4, 1, 1, 1), np.float32)},
                      inputs={"x": [1, 1, 2, 2]}, outputs=["y"]))  # fmt: skip
    read.graph.outputs[0].meta["quant_parameter_tensor_names"] = {"finn_datatype": "INT4"}
    SubpixelToDeconv()(read)
    assert read.graph.outputs[0].meta["quant_parameter_tensor_names"] == {"finn_datatype": "INT4"}


W = np.ones((8, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("nodes", "initializers", "problem"),
    [
        ([conv("x", "w", "c", strides=[2, 2]), shuffle("c", "y")], {"w": W}, "steps of the convolution"),
        ([conv("x", "w", "c", dilations=[2, 2]), shuffle("c", "y")], {"w": W}, "steps of the convolution"),
        ([conv("x", "w", "c", pads=[3, 0, 0, 0]), shuffle("c", "y")], {"w": W}, "padding"),
        (
            [conv("x", "w", "c", "b"), shuffle("c", "y")],
            {"w": W, "b": np.arange(8, dtype=np.float32)},
            "the bias differs",
        ),
        (
            [conv("x", "w", "c", group=3), shuffle("c", "y", mode="DCR")],
            {"w": np.ones((12, 1, 3, 3), np.float32)},
            "a block mixes groups",
        ),
        (
            [helper.make_node("Neg", ["w"], ["n"]), conv("x", "n", "c"), shuffle("c", "y")],
            {"w": W},
            "the weight is not constant",
        ),
        (
            [conv("x", "w", "c"), shuffle("c", "y"), helper.make_node("Relu", ["c"], ["z"])],
            {"w": W},
            "something else reads",
        ),
    ],
)
def test_what_stays_is_noted(nodes, initializers, problem):
    outputs = ["y", "z"] if any("z" in n.output for n in nodes) else ["y"]
    proto = model(nodes, initializers, inputs={"x": [1, 3, 9, 9]}, outputs=outputs)
    before = ops(load(proto))
    read = load(proto)
    result = SubpixelToDeconv()(read)
    assert not result.modified
    assert ops(read) == before
    (found,) = result.notes
    assert found.problem.startswith(problem)
    assert found.node == "Conv 'c_conv'"


@needs_corpus
def test_corpus():
    cases = [c for c in executable_files() if c.name.startswith("espcn_a2q") and "qcdq" not in c.name]
    assert len(cases) == 3
    for case in cases:
        read = load(case.path)
        assert SubpixelToDeconv()(read).modified
        assert "DepthToSpace" not in ops(read)
        assert compare(case.path, read, case.inputs[:1]).equal
