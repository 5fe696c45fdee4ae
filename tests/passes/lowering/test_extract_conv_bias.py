"""The bias of convolutions becomes an addition: equal up to the one rounding that lies between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import compare, load
from anybit.io.save import to_proto
from anybit.passes.lowering.extract_conv_bias import ExtractConvBias
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


def _conv(bias: str = "b", op_type: str = "Conv"):
    return helper.make_node(op_type, ["x", "w", bias], ["y"], name="conv")


def _values(rng: np.random.Generator, *, transpose: bool = False, dimensions: int = 2) -> dict[str, np.ndarray]:
    channels = (2, 3) if transpose else (3, 2)
    return {
        "w": rng.normal(size=(*channels, *(2,) * dimensions)).astype(np.float32),
        "b": rng.normal(size=3).astype(np.float32),
    }


def test_before_and_after():
    proto = placed("plain", [_conv()], _values(np.random.default_rng(0)), inputs={"x": [1, 2, 4, 4]})
    assert text(proto) == ["y = Conv(x, w[3,2,2,2], b[3])"]
    after = applied(proto, ExtractConvBias(), modified=True)
    assert text(after) == ["y/without_bias = Conv(x, w[3,2,2,2])", "y = Add(y/without_bias, b/reshaped[1,3,1,1])"]
    assert after.graph.node("conv").op_type == "Conv"


def test_a_quantised_bias_stays_quantised():
    nodes = [quant("b", "bq"), _conv("bq")]
    values = _values(np.random.default_rng(0)) | parameters("bq", scale=np.float32([0.1, 0.2, 0.3]), bits=6)
    proto = placed("plain", nodes, values, inputs={"x": [1, 2, 4, 4]})
    after = applied(proto, ExtractConvBias(), modified=True)
    assert text(after) == [
        "bq/reshaped = Quant(b/reshaped[1,3,1,1], bq_scale/reshaped[1,3,1,1], 0, 6, narrow=0)",
        "y/without_bias = Conv(x, w[3,2,2,2])",
        "y = Add(y/without_bias, bq/reshaped)",
    ]


def test_any_other_bias_is_reshaped_by_a_node():
    nodes = [helper.make_node("Relu", ["b"], ["br"], name="relu"), _conv("br")]
    proto = placed("plain", nodes, _values(np.random.default_rng(0)), inputs={"x": [1, 2, 4, 4]})
    assert operators(applied(proto, ExtractConvBias())) == ["Relu", "Reshape", "Conv", "Add"]


@examples(40)
@given(
    setting=settings_of_use,
    transpose=st.booleans(),
    dimensions=st.integers(1, 3),
    source=st.sampled_from(["constant", "scalar", "channel", "computed", "input"]),
    seed=st.integers(0, 99),
)
def test_results_are_the_same_up_to_one_rounding(setting, transpose, dimensions, source, seed):
    rng = np.random.default_rng(seed)
    values = _values(rng, transpose=transpose, dimensions=dimensions)
    feeds = {"x": rng.normal(size=(2, 2, *(4,) * dimensions)).astype(np.float32)}
    scale = rng.uniform(0.1, 1, 3).astype(np.float32) if source == "channel" else np.float32(0.1)
    first = {"computed": [helper.make_node("Relu", ["b"], ["bq"], name="relu")], "constant": [], "input": []}
    nodes = first.get(source, [quant("b", "bq")])
    nodes = [*nodes, _conv("bq" if nodes else "b", "ConvTranspose" if transpose else "Conv")]
    if source in ("scalar", "channel"):
        values |= parameters("bq", scale=scale)
    if source == "input":
        feeds["b"] = values.pop("b")
    proto = placed(setting, nodes, values, inputs={k: v.shape for k, v in feeds.items()})
    after = applied(proto, ExtractConvBias(), modified=True)
    convolution = next(n for n in after.graph.all_nodes() if n.op_type.startswith("Conv"))
    assert len(convolution.inputs) == 2
    # The product sum is rounded to float32 before the bias is added, the squares of "fork" double that.
    assert_close(proto, after, feeds, relative=1e-6, engines=("reference", "onnxruntime"))


def test_integers_in_floats_are_the_same_bit_for_bit():
    rng = np.random.default_rng(0)
    values = {"w": rng.integers(-3, 4, (3, 2, 2, 2)).astype(np.float32), "b": rng.integers(-9, 9, 3).astype(np.float32)}
    proto = placed("plain", [_conv()], values, inputs={"x": [1, 2, 4, 4]})
    x = rng.integers(-3, 4, (1, 2, 4, 4)).astype(np.float32)
    assert_same_bits(proto, applied(proto, ExtractConvBias()), {"x": x}, ("reference", "onnxruntime"))


def test_no_bias_and_an_empty_one():
    values = _values(np.random.default_rng(0))
    for node in (_conv(""), helper.make_node("Conv", ["x", "w"], ["y"])):
        proto = placed("plain", [node], values, inputs={"x": [1, 2, 4, 4]})
        assert operators(applied(proto, ExtractConvBias(), modified=False)) == ["Conv"]


def test_a_bias_of_two_convolutions():
    nodes = [quant("b", "bq")]
    nodes += [helper.make_node("Conv", ["x", "w", "bq"], [o], name=o) for o in ("y", "z")]
    values = _values(np.random.default_rng(0)) | parameters("bq")
    proto = model(nodes, values, inputs={"x": [1, 2, 3, 3]}, outputs=["y", "z", "bq"])
    after = applied(proto, ExtractConvBias(), modified=True)
    assert operators(after).count("Quant") == 3
    assert_close(proto, after, {"x": np.ones((1, 2, 3, 3), np.float32)}, relative=1e-6)


def test_an_unknown_rank_is_noted():
    proto = model([_conv()], {"b": np.float32([1, 2])}, inputs={"x": None, "w": None}, outputs=["y"])
    loaded = load(proto)
    result = ExtractConvBias()(loaded)
    assert not result.modified
    assert problems(result) == {"Conv 'conv'": "the rank of the convolution is unknown"}
    assert operators(loaded) == ["Conv"]


def test_annotations_follow_their_tensors():
    proto = placed("plain", [_conv()], _values(np.random.default_rng(0)), inputs={"x": [1, 2, 4, 4]})
    for name, datatype in (("y", "INT32"), ("b", "INT8")):
        annotation = proto.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    after = to_proto(applied(proto, ExtractConvBias()))
    kept = {a.tensor_name: a.quant_parameter_tensor_names[0].value for a in after.graph.quantization_annotation}
    assert kept == {"y": "INT32", "b/reshaped": "INT8"}


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Conv", "ConvTranspose", megabytes=0.1), ids=lambda c: c.name)
def test_corpus(case):
    after = applied(case.path, ExtractConvBias())
    result = compare(case.path, after, samples=2, engine_a="reference", engine_b="reference")
    assert result.equal, result
