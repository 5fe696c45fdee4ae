"""Conv1dTo2d: two-dimensional operators compute what the one-dimensional ones did.

Weights and inputs are small whole numbers, so that sums are exact in any order and outputs must be equal.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import load
from anybit.graph.annotations import annotate_layout, annotate_number_format, annotated_layout, annotated_number_format
from anybit.number_formats import parse_number_format
from anybit.passes.layout.conv_1d_to_2d import Conv1dTo2d, UnitAxis
from anybit.runtime.session import Session
from tests.models import DOMAIN, model, parameters, quant
from tests.passes.surgery.surgery import node, text, valid, value
from tests.strategies import examples

C, L = 4, 12
RNG = np.random.default_rng(7)
X = RNG.integers(-3, 4, (2, C, L)).astype(np.float32)


def _whole(*shape) -> np.ndarray:
    return RNG.integers(-2, 3, shape).astype(np.float32)


WEIGHTS = {
    "w3": _whole(C, C, 3),
    "wg": _whole(C, 1, 5),
    "bias": _whole(C),
    "per_channel": _whole(C, 1),
    "per_sample": np.arange(1, C + 1, dtype=np.float32).reshape(1, C, 1),
    "row": _whole(L),
    "matrix": _whole(C, L),
    "scalar": np.float32(2),
    "ones": np.ones(C, np.float32),
    "variance": np.full(C, 4, np.float32),
    "pads": np.array([0, 0, 2, 0, 0, 1]),
    "top": np.float32(9),
    "zero8": np.int8(0),
    "scales": np.array([0.5, 1, 2, 0.25], np.float32),
    "zeros8": np.zeros(C, np.int8),
    "halves": np.array([C // 2, C // 2]),
    "seq": np.array([-1], np.int64),
    **parameters("q", scale=np.full((C, 1), 0.5, np.float32)),
    **parameters("qs"),
    **parameters("wq", scale=np.full((C, 1, 1), 1.0, np.float32), bits=3.0),
}

CONVS = {
    "conv": lambda x, y: [node("Conv", [x, "w3", "bias"], [y], name=y, pads=[2, 0], dilations=[1], kernel_shape=[3])],
    "same": lambda x, y: [node("Conv", [x, "w3"], [y], name=y, auto_pad="SAME_UPPER")],
    "depthwise": lambda x, y: [node("Conv", [x, "wg"], [y], name=y, group=C, pads=[2, 2])],
    "dilated": lambda x, y: [node("Conv", [x, "w3"], [y], name=y, pads=[2, 2], dilations=[2])],
    "quantised": lambda x, y: [
        quant("w3", f"{y}_w", prefix="wq", narrow=1),
        node("Conv", [x, f"{y}_w"], [y], name=y, pads=[1, 1]),
    ],
    "transposed": lambda x, y: [node("ConvTranspose", [x, "w3"], [y], name=y, pads=[1, 1], output_padding=[0])],
    "max": lambda x, y: [node("MaxPool", [x], [y], name=y, kernel_shape=[3], pads=[1, 1], strides=[1])],
    "average": lambda x, y: [node("AveragePool", [x], [y], name=y, kernel_shape=[4], pads=[1, 2], count_include_pad=1)],
}
FOLLOW = {
    "relu": lambda x, y: [node("Relu", [x], [y])],
    "clip": lambda x, y: [node("Clip", [x, "", "top"], [y])],
    "norm": lambda x, y: [node("BatchNormalization", [x, "ones", "bias", "ones", "variance"], [y], epsilon=0.0)],
    "channel": lambda x, y: [node("Add", ["per_channel", x], [y])],
    "sample": lambda x, y: [node("Sub", [x, "per_sample"], [y])],
    "row": lambda x, y: [node("Add", [x, "row"], [y])],
    "matrix": lambda x, y: [node("Add", [x, "matrix"], [y])],
    "scalar": lambda x, y: [node("Div", [x, "scalar"], [y])],
    "square": lambda x, y: [node("Mul", [x, x], [f"{y}_sq"]), node("Min", [f"{y}_sq", "top"], [y])],
    "prelu": lambda x, y: [node("PRelu", [x, "per_channel"], [y])],
    "quant": lambda x, y: [quant(x, y, prefix="q")],
    "quant_scalar": lambda x, y: [quant(x, y, prefix="qs", signed=0)],
    "bipolar": lambda x, y: [node("BipolarQuant", [x, "per_sample"], [y], domain=DOMAIN)],
    "pad": lambda x, y: [node("Pad", [x, "pads"], [f"{y}_p"], mode="reflect"), *_crop(f"{y}_p", y)],
    "qdq": lambda x, y: [
        node("QuantizeLinear", [x, "scales", "zeros8"], [f"{y}_i"], axis=1),
        node("DequantizeLinear", [f"{y}_i", "scalar", "zero8"], [y]),
    ],
    "halves": lambda x, y: [
        node("Split", [x, "halves"], [f"{y}_a", f"{y}_b"], axis=1),
        node("Concat", [f"{y}_b", f"{y}_a"], [y], axis=-2),
    ],
    "softmax": lambda x, y: [node("Softmax", [x], [f"{y}_s"]), node("Round", [f"{y}_s"], [y])],
    "hardmax": lambda x, y: [node("Hardmax", [x], [y], axis=1)],
    # What stays on three dimensions.
    "transpose": lambda x, y: [
        node("Transpose", [x], [f"{y}_t"], perm=[0, 2, 1]),
        node("Transpose", [f"{y}_t"], [y], perm=[0, 2, 1]),
    ],
    "cumsum": lambda x, y: [node("CumSum", [x, "axis"], [y])],
}  # fmt: skip


def _crop(x: str, y: str):
    return [node("Conv", [x, "crop"], [y], group=C)]


def _net(*kinds: str, output: tuple[str, ...] = (), opset: int = 21):
    """The layers one after the other; tensors t0, t1, .. between them."""
    layers = CONVS | FOLLOW
    nodes, x = [], "x"
    for index, kind in enumerate(kinds):
        nodes += layers[kind](x, f"t{index}")
        x = f"t{index}"
    extra = {"axis": np.int64(2), "crop": np.tile(np.float32([0, 1, 0, 0]), (C, 1, 1))}
    weights = WEIGHTS | extra
    used = {i for n in nodes for i in n.input}
    return model(
        nodes,
        {k: v for k, v in weights.items() if k in used},
        inputs={"x": [2, C, L]},
        outputs=[x, *output],
        opset=opset,
    )


def _assert_same(make, options=None, engine: str = "reference"):
    read = load(make())
    options = options or Conv1dTo2d()
    assert options(read).modified
    valid(read)
    x = X if options.keep_interface else np.expand_dims(X, options.unit.value)
    made = list(Session(read, engine=engine).run(x).values())
    before = list(Session(make(), engine=engine).run(X).values())
    for a, b in zip(made, before, strict=True):
        np.testing.assert_array_equal(a.reshape(b.shape), b)
        assert not options.keep_interface or a.shape == b.shape
    return read


def test_before_and_after():
    read = _assert_same(lambda: _net("conv", "relu", "quant"))
    assert text(read) == [
        "x_4d = Unsqueeze(x, axes_2)",
        "t0 = Conv(x_4d, w3, bias)",
        "t1 = Relu(t0)",
        "t2_4d = Quant(t1, q_scale, q_zeropt, q_bits)",
        "t2 = Squeeze(t2_4d, axes_2)",
    ]
    assert [list(read.graph.initializers[n].shape) for n in ("w3", "q_scale", "bias")] == [
        [C, C, 1, 3],
        [1, C, 1, 1],
        [C],
    ]
    conv = read.graph.node(1)
    assert {n: a.value for n, a in conv.attributes.items()} == {
        "pads": (0, 2, 0, 0), "dilations": (1, 1), "kernel_shape": (1, 3)}  # fmt: skip
    assert not Conv1dTo2d()(read).modified


def test_the_unit_last():
    read = _assert_same(lambda: _net("conv"), Conv1dTo2d(unit=UnitAxis.WIDTH))
    assert list(read.graph.initializers["w3"].shape) == [C, C, 3, 1]
    assert read.graph.node(1).attributes["pads"].as_ints() == (2, 0, 0, 0)


@pytest.mark.parametrize("unit", UnitAxis)
@pytest.mark.parametrize("conv", CONVS)
def test_each_convolution_and_pool(conv, unit):
    for engine in ("reference", "onnxruntime"):
        read = _assert_same(lambda: _net(conv), Conv1dTo2d(unit=unit), engine)
    assert sum(n.op_type in ("Squeeze", "Unsqueeze") for n in read.graph) == 2


@pytest.mark.parametrize("unit", UnitAxis)
@pytest.mark.parametrize("kind", FOLLOW)
def test_each_follower_between_two_convolutions(kind, unit):
    read = _assert_same(lambda: _net("conv", kind, "same"), Conv1dTo2d(unit=unit))
    bridges = sum(n.op_type in ("Squeeze", "Unsqueeze") for n in read.graph)
    assert bridges == (4 if kind in ("transpose", "cumsum") else 2)


@pytest.mark.parametrize("kind", ["softmax", "hardmax", "pad"])
def test_old_opsets(kind):
    nodes = [node("Conv", ["x", "w3"], ["c"], pads=[1, 1])]
    last = {
        "softmax": [node("Softmax", ["c"], ["s"], axis=2), node("Round", ["s"], ["y"])],
        "hardmax": [node("Hardmax", ["c"], ["y"])],
        "pad": [node("Pad", ["c"], ["y"], pads=[0, 0, 2, 0, 0, 1], value=1.0)],
    }[kind]
    opset = 12 if kind != "pad" else 10
    make = lambda: model([*nodes, *last], {"w3": WEIGHTS["w3"]}, inputs={"x": [2, C, L]}, outputs=["y"], opset=opset)  # noqa: E731
    read = _assert_same(make, engine="onnxruntime")
    assert read.graph.node(0).op_type == "Unsqueeze"
    assert read.graph.node(0).attributes["axes"].as_ints() == (2,)


@given(
    st.lists(st.sampled_from([*CONVS, *FOLLOW]), min_size=0, max_size=5),
    st.sampled_from(sorted(CONVS)),
    st.sampled_from(UnitAxis),
    st.booleans(),
    st.data(),
)
@examples(60)
def test_random_chains_with_forks(kinds, conv, unit, keep, data):
    kinds = [*kinds, conv, "quant_scalar"]
    forks = data.draw(st.sets(st.sampled_from([f"t{i}" for i in range(len(kinds) - 1)]), max_size=3))
    options = Conv1dTo2d(unit=unit, keep_interface=True)
    read = load(_net(*kinds, output=tuple(sorted(forks))))
    options(read)
    made = Session(read, engine="reference").run(X)
    before = Session(_net(*kinds, output=tuple(sorted(forks))), engine="reference").run(X)
    assert list(made) == list(before)
    for name, array in made.items():
        # averages and products of long chains leave the whole numbers: float64 sums in another order
        np.testing.assert_allclose(array, before[name], rtol=1e-6, atol=1e-6)
    if not keep:
        read = load(_net(*kinds))
        Conv1dTo2d(unit=unit, keep_interface=False)(read)
        valid(read)


def test_a_shared_weight_stays_for_its_other_reader():
    def make():
        nodes = [
            node("Conv", ["x", "w3"], ["c"], pads=[1, 1]),
            node("ReduceSum", ["w3"], ["s"], keepdims=0),
            node("Add", ["c", "s"], ["y"]),
        ]
        return model(nodes, {"w3": WEIGHTS["w3"]}, inputs={"x": [2, C, L]}, outputs=["y"])

    read = _assert_same(make)
    assert list(read.graph.initializers["w3"].shape) == [C, C, 3]
    assert list(read.graph.initializers["w3_4d"].shape) == [C, C, 1, 3]


def test_a_tensor_of_lower_rank_that_is_computed():
    def make():
        nodes = [
            node("ReduceMax", ["x"], ["m"], keepdims=0, axes=[0]),
            node("Conv", ["x", "w3"], ["c"], pads=[1, 1]),
            node("Add", ["m", "c"], ["y"]),
        ]
        return model(nodes, {"w3": WEIGHTS["w3"]}, inputs={"x": [2, C, L]}, outputs=["y"], opset=13)

    for unit in UnitAxis:
        _assert_same(make, Conv1dTo2d(unit=unit))


def test_global_pool_then_flatten():
    def make():
        nodes = [
            node("Conv", ["x", "w3"], ["c"]),
            node("GlobalAveragePool", ["c"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("Gemm", ["f", "fc"], ["y"]),
        ]
        return model(nodes, {"w3": WEIGHTS["w3"], "fc": _fc}, inputs={"x": [2, C, L]}, outputs=["y"])

    _fc = _whole(C, 3)
    read = load(make())
    Conv1dTo2d(keep_interface=False)(read)
    assert text(read)[:2] == ["c = Conv(x, w3)", "g_4d = GlobalAveragePool(c)"]
    made = Session(read, engine="reference").run(X[:, :, None])["y"]
    before = Session(make(), engine="reference").run(X)["y"]
    np.testing.assert_array_equal(made, before)


def test_the_interface_in_four_dimensions():
    read = _assert_same(lambda: _net("conv", "relu"), Conv1dTo2d(keep_interface=False))
    assert text(read) == ["t0 = Conv(x, w3, bias)", "t1 = Relu(t0)"]
    assert str(read.graph.inputs[0].shape) == f"[2,{C},1,{L}]"
    read = load(_net("transpose", "conv"))
    Conv1dTo2d(keep_interface=False)(read)
    assert str(read.graph.inputs[0].shape) == f"[2,{C},{L}]"  # the Transpose before the first convolution stays


def test_an_input_that_others_read_too():
    def make():
        nodes = [
            node("Conv", ["x", "w3"], ["c"], pads=[1, 1]),
            node("CumSum", ["x", "two"], ["s"]),
            node("Add", ["c", "s"], ["y"]),
        ]
        return model(nodes, {"w3": WEIGHTS["w3"], "two": np.int64(2)}, inputs={"x": [2, C, L]}, outputs=["y"])

    _assert_same(make)
    _assert_same(make, Conv1dTo2d(keep_interface=False))


def test_in_a_branch_that_captures():
    def make():
        then = helper.make_graph([node("Conv", ["h", "w3"], ["t"], pads=[1, 1])], "then", [], [value("t", [2, C, L])])
        other = helper.make_graph([node("CumSum", ["h", "two"], ["e"])], "else", [], [value("e", [2, C, L])])
        nodes = [
            node("MaxPool", ["x"], ["h"], kernel_shape=[3], pads=[1, 1]),
            node("ReduceSum", ["h"], ["s"], keepdims=0),
            node("Greater", ["s", "zero"], ["c"]),
            node("If", ["c"], ["y"], then_branch=then, else_branch=other),
        ]
        weights = {"w3": WEIGHTS["w3"], "two": np.int64(2), "zero": np.float32(0)}
        return model(nodes, weights, inputs={"x": [2, C, L]}, outputs=["y"])

    _assert_same(make)
    for x in (X, -X - 4):
        read = load(make())
        Conv1dTo2d()(read)
        np.testing.assert_array_equal(*(Session(m, engine="reference").run(x)["y"] for m in (read, make())))


def test_annotations_follow():
    read = load(_net("conv", "relu"))
    for v in (read.graph.initializers["w3"], read.graph.node(0).outputs[0]):
        annotate_number_format(v, parse_number_format("INT3"))
    annotate_layout(read.graph.node(0).outputs[0], ("N", "C", "L"))
    Conv1dTo2d()(read)
    conv = next(n for n in read.graph if n.op_type == "Conv")
    assert [str(annotated_number_format(v)) for v in (conv.inputs[1], conv.outputs[0])] == ["INT3", "INT3"]
    assert annotated_layout(conv.outputs[0]) == ("N", "C", "H", "L")


def test_a_model_without_convolutions_is_left_alone():
    read = load(_net("relu", "quant", "transpose"))
    before = text(read)
    assert not Conv1dTo2d()(read).modified
    assert text(read) == before


def test_what_cannot_follow_is_noted():
    nodes = [node("MaxPool", ["x"], ["y", "i"], name="pool", kernel_shape=[2])]
    read = load(model(nodes, {}, inputs={"x": [2, C, L]}, outputs=["y"]))
    read.graph.node(0).outputs[1].name = "i"
    result = Conv1dTo2d()(read)
    assert not result.modified
    assert [n.node for n in result.notes] == ["MaxPool 'pool'"]


def test_integer_convolutions():
    rng = np.random.default_rng(1)
    weights = {
        "w8": rng.integers(-8, 8, (3, C, 3)).astype(np.int8),
        "half": np.float32(0.5),
        "scales": np.array([0.5, 1, 2], np.float32),
        "zero": np.int8(0),
        "zeros": np.zeros(3, np.int8),
    }

    def make():
        nodes = [
            node("QuantizeLinear", ["x", "half", "zero"], ["xq"]),
            node("QLinearConv", ["xq", "half", "zero", "w8", "scales", "zeros", "half", "zero"], ["q"], pads=[1, 1]),
            node("DequantizeLinear", ["q", "half", "zero"], ["a"]),
            node("ConvInteger", ["xq", "w8"], ["i"], pads=[1, 1]),
            node("Cast", ["i"], ["f"], to=1),
            node("Add", ["a", "f"], ["y"]),
        ]
        return model(nodes, weights, inputs={"x": [2, C, L]}, outputs=["y"])

    read = _assert_same(make, engine="onnxruntime")  # onnx's reference takes no scales per channel in one dimension
    assert [n.op_type for n in read.graph if n.op_type.endswith("squeeze")] == ["Unsqueeze"]


def test_in_the_body_of_a_loop():
    def make():
        body = helper.make_graph(
            [
                node("Identity", ["go"], ["on"]),
                node("Conv", ["x", "w3"], ["c"], pads=[1, 1]),
                node("Clip", ["c", "", "top"], ["next"]),
            ],
            "body",
            [value("i", [], 7), value("go", [], 9), value("state", [2, C, L])],
            [value("on", [], 9), value("next", [2, C, L])],
        )
        nodes = [node("Loop", ["count", "", "x"], ["y"], body=body)]
        weights = {"w3": WEIGHTS["w3"], "top": WEIGHTS["top"], "count": np.int64(3)}
        proto = model(nodes, weights, inputs={"x": [2, C, L]}, outputs=["y"])
        proto.graph.output[0].CopyFrom(value("y", [2, C, L]))
        return proto

    read = _assert_same(make)
    (body,) = read.graph.subgraphs()
    assert [n.op_type for n in body] == ["Identity", "Conv", "Clip", "Squeeze"]


def test_a_tensor_with_many_readers():
    nodes = [node("MaxPool", ["x"], [f"y{i}"], kernel_shape=[3], pads=[1, 1]) for i in range(300)]
    read = load(model(nodes, {}, inputs={"x": [2, C, L]}, outputs=["y0", "y299"]))
    Conv1dTo2d()(read)
    assert sum(n.op_type == "Unsqueeze" for n in read.graph) == 1
    assert sum(n.op_type == "Squeeze" for n in read.graph) == 2


@pytest.mark.parametrize(("layout", "bridges"), [("NCHW", 2), ("NHWC", 4)])
def test_thresholds_follow_where_channels_come_second(layout, bridges):
    def make():
        channels = C if layout == "NCHW" else L
        thresholds = np.sort(np.random.default_rng(2).integers(-9, 9, (channels, 3))).astype(np.float32)
        nodes = [
            node("Conv", ["x", "w3"], ["c"], pads=[1, 1]),
            node("MultiThreshold", ["c", "t"], ["m"], domain=DOMAIN, out_dtype="UINT2", data_layout=layout),
            node("Conv", ["m", "w3"], ["y"], pads=[1, 1]),
        ]
        return model(nodes, {"w3": WEIGHTS["w3"], "t": thresholds}, inputs={"x": [2, C, L]}, outputs=["y"])

    for unit in UnitAxis:
        read = _assert_same(make, Conv1dTo2d(unit=unit))
        assert sum(n.op_type in ("Squeeze", "Unsqueeze") for n in read.graph) == bridges
