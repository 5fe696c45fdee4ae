"""Scale and zero point of Quant become arithmetic around it, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper

from anybit import compare, load
from anybit.errors import UsageError
from anybit.passes.lowering.extract_quant_scale import ExtractQuantScale
from tests.integration.corpus import needs_corpus
from tests.models import DOMAIN, model, parameters, quant
from tests.passes.rewriting import (
    applied,
    assert_same_bits,
    corpus_with,
    placed,
    problems,
    settings_of_use,
    text,
)
from tests.strategies import ParameterTypes, examples, quant_cases

FLOAT32 = ParameterTypes(np.float32, np.float32, np.float32, np.float32)
FLOAT64 = ParameterTypes(np.float64, np.float64, np.float64, np.float32)
MIXED = ParameterTypes(np.float32, np.float64, np.int8, np.int8)
TYPES = {np.float32: 1, np.float64: 11, np.float16: 10}


def _one(**values):
    return model([quant("x", "y")], parameters("y", **values), inputs={"x": [2, 3]}, outputs=["y"])


def test_before_and_after():
    proto = _one(scale=0.5, zeropt=3)
    assert text(applied(proto, ExtractQuantScale(), modified=True)) == [
        "y/div = Div(x, 0.5)",
        "y/add = Add(y/div, 3)",
        "y/integer = Quant(y/add, 1, 0, 4, narrow=0)",
        "y/sub = Sub(y/integer, 3)",
        "y = Mul(y/sub, 0.5)",
    ]


def test_what_is_neutral_leaves_no_node():
    assert text(applied(_one(zeropt=0), ExtractQuantScale(), modified=True)) == [
        "y/div = Div(x, 0.5)",
        "y/integer = Quant(y/div, 1, 0, 4, narrow=0)",
        "y = Mul(y/integer, 0.5)",
    ]
    assert text(applied(_one(scale=1, zeropt=2), ExtractQuantScale(), modified=True)) == [
        "y/add = Add(x, 2)",
        "y/integer = Quant(y/add, 1, 0, 4, narrow=0)",
        "y = Sub(y/integer, 2)",
    ]
    applied(_one(scale=1, zeropt=0), ExtractQuantScale(), modified=False)


def test_options():
    kept = applied(_one(scale=0.5, zeropt=3), ExtractQuantScale(zero_point=False), modified=True)
    assert text(kept) == [
        "y/div = Div(x, 0.5)",
        "y/integer = Quant(y/div, 1, 3, 4, narrow=0)",
        "y = Mul(y/integer, 0.5)",
    ]
    alone = applied(_one(scale=0.5, zeropt=3), ExtractQuantScale(scale=False), modified=False)
    assert problems(alone) == {"Quant 'y_node'": "the zero point cannot be extracted alone"}
    applied(_one(scale=1, zeropt=3), ExtractQuantScale(scale=False), modified=True)
    with pytest.raises(UsageError, match="nothing to extract"):
        ExtractQuantScale(scale=False, zero_point=False)(load(_one()))


@examples(150)
@given(case=quant_cases((FLOAT32, FLOAT64, MIXED)), setting=settings_of_use, zero_point=st.booleans())
def test_results_are_the_same_bit_for_bit(case, setting, zero_point):
    assume(case.x.shape[:1] != (0,))  # a session takes no batch of none for a fixed one
    if case.x.dtype == np.float32:
        case = replace(case, bits=np.minimum(case.bits, 24))
    values = {"q_scale": case.scale, "q_zeropt": case.zero_point, "q_bits": case.bits}
    nodes = [quant("x", "y", prefix="q", **case.attributes)]
    kind = TYPES[case.x.dtype.type]
    setting = "plain" if kind == 11 else setting
    proto = placed(setting, nodes, values, inputs={"x": case.x.shape}, input_type=kind)
    proto.graph.output[0].type.tensor_type.elem_type = kind
    for output in proto.graph.output[1:]:
        if output.name.endswith("_seen"):
            name = output.name.removesuffix("_seen")
            output.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(values[name].dtype)
    after = applied(proto, ExtractQuantScale(zero_point=zero_point))
    assert problems(after) == ({} if case.bits.size else problems(after))
    assert_same_bits(proto, after, {"x": case.x})


@pytest.mark.parametrize(("dtype", "bits"), [(np.float16, 4), (np.float32, 25)])
def test_what_quant_computes_in_wider_types_stays(dtype, bits):
    proto = placed("plain", [quant("x", "y")], parameters("y", bits=bits), inputs={"x": [3]}, input_type=TYPES[dtype])
    proto.graph.output[0].type.tensor_type.elem_type = TYPES[dtype]
    after = applied(proto, ExtractQuantScale(), modified=False)
    assert list(problems(after)) == ["Quant 'y_node'"]


def test_computed_parameters():
    nodes = [helper.make_node("Abs", ["raw"], ["y_scale"], name="abs"), quant("x", "y")]
    values = {k: v for k, v in parameters("y", zeropt=1).items() if k != "y_scale"}
    proto = model(nodes, values, inputs={"x": [2, 3], "raw": [1]}, outputs=["y"])
    after = applied(proto, ExtractQuantScale(), modified=True)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    assert_same_bits(proto, after, {"x": x, "raw": np.float32([-0.3])}, ("reference", "onnxruntime"))


def test_a_model_without_standard_operators_gets_their_import():
    proto = _one(scale=0.5)
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    after = applied(proto, ExtractQuantScale(), modified=True)
    assert list(after.opset_imports) == ["", DOMAIN]
    assert_same_bits(proto, after, {"x": np.float32([[0.3, -4, 9], [1, 2, 3]])}, ("reference", "onnxruntime"))


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Quant", megabytes=0.05), ids=lambda c: c.name)
def test_corpus(case):
    after = applied(case.path, ExtractQuantScale(), modified=True)
    assert compare(case.path, after, samples=3, tolerance=0, engine_a="reference", engine_b="reference").equal
