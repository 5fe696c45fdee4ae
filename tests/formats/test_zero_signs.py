"""Where an operator tells -0 from +0, translations keep the sign or refuse, and no certificate is false."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from anybit import Dialect, Session, clean, convert, save, verify
from anybit.errors import UnsupportedError
from anybit.formats.certify import certify
from anybit.formats.convert import translate
from anybit.results import Verdict
from tests.formats.zero_sign_models import random_model, same_numbers, zeros_and_neighbours
from tests.models import model, parameters, quant
from tests.strategies import examples

X = np.float32([[-0.1, -0.0, 0.1, 3.0], [-0.2, -1e-30, 0.0, -0.3]])
FORMATS = [f.value for f in Dialect]


def told(*quantizer: onnx.NodeProto, constants: dict[str, np.ndarray], middle: str = "Neg") -> onnx.ModelProto:
    """x -> quantiser -> q -> an operator -> 1 / n -> y."""
    nodes = [*quantizer, helper.make_node(middle, ["q"], ["n"]), helper.make_node("Reciprocal", ["n"], ["y"], name="r")]
    return model(nodes, constants, inputs={"x": ["N", 4]}, outputs=["y"])


def quant_model(middle: str = "Neg", **options) -> onnx.ModelProto:
    """With a Quant."""
    attributes = {k: options.pop(k) for k in ("signed", "rounding_mode") if k in options}
    return told(quant("x", "q", **attributes), constants=parameters("q", **options), middle=middle)


def qcdq_model(middle: str = "Neg", *, lo: int = -8, hi: int = 7, zero: int = 0) -> onnx.ModelProto:
    """With QuantizeLinear, Clip, DequantizeLinear."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("Clip", ["a", "lo", "hi"], ["b"]),
        helper.make_node("DequantizeLinear", ["b", "s", "z"], ["q"]),
    ]
    constants = {"s": np.float32(0.5), "z": np.int8(zero), "lo": np.int8(lo), "hi": np.int8(hi)}
    return told(*nodes, constants=constants, middle=middle)


def run(proto, engine="reference", x=X):
    """y."""
    return Session(proto, engine=engine).run(x)["y"]


@pytest.mark.parametrize("engine", ["reference", "onnxruntime", "auto"])
@pytest.mark.parametrize("options", [{}, {"signed": 0}, {"zeropt": 2.0}, {"zeropt": -0.0}, {"rounding_mode": "CEIL"}])
def test_engines_keep_the_sign_of_zeros(options, engine):
    with np.errstate(divide="ignore"):
        x = np.float32(0.5) * np.float32([[-0.2, -0.0, 0.2, 6], [-0.4, -0.0, 0, -0.6]])
        scaled, zero = x / np.float32(0.5), np.float32(options.get("zeropt", 0.0))
        rounding = np.ceil if "rounding_mode" in options else np.rint
        lo, hi = (0.0, 15.0) if options.get("signed") == 0 else (-8.0, 7.0)
        expected = 1 / -((rounding(np.clip(scaled + zero, lo, hi)) - zero) * np.float32(0.5))
    np.testing.assert_array_equal(run(quant_model(**options), engine, x), expected)


@pytest.mark.parametrize("target", FORMATS[1:])
def test_writers_leave_a_quantiser_whose_negative_zeros_are_told(target):
    conversion = convert(quant_model(), target)
    (refusal,) = conversion.refusals
    assert (refusal.node, refusal.got) == ("Quant 'q_node'", "Reciprocal 'r'")
    assert "-0" in refusal.problem
    np.testing.assert_array_equal(run(conversion.model), run(quant_model()))


@pytest.mark.parametrize("target", FORMATS[1:4])
@pytest.mark.parametrize(
    "proto",
    [
        quant_model("Abs"),
        quant_model("Exp"),
        quant_model(signed=0),
        quant_model(rounding_mode="ROUND", signed=0, bits=8.0),
    ],
    ids=["Abs", "Exp", "unsigned", "byte"],
)
def test_writers_take_a_quantiser_whose_negative_zeros_nobody_tells(target, proto):
    conversion = convert(proto, target)
    assert not [r for r in conversion.refusals if "-0" in r.problem]
    np.testing.assert_array_equal(run(conversion.model), run(proto))
    assert certify(proto, conversion.model).verdict.is_exact


