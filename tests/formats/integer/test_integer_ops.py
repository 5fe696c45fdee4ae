"""Integer operators: exact both ways or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from onnx import helper

import anybit
from anybit.formats.convert import translate
from anybit.formats.integer import integer_ops
from tests.formats.integer.integer_models import Net, assert_exact_both_ways, convnets, mlps
from tests.formats.ort_contrib.byte_models import Bytes, integer_nets
from tests.formats.qdq.linear_models import assert_equal, loaded, onnxruntime_outputs, operators
from tests.integration.corpus import CORPUS, Case, departures, needs_corpus
from tests.models import model, parameters, quant
from tests.strategies import examples

_INTEGER = {"ConvInteger", "MatMulInteger"}


@given(mlps())
@examples(150)
def test_matrix_products_are_exact_or_refused(net: Net):
    after, problems = assert_exact_both_ways(net, integer_ops.write, _INTEGER)
    assert _INTEGER & set(after) or problems


@given(convnets())
@examples(100)
def test_convolutions_are_exact_or_refused(net: Net):
    after, problems = assert_exact_both_ways(net, integer_ops.write, _INTEGER)
    assert _INTEGER & set(after) or problems


@given(integer_nets())
@examples(100)
def test_models_of_other_tools_are_read_exactly(net: Bytes):
    proto, x = net.proto(), net.x
    hub = translate(proto, "qonnx")
    assert not hub.refusals
    assert not {"QuantizeLinear", "Cast", *_INTEGER} & set(operators(hub.model))
    expected = onnxruntime_outputs(proto, {"x": x})
    assert_equal(expected, anybit.Session(hub.model, engine="reference").run(x))
    again = translate(hub.model, "integer-ops")
    # Weights of int8 less a zero point may take 9 bits.
    assert {r.problem for r in again.refusals} <= {"weights of more than 8 bits"}
    assert again.refusals or _INTEGER & set(operators(again.model))
    assert_equal(expected, onnxruntime_outputs(anybit.to_proto(again.model), {"x": x}))


def _net(*behind, scale: float = 0.5, bias: bool = False, outputs=("y",)):
    """x -> Quant -> Gemm or MatMul -> what is behind."""
    product = (
        helper.make_node("Gemm", ["a", "wq", "b"], ["m"]) if bias else helper.make_node("MatMul", ["a", "wq"], ["m"])
    )
    rng = np.random.default_rng(5)
    values = {"w": rng.normal(size=(6, 3)).astype(np.float32), "b": rng.normal(size=3).astype(np.float32)}
    if not bias:
        del values["b"]
    values |= parameters("a", scale=scale) | parameters("wq", scale=0.3)
    for node in behind:
        if node.op_type == "Quant":
            values |= parameters(node.output[0], scale=0.7)
    nodes = [quant("x", "a"), quant("w", "wq"), product, *behind]
    return model(nodes, values, inputs={"x": [8, 6]}, outputs=list(outputs), opset=13)


@pytest.mark.parametrize("bias", [False, True])
def test_a_product_without_quantiser_behind_keeps_its_exact_sums(bias):
    hub = _net(helper.make_node("Identity", ["m"], ["y"]), scale=0.1, bias=bias)
    target = loaded(hub)
    outcome = integer_ops.write(target)
    assert not outcome.refusals
    assert not outcome.approximations
    assert "MatMulInteger" in operators(target)
    x = np.random.default_rng(6).normal(size=(8, 6)).astype(np.float32)
    (y,) = onnxruntime_outputs(anybit.to_proto(target), {"x": x}).values()
    (expected,) = anybit.Session(hub, engine="reference").run(x).values()
    np.testing.assert_allclose(y, expected, rtol=3e-7, atol=1e-7)


def test_levels_that_no_certificate_covers_are_refused_or_named():
    fork = [
        helper.make_node("Sigmoid", ["m"], ["s"]), helper.make_node("Mul", ["m", "s"], ["t"]), quant("t", "y"),
    ]  # fmt: skip
    hub = _net(*fork, scale=0.1)
    target = loaded(hub)
    (refusal,) = integer_ops.write(target).refusals
    assert refusal.problem == "a quantiser behind it, whose levels are not certified"
    assert not _INTEGER & set(operators(target))
    target = loaded(hub)
    outcome = integer_ops.write(target, approximate=True)
    assert not outcome.refusals
    assert len(outcome.approximations) == 1
    assert "MatMulInteger" in operators(target)


def test_sums_that_are_not_cast_are_refused():
    net = Bytes(np.random.default_rng(0), (2, 3))
    net.quantise(np.uint8)
    weights, _, _ = net.weights(3, 4, dtype=np.int8, channels=4)
    net.add("MatMulInteger", weights)
    net.add("Cast", to=7)
    net.add("Cast", to=1)
    refusals = [r.problem for r in translate(net.proto(), "qonnx").refusals]
    assert "its sums are not cast to float32" in refusals


_CORPUS = {"cnv_2w2a": 9, "tfc_2w2a": 4, "tfc_1w1a": 4, "mobilenetv1_w05_4w4a_96": 27}


@needs_corpus
@pytest.mark.parametrize("name", _CORPUS)
def test_real_models_agree_with_their_framework(name):
    case = Case(CORPUS / name / "model.onnx")
    result = translate(case.path, "integer-ops")
    assert sum(o in _INTEGER for o in operators(result.model)) == _CORPUS[name]
    session = anybit.Session(result.model, engine="onnxruntime", threads=1)
    outputs = np.concatenate([next(iter(session.run(x[None]).values())) for x in case.inputs[:24]])
    assert departures(outputs, case.outputs[:24].reshape(outputs.shape), None) == 0
