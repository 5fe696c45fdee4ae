"""Sub becomes Add, bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import compare, load
from anybit.errors import InvalidModelError
from anybit.io.save import to_proto
from anybit.passes.lowering.sub_to_add import SubToAdd
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


def _sub(constants: np.ndarray, setting: str = "plain") -> onnx.ModelProto:
    nodes = [
        helper.make_node("Sub", ["x", "c"], ["h"], name="first"),
        helper.make_node("Sub", ["c", "h"], ["y"], name="second"),
    ]
    return placed(setting, nodes, {"c": constants}, inputs={"x": [2, 3]})


def test_before_and_after():
    proto = _sub(np.float32([1, 2, 3]))
    assert text(proto) == ["h = Sub(x, c[3])", "y = Sub(c[3], h)"]
    after = applied(proto, SubToAdd(), modified=True)
    assert text(after) == ["h = Add(x, c/negative[3])", "y = Sub(c[3], h)"]
    assert problems(after) == {"Sub 'second'": "the subtrahend is not constant"}


def test_dynamic_subtrahends_are_negated_on_request():
    after = applied(_sub(np.float32([1, 2, 3])), SubToAdd(dynamic=True), modified=True)
    assert text(after) == ["h = Add(x, c/negative[3])", "h/negative = Neg(h)", "y = Add(c[3], h/negative)"]
    assert problems(after) == {}


@examples(40)
@given(setting=settings_of_use, dynamic=st.booleans(), seed=st.integers(0, 99))
def test_results_are_the_same_bit_for_bit(setting, dynamic, seed):
    rng = np.random.default_rng(seed)
    special = special_values(np.float32)
    proto = _sub(rng.choice(special, 3), setting)
    after = applied(proto, SubToAdd(dynamic=dynamic), modified=True)
    assert ("Sub" in operators(after)) != dynamic
    assert_same_bits(proto, after, {"x": rng.choice(special, (2, 3))}, ("reference", "onnxruntime"))


def test_a_constant_of_several_subtractions_is_negated_once():
    nodes = [helper.make_node("Sub", ["x", "c"], [o], name=o) for o in ("y", "z")]
    proto = model(nodes, {"c": np.float32([1.5])}, inputs={"x": [2]}, outputs=["y", "z"])
    after = applied(proto, SubToAdd())
    assert list(after.graph.initializers) == ["c/negative"]


def test_a_tensor_minus_itself():
    proto = model([helper.make_node("Sub", ["x", "x"], ["y"])], {}, inputs={"x": [2]}, outputs=["y"])
    after = applied(proto, SubToAdd(dynamic=True))
    assert_same_bits(proto, after, {"x": np.float32([1, np.inf])})


def test_names_that_are_taken_are_not_taken_again():
    nodes = [
        helper.make_node("Relu", ["x"], ["c/negative"], name="relu"),
        helper.make_node("Sub", ["c/negative", "c"], ["y"], name="sub"),
    ]
    proto = model(nodes, {"c": np.float32([1])}, inputs={"x": [2]}, outputs=["y"])
    after = applied(proto, SubToAdd())
    assert_same_bits(proto, after, {"x": np.float32([3, -1])})


@pytest.mark.parametrize(
    ("dtype", "values", "rewritten"),
    [("int32", [3, -4], True), ("int32", [-(2**31), 1], False), ("uint8", [1, 2], False), ("float64", [0.1, 3], True)],
)
def test_types(dtype, values, rewritten):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [helper.make_node("Sub", ["x", "c"], ["y"], name="sub")]
    proto = placed("plain", nodes, {"c": np.array(values, dtype)}, inputs={"x": [2]}, input_type=kind)
    proto.graph.output[0].type.tensor_type.elem_type = kind
    after = applied(proto, SubToAdd(), modified=rewritten)
    assert ("Sub 'sub'" in problems(after)) != rewritten
    assert_same_bits(proto, after, {"x": np.array([7, 5], dtype)})


def test_annotations_stay_but_for_the_number_format_of_the_negative():
    proto = _sub(np.float32([1, 2, 3]))
    for name, datatype in (("c", "UINT2"), ("h", "INT5")):
        annotation = proto.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    after = applied(proto, SubToAdd())
    kept = {a.tensor_name for a in to_proto(after).graph.quantization_annotation}
    assert kept == {"c", "h"}


def test_an_opset_without_broadcasting_is_refused_and_nothing_changed():
    loaded = load(model([helper.make_node("Sub", ["x", "c"], ["y"])], {"c": np.float32([1])}, inputs={"x": [2]},
                        outputs=["y"], opset=6))  # fmt: skip
    with pytest.raises(InvalidModelError, match="opset is too old"):
        SubToAdd()(loaded)
    assert operators(loaded) == ["Sub"]


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Sub", megabytes=0.3), ids=lambda c: c.name)
def test_corpus(case):
    after = applied(case.path, SubToAdd(dynamic=True), modified=True)
    # Real graphs: same operators in the same order, so the reference must agree to the last bit.
    assert compare(case.path, after, samples=3, tolerance=0, engine_a="reference", engine_b="reference").equal
