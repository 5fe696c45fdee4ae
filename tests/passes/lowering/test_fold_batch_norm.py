"""Batch normalisation folded into weights: the integers stay, the scale takes the factor; or the node stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import compare, load
from anybit.cleanup.fold_transpose import FoldTranspose
from anybit.cleanup.fusion.fold_batch_norm import FoldBatchNorm
from anybit.graph.constants import constant
from anybit.io.save import to_proto
from anybit.ops.registry import find_operator
from anybit.runtime.session import Session
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import DOMAIN, model, parameters, quant
from tests.passes.lowering.test_batch_norm_to_affine import norm, statistics
from tests.passes.rewriting import (
    applied,
    assert_close,
    corpus_with,
    operators,
    placed,
    problems,
    settings_of_use,
    text,
)
from tests.strategies import examples, modes

NODE = "BatchNormalization 'y_norm'"
LINEAR = ("Conv", "depthwise", "ConvTranspose", "grouped ConvTranspose", "MatMul", "Gemm", "transposed Gemm")


def _linear(kind: str, weights: str = "wq", bias: str = ""):
    """Node, shape of x, shape of the weights, output channels."""
    op_type = kind.rsplit(" ", maxsplit=1)[-1]
    match kind:
        case "Conv":
            x, w, attributes = (2, 2, 4, 4), (4, 2, 2, 2), {}
        case "depthwise":
            op_type, x, w, attributes = "Conv", (2, 4, 4, 4), (4, 1, 2, 2), {"group": 4}
        case "ConvTranspose":
            x, w, attributes = (2, 3, 4, 4), (3, 4, 2, 2), {}
        case "grouped ConvTranspose":
            x, w, attributes = (2, 6, 4, 4), (6, 2, 2, 2), {"group": 2}
        case "transposed Gemm":
            x, w, attributes = (2, 5), (4, 5), {"transB": 1, "alpha": 0.5, "beta": 3.0}
        case _:
            x, w, attributes = (2, 5), (5, 4), {}
    inputs = ["x", weights] + ([bias] if bias else [])
    return helper.make_node(op_type, inputs, ["h"], name="linear", **attributes), x, w


def _quantized(
    kind: str = "Conv", *, negative: bool = False, bias: bool = False, seed: int = 0, **quant_attributes: Any
):
    """Nodes and initializers: quantised weights, a linear operator, a batch normalisation."""
    rng = np.random.default_rng(seed)
    node, x, w = _linear(kind, bias="b" if bias and kind != "MatMul" else "")
    values = {"w": rng.normal(size=w).astype(np.float32)} | statistics(rng, 4, negative=negative)
    values |= parameters(
        "wq", scale=np.float32(quant_attributes.pop("scale", 0.3)), bits=quant_attributes.pop("bits", 4)
    )
    if bias and kind != "MatMul":
        values["b"] = rng.normal(size=4).astype(np.float32)
    return [quant("w", "wq", **{"narrow": 1} | quant_attributes), node, norm("h")], values, x


def _placed(nodes, values, x, setting: str = "plain"):
    return placed(setting, nodes, values, inputs={"x": x})


def test_before_and_after():
    after = applied(_placed(*_quantized()), FoldBatchNorm(), modified=True)
    assert text(after) == [
        "wq/folded = Quant(w/folded[4,2,2,2], wq_scale/folded[4,1,1,1], 0, 4, narrow=1)",
        "y = Conv(x, wq/folded, y/offset[4])",
    ]
    assert sorted(after.graph.initializers) == ["w/folded", "wq_bits", "wq_scale/folded", "wq_zeropt", "y/offset"]
    after = applied(_placed(*_quantized("MatMul")), FoldBatchNorm(), modified=True)
    assert text(after) == [
        "wq/folded = Quant(w/folded[5,4], wq_scale/folded[1,4], 0, 4, narrow=1)",
        "y/scaled = MatMul(x, wq/folded)",
        "y = Add(y/scaled, y/offset[4])",
    ]


def _steps(loaded: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What the quantiser of weights `name` puts out, and its scale."""
    node = next(n for n in loaded.graph.all_nodes() if n.outputs[0].name == name)
    inputs = [constant(v) for v in node.inputs]
    operator = find_operator(DOMAIN, node.op_type, 1)
    assert operator is not None
    values = operator.evaluate([a for a in inputs if a is not None], {k: a.value for k, a in node.attributes.items()})
    return values, np.asarray(inputs[1])


