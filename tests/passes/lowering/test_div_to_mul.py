"""Division by powers of two becomes multiplication, bit for bit; every other division stays and is noted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import compare
from anybit.passes.lowering.div_to_mul import DivToMul
from tests.integration.corpus import needs_corpus
from tests.models import model
from tests.passes.rewriting import (
    applied,
    assert_same_bits,
    corpus_with,
    operators,
    placed,
    problems,
    settings_of_use,
    text,
)
from tests.strategies import examples, special_values

INEXACT = "the reciprocal of the divisor is not exact"


def _div(divisor: np.ndarray, setting: str = "plain"):
    return placed(
        setting, [helper.make_node("Div", ["x", "c"], ["y"], name="div")], {"c": divisor}, inputs={"x": [2, 3]}
    )


def test_before_and_after():
    proto = _div(np.float32(4))
    assert text(proto) == ["y = Div(x, 4)"]
    assert text(applied(proto, DivToMul(), modified=True)) == ["y = Mul(x, 0.25)"]


@examples(40)
@given(
    setting=settings_of_use, exponents=st.lists(st.integers(-126, 126), min_size=3, max_size=3), seed=st.integers(0, 99)
)
def test_results_are_the_same_bit_for_bit(setting, exponents, seed):
    rng = np.random.default_rng(seed)
    proto = _div((np.exp2(exponents) * rng.choice([-1, 1], 3)).astype(np.float32), setting)
    after = applied(proto, DivToMul(), modified=True)
    assert "Div" not in operators(after)
    x = rng.choice(np.concatenate([special_values(np.float32), rng.standard_normal(9).astype(np.float32)]), (2, 3))
    assert_same_bits(proto, after, {"x": x})


@pytest.mark.parametrize("divisor", [3.0, 0.0, np.inf, np.nan, 2.0**127, 2.0**-140, [2.0, 3.0, 4.0], 0.1])
def test_divisors_whose_reciprocal_is_no_normal_number_stay(divisor):
    after = applied(_div(np.float32(divisor)), DivToMul(), modified=False)
    assert problems(after) == {"Div 'div'": INEXACT}
    assert operators(after) == ["Div"]


def test_half_precision_has_a_smaller_range():
    for divisor, exact in ((2.0**14, True), (2.0**15, False)):
        proto = placed("plain", [helper.make_node("Div", ["x", "c"], ["y"], name="div")], {"c": np.float16(divisor)},
                       inputs={"x": [4]}, input_type=10)  # fmt: skip
        proto.graph.output[0].type.tensor_type.elem_type = 10
        after = applied(proto, DivToMul(), modified=exact)
        assert_same_bits(proto, after, {"x": np.float16([1, 3e-4, 65504, 6e-8])})


def test_integers_and_computed_divisors_stay():
    nodes = [
        helper.make_node("Div", ["i", "two"], ["j"], name="whole"),
        helper.make_node("Cast", ["j"], ["f"], name="cast", to=1),
        helper.make_node("Div", ["two_f", "f"], ["y"], name="computed"),
    ]
    values = {"two": np.int64(2), "two_f": np.float32(2)}
    proto = model(nodes, values, inputs={"i": [3]}, outputs=["y"], input_type=7)
    after = applied(proto, DivToMul(), modified=False)
    assert problems(after) == {
        "Div 'whole'": "the division is one of integers",
        "Div 'computed'": "the divisor is not constant",
    }
    assert_same_bits(proto, after, {"i": np.array([7, -7, 4])})


def test_a_divisor_of_several_nodes_is_inverted_once():
    nodes = [helper.make_node("Div", ["x", "c"], [o], name=o) for o in ("y", "z")]
    proto = model(nodes, {"c": np.float32(2)}, inputs={"x": [2]}, outputs=["y", "z"])
    after = applied(proto, DivToMul(), modified=True)
    assert text(after) == ["y = Mul(x, 0.5)", "z = Mul(x, 0.5)"]
    assert list(after.graph.initializers) == ["c/reciprocal"]


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Div", megabytes=0.3), ids=lambda c: c.name)
def test_corpus(case):
    after = applied(case.path, DivToMul())
    assert compare(case.path, after, samples=3, tolerance=0, engine_a="reference", engine_b="reference").equal
