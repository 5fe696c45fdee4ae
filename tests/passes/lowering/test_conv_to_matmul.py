"""ConvToMatMul: products of matrices that are the convolutions, exact on whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import check, load
from anybit.graph.annotations import annotated_sparsity
from anybit.passes.layout.to_channels_last import ToChannelsLast
from anybit.passes.lowering.conv_to_matmul import ConvToMatMul
from tests.integration.corpus import needs_corpus
from tests.models import DOMAIN, model, parameters, quant
from tests.passes.rewriting import (
    applied,
    assert_close,
    assert_same_bits,
    corpus_with,
    operators,
    placed,
    problems,
    settings_of_use,
    text,
)
from tests.strategies import examples

ROWS = (
    "stride=[1, 1], kernel_size=[3, 2], pad_amount=[1, 1, 1, 1], dilations=[1, 1], pad_value=0, depthwise=0, "
    "input_shape=(1,5,6,4))"
)
ENGINES = ("reference", "onnxruntime")


@st.composite
def _models(draw):
    group, per_group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    outputs = group * draw(st.integers(1, 2))
    kernel, dilations = ([draw(st.integers(1, m)) for _ in range(2)] for m in (3, 2))
    strides = [draw(st.integers(1, k)) for k in kernel]
    sizes = [draw(st.integers((k - 1) * d + 1, 7)) for k, d in zip(kernel, dilations, strict=True)]
    attributes = {"strides": strides, "dilations": dilations, "group": group}
    mode = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if mode == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(4)]
    elif mode.startswith("SAME"):
        attributes |= {"auto_pad": mode, "dilations": [1, 1]}
    else:
        attributes["auto_pad"] = mode
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shape = (outputs, per_group, *kernel)
    values = {"w": rng.integers(-3, 4, shape).astype(np.float32)}
    nodes, weight = [], "w"
    if draw(st.booleans()):
        scale_shape = draw(st.sampled_from([(), (1,), (1, 1, 1, 1), (outputs, 1, 1, 1)]))
        values |= parameters("q", scale=2.0 ** rng.integers(-1, 2, scale_shape).astype(np.float32))
        nodes, weight = [quant("w", "q", narrow=draw(st.integers(0, 1)))], "q"
    inputs = ["x", weight]
    if draw(st.booleans()):
        values["b"] = rng.integers(-3, 4, outputs).astype(np.float32)
        inputs.append("b")
    nodes.append(helper.make_node("Conv", inputs, ["y"], name="conv", **attributes))
    batch = draw(st.sampled_from([1, 2, "N"]))
    x_shape = [batch, group * per_group, *sizes]
    setting = draw(settings_of_use)
    proto = placed(setting, nodes, values, inputs={"x": x_shape}, opset=draw(st.sampled_from([11, 13, 21])))
    x = rng.integers(-4, 5, (2 if batch == "N" else batch, *x_shape[1:])).astype(np.float32)
    return proto, {"x": x}, draw(st.booleans()) and setting != "subgraph"


@given(_models())
@examples(150)
def test_products_are_the_convolutions(case):
    proto, feeds, last = case
    before = load(proto)
    if last:
        ToChannelsLast()(before)
    after = applied(before.clone(), ConvToMatMul(), modified=True)
    assert "Conv" not in operators(after)
    assert not [f for f in check(after) if f.rule != "shape"]
    assert_same_bits(proto, after, feeds)
    assert_close(proto, after, feeds, engines=("onnxruntime",))


def _layer(group=1, *, x=(1, 4, 5, 6), weight=None, **values):
    given_weight = np.arange(4 * (4 // group) * 6, dtype=np.float32).reshape(4, 4 // group, 3, 2) % 7 - 3
    nodes = [quant("w", "q"), helper.make_node("Conv", ["x", "q", "b"], ["y"], name="conv", group=group, pads=[1] * 4)]
    initializers = {"w": given_weight if weight is None else weight, "b": np.float32([1, 2, 3, 4])}
    return model(nodes, initializers | parameters("q", **values), inputs={"x": x}, outputs=["y"])


def test_before_and_after():
    after = applied(_layer(scale=np.full((4, 1, 1, 1), 0.5, np.float32)), ConvToMatMul(), modified=True)
    assert text(after) == [
        "q/matrix = Quant(w/matrix[24,4], q_scale/matrix[1,4], 0, 4, narrow=0)",
        "x/channels_last = Transpose(x, perm=[0, 2, 3, 1])",
        "x/channels_last/rows = Im2Col(x/channels_last, " + ROWS,
        "y/matmul = MatMul(x/channels_last/rows, q/matrix)",
        "y/add = Add(y/matmul, b[4])",
        "y = Transpose(y/add, perm=[0, 3, 1, 2])",
    ]
    assert after.opset_imports[DOMAIN] == 1


def test_depthwise_convolutions_are_told():
    after = applied(_layer(group=4, scale=np.full((4, 1, 1, 1), 0.5, np.float32)), ConvToMatMul(), modified=True)
    (rows,) = [n for n in after.graph if n.op_type == "Im2Col"]
    assert rows.attributes.get_int("depthwise") == 1
    assert annotated_sparsity(after.graph.initializers["w/matrix"]) == {"dw": {"kernel_shape": [3, 2]}}


def test_single_pixels_need_no_rows():
    conv = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    proto = model([conv], {"w": np.ones((2, 3, 1, 1), np.float32)}, inputs={"x": [1, 3, 4, 4]}, outputs=["y"])
    assert operators(applied(proto, ConvToMatMul(), modified=True)) == ["Transpose", "MatMul", "Transpose"]


@pytest.mark.parametrize("axis", [1, 2])
def test_parameters_within_an_output_channel(axis):
    shape = [1, 1, 1, 1]
    shape[axis] = 4 if axis == 1 else 3
    scale = 2.0 ** np.arange(shape[axis], dtype=np.float32).reshape(shape)
    proto = _layer(scale=scale)
    assert_same_bits(proto, applied(proto, ConvToMatMul(), modified=True), {"x": np.ones((1, 4, 5, 6), np.float32)})


def test_what_has_no_zero_between_groups_is_left():
    odd = _layer(group=2, scale=np.float32(2) ** np.arange(2, dtype=np.float32).reshape(1, 2, 1, 1))
    text_of_odd = "a parameter of the weights' quantiser differs within an output channel of a group"
    assert problems(applied(odd, ConvToMatMul(), modified=False)) == {"Conv 'conv'": text_of_odd}
    bipolar = _layer(group=2, bits=1.0)
    text_of_bipolar = "the weights' quantiser has no zero to put between groups"
    assert problems(applied(bipolar, ConvToMatMul(), modified=False)) == {"Conv 'conv'": text_of_bipolar}


@pytest.mark.parametrize(
    ("shape", "attributes", "problem"),
    [
        ([1, 3, 5], {}, "not a convolution of images"),
        ([1, 3, "H", 5], {"auto_pad": "SAME_UPPER", "strides": [2, 1]}, "padding depends on the size of the input"),
    ],
)
def test_what_is_not_known_is_left(shape, attributes, problem):
    conv = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **attributes)
    weight = np.ones((2, 3, *(3 for _ in shape[2:])), np.float32)
    proto = model([conv], {"w": weight}, inputs={"x": shape}, outputs=["y"])
    assert problems(applied(proto, ConvToMatMul(), modified=False)) == {"Conv 'conv'": problem}


@pytest.mark.parametrize("group", [1, 2])
def test_weights_that_are_computed(group):
    nodes = [helper.make_node("Mul", ["w", "x"], ["v"], name="mul")]
    nodes += [helper.make_node("Conv", ["z", "v"], ["y"], name="conv", group=group, kernel_shape=[2, 2])]
    values = {"w": np.arange(32, dtype=np.float32).reshape(4, 2, 2, 2), "z": np.ones((1, 2 * group, 3, 3), np.float32)}
    proto = model(nodes, values, inputs={"x": [1]}, outputs=["y"])
    after = applied(proto, ConvToMatMul(), modified=group == 1)
    assert bool(problems(after)) == (group == 2)
    assert_same_bits(proto, after, {"x": np.float32([2])}, ENGINES)


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Conv", megabytes=8), ids=lambda c: c.name)
def test_real_models(case):
    loaded = load(case.path)
    ToChannelsLast()(loaded)
    after = applied(loaded.clone(), ConvToMatMul(), modified=True)
    left = {n for n, p in problems(after).items() if p == "the weights of groups are not constant"}  # in QCDQ files
    assert operators(after).count("Conv") == len(left)
    assert_close(loaded, after, {str(after.graph.inputs[0].name): case.inputs[:1]}, relative=1e-2)