@examples(150)
@given(
    kind=st.sampled_from(LINEAR),
    setting=settings_of_use,
    negative=st.booleans(),
    bias=st.booleans(),
    mode=modes,
    bits=st.integers(1, 8),
    scale=st.sampled_from([0.25, 0.1, 1 / 3, 0.7]),
    seed=st.integers(0, 99),
)
def test_integers_stay_and_results_are_the_same_up_to_rounding(kind, setting, negative, bias, mode, bits, scale, seed):
    nodes, values, x = _quantized(
        kind, negative=negative, bias=bias, seed=seed, scale=scale, bits=bits, rounding_mode=mode
    )
    proto = _placed(nodes, values, x, setting)
    after = applied(proto, FoldBatchNorm(), modified=True)
    assert "BatchNormalization" not in operators(after)
    old, s = _steps(load(proto), "wq")
    new, scales = _steps(after, "wq/folded")
    factor = values["scale"].astype(np.float64) / np.sqrt(values["var"].astype(np.float64) + float(np.float32(1e-5)))
    # The sign of each step says whether its channel was negated; the numbers of steps are integers, and the same.
    np.testing.assert_array_equal(np.abs(np.rint(old / s)), np.abs(np.rint(new / scales)))
    np.testing.assert_array_equal(new, (np.rint(new / scales) * scales).astype(np.float32))
    assert set(np.float32(np.abs(factor) * s)) == set(scales.ravel())
    feeds = {"x": np.random.default_rng(seed).normal(size=x).astype(np.float32)}
    # Rounded: scales, weights, offset, sums; the offset may cancel what it is added to, "fork" squares the result.
    assert_close(proto, after, feeds, relative=1e-5, engines=("reference", "onnxruntime"))


def test_weights_of_rank_one_scales_and_bipolar_quantisers():
    node, x, w = _linear("Gemm")
    rng = np.random.default_rng(0)
    values = {"w": rng.normal(size=w).astype(np.float32), "s": np.float32([0.1, 0.2, 0.3, 0.7])} | statistics(rng, 4)
    nodes = [helper.make_node("BipolarQuant", ["w", "s"], ["wq"], name="wq", domain=DOMAIN), node, norm("h")]
    proto = _placed(nodes, values, x)
    after = applied(proto, FoldBatchNorm(), modified=True)
    assert operators(after) == ["BipolarQuant", "Gemm"]
    assert_close(proto, after, {"x": rng.normal(size=x).astype(np.float32)}, relative=1e-5)


def _problem(nodes, values, x, rewrite=None, **kwargs) -> str:
    before = _placed(nodes, values, x, **kwargs)
    loaded = load(before)
    untouched = to_proto(loaded).SerializeToString(deterministic=True)
    result = (rewrite or FoldBatchNorm())(loaded)
    assert not result.modified
    found = problems(result)
    assert list(found) == [NODE]
    assert to_proto(loaded).graph.node == load_proto(untouched).graph.node
    return found[NODE]


def load_proto(data: bytes):
    return to_proto(load(data))


def test_a_grid_that_cannot_be_negated_is_refused():
    nodes, values, x = _quantized(narrow=0, bits=2)
    values["w"] = np.where(values["w"] > 0, np.float32(0.3), np.float32(-0.6))  # integers 1 and -2
    for sign, folded in ((1, True), (-1, False)):
        case = nodes, values | {"scale": np.float32([1, 1, sign, 1])}, x
        if folded:
            applied(_placed(*case), FoldBatchNorm(), modified=True)
        else:
            assert _problem(*case) == "the integers of the weights cannot be kept"
    nodes, values, x = _quantized(signed=0, narrow=0, negative=True)
    assert _problem(nodes, values | {"scale": -values["var"]}, x) == "the integers of the weights cannot be kept"


def test_a_zero_point_stays_where_the_grid_allows_it():
    nodes, values, x = _quantized(signed=0, narrow=0)
    proto = _placed(nodes, values | {"wq_zeropt": np.float32(7)}, x)
    feeds = {"x": np.random.default_rng(0).normal(size=x).astype(np.float32)}
    assert_close(proto, applied(proto, FoldBatchNorm(), modified=True), feeds, relative=1e-5)


def test_what_is_used_elsewhere_is_refused():
    nodes, values, x = _quantized()
    both = model(nodes, values, inputs={"x": x}, outputs=["y", "h"])
    twice = [*nodes, helper.make_node("Relu", ["h"], ["r"])]
    for proto in (both, model(twice, values, inputs={"x": x}, outputs=["y", "r"])):
        loaded = applied(proto, FoldBatchNorm(), modified=False)
        assert problems(loaded) == {NODE: "the tensor before it is also used elsewhere"}


