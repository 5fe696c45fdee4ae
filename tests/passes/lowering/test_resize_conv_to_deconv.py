from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit import Session, load
from anybit.passes.lowering.resize_conv_to_deconv import ResizeConvToDeconv
from tests.models import model, parameters, quant
from tests.passes.lowering.deconvolution import applied as rewritten
from tests.passes.lowering.deconvolution import assert_equal, integers, ops
from tests.strategies import examples, seeds

FLOOR = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def conv(x, w, y, *bias, **attributes):
    return helper.make_node("Conv", [x, w, *bias], [y], name=f"{y}_conv", **attributes)


def resize(x, y, **attributes):
    attributes = {"mode": "nearest", **FLOOR, **attributes}
    return helper.make_node("Resize", [x, "", "scales"], [y], name=f"{y}_resize", **attributes)


def scales(*factors):
    return {"scales": np.float32([1, 1, *factors])}


def applied(proto, *, modified=True):
    return rewritten(proto, ResizeConvToDeconv(), modified=modified)


def test_before_and_after():
    rng = np.random.default_rng(0)
    proto = model(
        [quant("w", "wq"), resize("x", "u"), conv("u", "wq", "y", "b", kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
        {"w": np.full((4, 3, 3, 3), 3.5, np.float32), "b": integers(rng, 4)} | parameters("wq") | scales(2, 2),
        inputs={"x": [1, 3, 5, 4]},
        outputs=["y"],
    )
    read = applied(proto)
    assert ops(read) == ["Quant", "ConvTranspose"]
    quantizer, node = read.graph
    assert node.name == "y_conv"
    assert [v.name for v in node.inputs] == ["x", "y_weight_quantized", "b"]
    assert node.outputs[0].name == "y"
    assert {n: list(a.value) if n != "group" else a.value for n, a in node.attributes.items()} == {
        "group": 1, "kernel_shape": [4, 4], "pads": [1, 1, 1, 1], "strides": [2, 2],
    }  # fmt: skip
    assert quantizer.inputs[3].const_value.numpy() == 5  # 4 * 7 = 28 needs 5 bits, unsigned
    assert quantizer.attributes["signed"].value == 0
    np.testing.assert_array_equal(quantizer.inputs[0].const_value.numpy()[0, 0, 1], np.float32([7, 14, 14, 7]))
    assert_equal(proto, read, {"x": integers(rng, 1, 3, 5, 4)})


@st.composite
def resize_models(draw):
    rng = np.random.default_rng(draw(seeds))
    factors = [draw(st.integers(1, 4)) for _ in range(2)]
    groups = draw(st.sampled_from((1, 2)))
    kernel, dilations = ([draw(st.integers(1, 3)) for _ in range(2)] for _ in range(2))
    attributes = {"kernel_shape": kernel, "group": groups, "dilations": dilations}
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    attributes["pads"] = [int(rng.integers(0, r + 1)) for r in (*reach, *reach)]
    outputs = groups * draw(st.integers(1, 3))
    initializers = {"w": integers(rng, outputs, 2, *kernel)} | scales(*factors)
    nodes, weight, bias = [], "w", []
    quantizer = draw(st.sampled_from((None, "tensor", "channel", "zero point", "bipolar")))
    if quantizer == "bipolar":
        nodes.append(helper.make_node("BipolarQuant", ["w", "s"], ["wq"], domain="qonnx.custom_op.general"))
        initializers["s"], weight = np.float32(0.5), "wq"
    elif quantizer is not None:
        scale = np.exp2(rng.integers(-2, 2, (outputs, 1, 1, 1))).astype(np.float32) if quantizer == "channel" else 1.0
        nodes.append(quant("w", "wq"))
        initializers |= parameters("wq", scale=scale, zeropt=float(quantizer == "zero point"))
        weight = "wq"
    if draw(st.booleans()):
        initializers["b"], bias = integers(rng, outputs), ["b"]
    modes = draw(
        st.sampled_from(
            (
                ("asymmetric", "floor"),
                ("half_pixel", "round_prefer_floor"),
                ("half_pixel", "round_prefer_ceil"),
                ("pytorch_half_pixel", "round_prefer_floor"),
            )
        )
    )
    chosen = dict(zip(("coordinate_transformation_mode", "nearest_mode"), modes, strict=True))
    nodes += [resize("x", "u", **chosen), conv("u", weight, "y", *bias, **attributes)]
    size = [7, 8]
    proto = model(nodes, initializers, inputs={"x": [2, 2 * groups, *size]}, outputs=["y"])
    return proto, {"x": integers(rng, 2, 2 * groups, *size)}


@examples(60)
@given(resize_models())
def test_outputs_are_the_same(case):
    proto, x = case
    read = applied(proto)
    assert "Resize" not in ops(read)
    assert "Conv" not in ops(read)
    assert_equal(proto, read, x)


def test_sums_of_scales_that_are_no_powers_of_two_stay_on_grid():
    """The new weight is the sum of integers times the scale, rounded once."""
    rng = np.random.default_rng(1)
    proto = model(
        [quant("w", "wq"), resize("x", "u"), conv("u", "wq", "y", pads=[1, 1, 1, 1])],
        {"w": integers(rng, 4, 3, 3, 3)} | parameters("wq", scale=np.float32(0.3)) | scales(3, 2),
        inputs={"x": [1, 3, 5, 4]},
        outputs=["y"],
    )
    read = applied(proto)
    quantizer = next(n for n in read.graph if n.op_type == "Quant")
    name = quantizer.outputs[0].name
    values = Session(read, engine="reference", tensors=[name]).run({"x": integers(rng, 1, 3, 5, 4)})[name]
    sums = np.round(values / np.float32(0.3))
    np.testing.assert_array_equal(values, sums * np.float32(0.3))


def test_upsample_and_resize_of_older_opsets():
    rng = np.random.default_rng(2)
    for opset, op_type in ((9, "Upsample"), (10, "Resize")):
        node = helper.make_node(op_type, ["x", "scales"], ["u"], mode="nearest")
        proto = model(
            [node, conv("u", "w", "y", pads=[1, 1, 1, 1])],
            {"w": integers(rng, 4, 3, 3, 3)} | scales(3, 2),
            inputs={"x": [1, 3, 5, 4]},
            outputs=["y"],
            opset=opset,
        )
        read = applied(proto)
        assert ops(read) == ["ConvTranspose"]
        assert_equal(proto, read, {"x": integers(rng, 1, 3, 5, 4)})


def test_sizes_instead_of_scales():
    rng = np.random.default_rng(2)
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["u"], mode="nearest", **FLOOR)
    proto = model(
        [node, conv("u", "w", "y", pads=[1, 1, 1, 1])],
        {"w": integers(rng, 4, 3, 3, 3), "sizes": np.array([1, 3, 10, 12])},
        inputs={"x": [1, 3, 5, 4]},
        outputs=["y"],
    )
    read = applied(proto)
    assert ops(read) == ["ConvTranspose"]
    assert_equal(proto, read, {"x": integers(rng, 1, 3, 5, 4)})


def test_forks_shared_weights_and_subgraphs():
    rng = np.random.default_rng(4)
    inner = helper.make_graph(
        [conv("u", "wq", "yi")], "inner", [], [helper.make_tensor_value_info("yi", TensorProto.FLOAT, None)]
    )
    nodes = [
        quant("w", "wq"),
        resize("x", "u"),
        conv("u", "wq", "y"),
        conv("x", "wq", "d"),  # another reader of the weight
        helper.make_node("If", ["on"], ["z"], then_branch=inner, else_branch=inner),
        helper.make_node("Relu", ["y"], ["r"]),
    ]
    proto = model(
        nodes,
        {"w": integers(rng, 8, 3, 3, 3), "on": np.array(1, bool)} | parameters("wq") | scales(2, 2),
        inputs={"x": [1, 3, 5, 4]},
        outputs=["y", "d", "z", "r", "u"],
    )
    read = applied(proto)
    assert sum(n.op_type == "ConvTranspose" for n in read.graph.all_nodes()) == 3
    assert "Resize" in ops(read)  # u is an output
    assert_equal(proto, read, {"x": integers(rng, 1, 3, 5, 4)})


W = {"w": np.ones((4, 3, 3, 3), np.float32)}


@pytest.mark.parametrize(
    ("nodes", "initializers", "problem"),
    [
        ([resize("x", "u"), conv("u", "w", "y", strides=[2, 2])], W | scales(2, 2), "strides"),
        ([resize("x", "u"), conv("u", "w", "y", pads=[3, 0, 0, 0])], W | scales(2, 2), "padding"),
        ([resize("x", "u"), conv("u", "w", "y")], W | scales(1.5, 2), "enlargement"),
        ([resize("x", "u"), conv("u", "w", "y")], W | {"scales": np.float32([1, 2, 2, 2])}, "enlargement"),
        (
            [resize("x", "u", coordinate_transformation_mode="align_corners"), conv("u", "w", "y")],
            W | scales(2, 2),
            "enlargement",
        ),
        ([resize("x", "u", nearest_mode="ceil"), conv("u", "w", "y")], W | scales(2, 2), "enlargement"),
        (
            [helper.make_node("Neg", ["w"], ["n"]), resize("x", "u"), conv("u", "n", "y")],
            W | scales(2, 2),
            "the weight is not constant",
        ),
        (
            [quant("w", "wq"), resize("x", "u"), conv("u", "wq", "y")],
            W | scales(2, 2) | parameters("wq", scale=np.float32([0.5, 0.25, 0.5])),
            "the integers",
        ),
        (
            [quant("w", "wq"), resize("x", "u"), conv("u", "wq", "y")],
            W | scales(2, 2) | parameters("wq", zeropt=0.25),
            "the integers",
        ),
    ],
)
def test_what_stays_is_noted(nodes, initializers, problem):
    channels = 6 if initializers["scales"][1] == 2 else 3
    w = np.ones((4, channels, 3, 3), np.float32)
    proto = model(nodes, initializers | {"w": w}, inputs={"x": [1, 3, 9, 9]}, outputs=["y"])
    before = ops(load(proto))
    read = load(proto)
    result = ResizeConvToDeconv()(read)
    assert not result.modified
    assert ops(read) == before
    (found,) = result.notes
    assert found.problem.startswith(problem)
