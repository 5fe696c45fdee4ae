"""Gemm becomes MatMul, Mul and Add: equal up to the roundings between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import compare
from anybit.passes.lowering.gemm_to_matmul import GemmToMatMul
from tests.integration.corpus import needs_corpus
from tests.models import model, parameters, quant
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

W, C = np.arange(12, dtype=np.float32).reshape(4, 3), np.float32([1, 2, 3])


def _gemm(*inputs: str, **attributes):
    return helper.make_node("Gemm", list(inputs), ["y"], name="gemm", **attributes)


def _after(*nodes, values=None, **kwargs):
    proto = placed("plain", nodes, {"w": W, "c": C} if values is None else values, inputs={"x": [2, 4]})
    return text(applied(proto, GemmToMatMul(), modified=True, **kwargs))


def test_before_and_after():
    assert _after(_gemm("x", "w")) == ["y = MatMul(x, w[4,3])"]
    assert _after(_gemm("x", "w", "c")) == ["y/product = MatMul(x, w[4,3])", "y = Add(y/product, c[3])"]
    assert _after(_gemm("x", "w", "c", alpha=0.5, beta=2.0)) == [
        "y/product = MatMul(x, w[4,3])",
        "y/scaled = Mul(y/product, 0.5)",
        "y = Add(y/scaled, c/times_beta[3])",
    ]
    assert _after(_gemm("x", "w", "c", beta=0.3)) == [
        "c/times_beta = Mul(c[3], 0.3)",
        "y/product = MatMul(x, w[4,3])",
        "y = Add(y/product, c/times_beta)",
    ]
    assert _after(_gemm("x", "w", "", alpha=3.0)) == ["y/product = MatMul(x, w[4,3])", "y = Mul(y/product, 3)"]


def test_constants_are_transposed_now_and_quantisers_by_a_node():
    assert _after(_gemm("x", "w", transB=1), values={"w": W.T}) == ["y = MatMul(x, w/transposed[4,3])"]
    lines = _after(quant("w", "wq"), _gemm("x", "wq", transB=1), values={"w": W.T} | parameters("wq"))
    assert lines[1:] == ["wq/transposed = Transpose(wq, perm=[1, 0])", "y = MatMul(x, wq/transposed)"]


@examples(60)
@given(
    setting=settings_of_use,
    transposes=st.tuples(st.booleans(), st.booleans()),
    factors=st.tuples(st.sampled_from([1.0, 0.5, -3.0, 0.1]), st.sampled_from([1.0, 4.0, -0.5, 0.7, 0.0])),
    addend=st.sampled_from([None, (), (1,), (3,), (2, 1), (2, 3), (1, 3), "input"]),
    weights=st.sampled_from(["constant", "quantised", "input"]),
    seed=st.integers(0, 99),
)
def test_results_are_the_same_up_to_rounding(setting, transposes, factors, addend, weights, seed):
    rng = np.random.default_rng(seed)
    transposed_a, transposed_b = transposes
    feeds = {"x": rng.normal(size=(4, 2) if transposed_a else (2, 4)).astype(np.float32)}
    values = {"w": rng.normal(size=(3, 4) if transposed_b else (4, 3)).astype(np.float32)}
    names, nodes = ["x", "w"], []
    if weights == "quantised":
        nodes, names = [quant("w", "wq")], ["x", "wq"]
        values |= parameters("wq", scale=np.float32(0.1))
    if weights == "input":
        feeds["w"] = values.pop("w")
    if addend is not None:
        (feeds if addend == "input" else values)["c"] = rng.normal(size=3 if addend == "input" else addend).astype(
            np.float32
        )
        names.append("c")
    attributes = dict(zip(("transA", "transB"), map(int, transposes), strict=True))
    nodes.append(_gemm(*names, alpha=factors[0], beta=factors[1], **attributes))
    proto = placed(setting, nodes, values, inputs={k: v.shape for k, v in feeds.items()})
    after = applied(proto, GemmToMatMul(), modified=True)
    assert "Gemm" not in operators(after)
    # Up to three roundings of float32 in place of one; cancellation between product and C is bounded by both.
    assert_close(proto, after, feeds, relative=4e-6, engines=("reference", "onnxruntime"))


def test_small_integers_are_the_same_bit_for_bit():
    proto = placed("plain", [_gemm("x", "w", "c", alpha=2.0, beta=4.0)], {"w": W, "c": C}, inputs={"x": [2, 4]})
    x = np.arange(-4, 4, dtype=np.float32).reshape(2, 4)
    assert_same_bits(proto, applied(proto, GemmToMatMul()), {"x": x}, ("reference", "onnxruntime"))


def test_operands_that_are_one_tensor():
    proto = placed("plain", [_gemm("x", "x", "x", transB=1)], {}, inputs={"x": [3, 3]})
    x = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert_same_bits(proto, applied(proto, GemmToMatMul()), {"x": x})


def test_weights_of_two_nodes_are_transposed_once():
    nodes = [helper.make_node("Gemm", ["x", "w"], [o], name=o, transB=1) for o in ("y", "z")]
    proto = model(nodes, {"w": W.T}, inputs={"x": [2, 4]}, outputs=["y", "z"])
    assert list(applied(proto, GemmToMatMul()).graph.initializers) == ["w/transposed"]


def test_a_product_with_beta_that_would_overflow_is_left_to_a_node():
    values = {"w": W, "c": np.float32([3e38, 1, 1])}
    lines = _after(_gemm("x", "w", "c", beta=4.0), values=values)
    assert lines[0] == "c/times_beta = Mul(c[3], 4)"
    values = {"w": W, "c": np.float32([1e-45, 1, 1])}
    assert _after(_gemm("x", "w", "c", beta=0.5), values=values)[0] == "c/times_beta = Mul(c[3], 0.5)"


def test_factors_that_the_type_does_not_have_are_refused():
    for kind, alpha, refused in ((7, 2.0, True), (7, 1.0, False), (10, 0.1, True), (10, 0.5, False)):
        proto = placed("plain", [_gemm("x", "w", alpha=alpha)], {}, inputs={"x": [2, 4], "w": [4, 3]}, input_type=kind)
        proto.graph.output[0].type.tensor_type.elem_type = kind
        after = applied(proto, GemmToMatMul(), modified=not refused)
        assert bool(problems(after)) == refused
        dtype = np.int64 if kind == 7 else np.float16
        assert_same_bits(proto, after, {"x": np.full((2, 4), 3, dtype), "w": np.ones((4, 3), dtype)})


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Gemm", megabytes=0.1), ids=lambda c: c.name)
def test_corpus(case):
    after = applied(case.path, GemmToMatMul(), modified=True)
    result = compare(case.path, after, samples=3, engine_a="reference", engine_b="reference")
    assert result.equal, result