def test_other_reasons_to_refuse():
    nodes, values, x = _quantized()
    scales = np.full((1, 2, 1, 1), 0.3, np.float32)
    assert "varies within" in _problem(nodes, values | {"wq_scale": scales}, x)
    assert "scale of zero" in _problem(nodes, values | {"scale": np.float32([1, 0, 1, 1])}, x)
    assert "bit width" in _problem(nodes, values | {"wq_bits": np.float32(25)}, x)
    assert "quantised" in _problem(nodes, values, x, FoldBatchNorm(quantized=False))
    float_nodes = [_linear("Conv", "w")[0], norm("h")]
    assert "plain constants" in _problem(float_nodes, values, x)
    assert "no linear operator" in _problem([helper.make_node("Relu", ["x"], ["h"]), norm("h")], values, (2, 4, 3))
    biased = [quant("b", "bq"), quant("w", "wq"), _linear("Conv", bias="bq")[0], norm("h")]
    biases = values | parameters("bq") | {"b": np.ones(4, np.float32)}
    assert "bias before it is not constant" in _problem(biased, biases, x)
    computed = [helper.make_node("Relu", ["w"], ["wq"]), *nodes[1:]]
    assert "made by something else" in _problem(computed, values, x)


def test_a_matmul_whose_channels_are_not_on_the_second_axis_is_refused():
    nodes, values, _ = _quantized("MatMul")
    assert "output channels" in _problem(nodes, values, (1, 4, 5))
    assert "rank of the product is unknown" in _problem(nodes, values, None)


@examples(40)
@given(kind=st.sampled_from(LINEAR), setting=settings_of_use, bias=st.booleans(), seed=st.integers(0, 99))
def test_float_weights_on_request(kind, setting, bias, seed):
    rng = np.random.default_rng(seed)
    bias = bias and kind != "MatMul"
    node, x, w = _linear(kind, "w", "b" if bias else "")
    values = {"w": rng.normal(size=w).astype(np.float32)} | statistics(rng, 4)
    values |= {"b": rng.normal(size=4).astype(np.float32)} if bias else {}
    proto = _placed([node, norm("h")], values, x, setting)
    after = applied(proto, FoldBatchNorm(float_weights=True), modified=True)
    assert "BatchNormalization" not in operators(after)
    assert_close(proto, after, {"x": rng.normal(size=x).astype(np.float32)}, relative=1e-5)


def test_weights_of_two_layers_are_folded_apart():
    nodes, values, x = _quantized()
    other = helper.make_node("Conv", ["x", "wq"], ["other"], name="other")
    proto = model([*nodes, other], values, inputs={"x": x}, outputs=["y", "other"])
    after = applied(proto, FoldBatchNorm(), modified=True)
    assert operators(after).count("Quant") == 2
    feeds = {"x": np.random.default_rng(0).normal(size=x).astype(np.float32)}
    assert_close(proto, after, feeds, relative=1e-5)
    np.testing.assert_array_equal(*(Session(m, engine="reference").run(feeds)["other"] for m in (proto, after)))


def test_annotations():
    proto = _placed(*_quantized())
    for name, datatype in (("wq", "INT4"), ("h", "INT16"), ("y", "FLOAT32")):
        annotation = proto.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    after = to_proto(applied(proto, FoldBatchNorm()))
    kept = {a.tensor_name: a.quant_parameter_tensor_names[0].value for a in after.graph.quantization_annotation}
    assert kept == {"wq/folded": "INT4", "y": "FLOAT32"}


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("BatchNormalization", megabytes=0.3), ids=lambda c: c.name)
def test_corpus(case):
    loaded = load(case.path)
    FoldTranspose()(loaded)
    after = applied(loaded, FoldBatchNorm(float_weights=True))
    result = compare(case.path, after, samples=8, engine_a="reference", engine_b="reference")
    # A sum that lies within float32 accumulation error of a rounding boundary may land on the other side of it.
    assert sum(d.departing for d in result.outputs) <= 1e-3 * sum(d.elements for d in result.outputs), result


@needs_corpus
def test_most_layers_of_a_real_network_are_folded():
    loaded = load(CORPUS / "mobilenetv1_w05_4w4a_96" / "model.onnx")
    result = FoldBatchNorm()(loaded)
    assert operators(loaded).count("BatchNormalization") == len(problems(result)) < 27