@pytest.mark.parametrize(("lo", "hi", "zero"), [(-8, 7, 0), (0, 7, 0), (-8, 7, 3), (-8, 0, 0)])
@pytest.mark.parametrize("target", FORMATS[:4])
def test_readers_keep_positive_zeros(target, lo, hi, zero):
    proto = qcdq_model(lo=lo, hi=hi, zero=zero)
    conversion = convert(proto, target)
    for engine in ("reference", "auto"):
        np.testing.assert_array_equal(run(conversion.model, engine), run(proto))
    assert certify(proto, conversion.model).verdict.is_exact


def test_a_read_file_keeps_positive_zeros_in_stock_onnx_runtime(tmp_path):
    """Optimisers take an Add of 0 away, not what the reader adds."""
    proto = qcdq_model()
    written = convert(convert(proto, "qonnx").model, "qcdq")
    assert not written.refusals
    for level in (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    ):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        path = tmp_path / "model.onnx"
        save(written.model, path)
        session = onnxruntime.InferenceSession(str(path), options)
        np.testing.assert_array_equal(session.run(None, {"x": X})[0], run(proto))


def test_only_the_readers_that_tell_get_the_sum():
    """Another reader of the same tensor keeps the quantiser's own output, and its grid."""
    proto = qcdq_model()
    proto.graph.node.append(helper.make_node("MatMul", ["q", "w"], ["p"]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"))
    proto.graph.output.append(helper.make_tensor_value_info("p", 1, None))
    hub = convert(proto, "qonnx").model
    (product,) = [n for n in hub.graph if n.op_type == "MatMul"]
    assert product.inputs[0].producer().op_type == "Quant"
    assert [n.op_type for n in hub.graph] == ["Quant", "Sum", "Neg", "Reciprocal", "MatMul"]


@pytest.mark.parametrize("middle", ["Neg", "Relu", "Tanh", "Identity"])
def test_no_certificate_for_models_whose_zeros_differ_and_are_told(middle):
    a, b = quant_model(middle), qcdq_model(middle)
    assert not np.array_equal(run(a), run(b))
    found = verify(a, b)
    assert found.verdict is Verdict.DIFFERENT
    example = found.counter_example
    assert not np.array_equal(run(a, x=example.inputs["x"]), run(b, x=example.inputs["x"]))


@pytest.mark.parametrize("adds", [{"op_type": "Add", "zero": 0.0}, {"op_type": "Sub", "zero": -0.0}])
@pytest.mark.parametrize("teller", ["Reciprocal", "Pow", "Div"])
def test_an_added_zero_is_no_identity_where_it_is_told(teller, adds):
    """Both are one function of the quantiser's integers, as long as these have no -0."""

    def proto(*added):
        constants = parameters("q") | {"zero": np.float32(adds["zero"]), "c": np.float32(-1)}
        inputs = {"Reciprocal": ["n"], "Pow": ["n", "c"], "Div": ["c", "n"]}[teller]
        nodes = [quant("x", "q"), *added, helper.make_node("Neg", ["b" if added else "q"], ["n"])]
        return model(
            [*nodes, helper.make_node(teller, inputs, ["y"])], constants, inputs={"x": ["N", 4]}, outputs=["y"]
        )

    a, b = proto(), proto(helper.make_node(adds["op_type"], ["q", "zero"], ["b"]))
    assert not np.array_equal(run(a), run(b))
    assert verify(a, b).verdict is Verdict.DIFFERENT


@pytest.mark.parametrize("middle", ["Abs", "Exp", "Sigmoid"])
def test_a_certificate_for_models_whose_zeros_differ_and_are_not_told(middle):
    assert certify(quant_model(middle), qcdq_model(middle)).verdict.is_exact


def test_an_output_is_a_number():
    """-0 and +0 in an output are equal."""
    a, b = ([*p.graph.node][:-2] for p in (quant_model(), qcdq_model()))
    a[-1].output[0] = b[-1].output[0] = "y"
    constants = {"s": np.float32(0.5), "z": np.int8(0), "lo": np.int8(-8), "hi": np.int8(7)}
    models = (model(n, c, inputs={"x": ["N", 4]}, outputs=["y"]) for n, c in ((a, parameters("q")), (b, constants)))
    assert certify(*models).verdict.is_exact


def test_a_product_of_integers_behind_which_zeros_are_told():
    """ConvInteger and MatMulInteger make +0 of every sum that is 0."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("MatMulInteger", ["a", "w", "z"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["real"], to=1),
        helper.make_node("Mul", ["real", "s"], ["n"]),
        helper.make_node("Reciprocal", ["n"], ["y"]),
    ]
    constants = {"s": np.float32(0.5), "z": np.uint8(10), "w": np.int8(-np.eye(4))}
    proto = model(nodes, constants, inputs={"x": ["N", 4]}, outputs=["y"])
    for target in FORMATS:
        conversion = convert(proto, target)
        for engine in ("reference", "auto"):
            np.testing.assert_array_equal(run(conversion.model, engine), run(proto))


def test_constants_are_judged_by_their_zeros():
    """Weights that nothing rounds to -0 are written, those that something does are not."""
    for weights, refused in (([0.5, -1.0, 0.0, 1.0], 0), ([0.5, -0.1, 1.0, 2.0], 1)):
        nodes = [quant("w", "q"), helper.make_node("Div", ["x", "q"], ["y"], name="d")]
        constants = {"w": np.float32(weights)} | parameters("q")
        proto = model(nodes, constants, inputs={"x": ["N", 4]}, outputs=["y"])
        conversion = convert(proto, "qcdq")
        assert len(conversion.refusals) == refused
        np.testing.assert_array_equal(run(conversion.model), run(proto))


@pytest.mark.parametrize("seed", range(examples(300).max_examples))
def test_random_models_keep_their_numbers(seed):
    """Every engine, clean, every format, and back: the numbers of the reference, and no certificate of others."""
    proto = random_model(seed)
    feeds = zeros_and_neighbours(proto)
    expected = Session(proto, engine="reference").run(feeds)
    sources = itertools.product((proto, clean(proto)), ("reference", "onnxruntime", "auto"))
    for source, engine in itertools.islice(sources, 1, None):  # the first is what is expected
        assert same_numbers(expected, Session(source, engine=engine).run(feeds))
    for target in FORMATS:
        conversion = translate(proto, target)
        for engine in ("reference", "auto"):
            assert same_numbers(expected, Session(conversion.model, engine=engine).run(feeds)), target
        back = translate(conversion.model, Dialect.QONNX).model
        assert same_numbers(expected, Session(back, engine="reference").run(feeds)), target


CARELESS = {
    "qonnx": ("anybit.formats.qdq.read.tensors_of_told_zeros",),
    "qcdq": ("anybit.formats.qdq.write.tensors_of_told_zeros",),
    "integer-ops": (
        "anybit.formats.qdq.write.tensors_of_told_zeros",
        "anybit.formats.integer.lowering.tensors_of_told_zeros",
    ),
    "finn": ("anybit.formats.thresholds.walk.tensors_of_told_zeros",),
}
"""Where writers ask for what is told, by format."""


@pytest.mark.parametrize("target", CARELESS)
@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 32))
def test_a_careless_translation_gets_no_certificate(target, seed):
    """What is written without regard to the sign of zero is not certified, if an output shows it."""
    proto = random_model(seed)
    with ExitStack() as stack:
        for place in CARELESS[target]:
            stack.enter_context(mock.patch(place, return_value={}))
        written = translate(proto, target).model
    feeds = zeros_and_neighbours(proto)
    results = [Session(p, engine="reference").run(feeds) for p in (proto, written)]
    if not same_numbers(*results):
        assert not certify(proto, written).verdict.is_exact


def test_bodies_and_packed_weights_where_zeros_are_told():
    """Neither a body in a stock runtime nor the floats that come back of integers have all of the negative zeros."""
    with pytest.raises(UnsupportedError, match="Reciprocal 'r'"):
        convert(quant_model(), "qonnx", embed_functions=True)
    assert convert(quant_model("Abs"), "qonnx", embed_functions=True).model.functions
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    for teller, refused in (("Div", 1), ("Add", 0)):
        nodes = [quant("w", "q"), helper.make_node(teller, ["x", "q"], ["y"])]
        proto = model(nodes, {"w": weights} | parameters("q", bits=8.0), inputs={"x": ["N", 64]}, outputs=["y"])
        conversion = convert(proto, "qonnx", pack=True)
        assert len(conversion.refusals) == refused
        x = np.ones((64, 64), np.float32)
        np.testing.assert_array_equal(run(conversion.model, x=x), run(proto, x=x))
