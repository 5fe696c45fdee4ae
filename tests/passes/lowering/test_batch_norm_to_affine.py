"""Batch normalisation becomes Mul and Add: equal up to two rounded constants and another order of sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import compare, load
from anybit.cleanup.fusion.batch_norm_to_affine import BatchNormToAffine
from tests.integration.corpus import needs_corpus
from tests.models import model
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

NAMES = ("scale", "bias", "mean", "var")


def statistics(rng: np.random.Generator, channels: int, *, negative: bool = True) -> dict[str, np.ndarray]:
    """Parameters of a batch normalisation."""
    scale = rng.uniform(0.5, 2, channels) * (rng.choice([-1, 1], channels) if negative else 1)
    values = [scale, rng.normal(size=channels), rng.normal(size=channels), rng.uniform(0.2, 2, channels)]
    return dict(zip(NAMES, (v.astype(np.float32) for v in values), strict=True))


def norm(source: str = "x", target: str = "y", **attributes):
    return helper.make_node("BatchNormalization", [source, *NAMES], [target], name=f"{target}_norm", **attributes)


def test_before_and_after():
    proto = placed("plain", [norm()], statistics(np.random.default_rng(0), 3), inputs={"x": [1, 3, 4, 4]})
    after = applied(proto, BatchNormToAffine(), modified=True)
    assert text(after) == ["y/scaled = Mul(x, y/factor[1,3,1,1])", "y = Add(y/scaled, y/offset[1,3,1,1])"]
    assert sorted(after.graph.initializers) == ["y/factor", "y/offset"]


@examples(50)
@given(
    setting=settings_of_use,
    rank=st.integers(2, 5),
    opset=st.sampled_from([15, 21]),
    epsilon=st.sampled_from([1e-5, 0.1]),
    seed=st.integers(0, 99),
)
def test_results_are_the_same_up_to_rounding(setting, rank, opset, epsilon, seed):
    rng = np.random.default_rng(seed)
    shape = (2, 3, *(4,) * (rank - 2))
    proto = placed(setting, [norm(epsilon=epsilon)], statistics(rng, 3), inputs={"x": shape}, opset=opset)
    after = applied(proto, BatchNormToAffine(), modified=True)
    assert "BatchNormalization" not in operators(after)
    # Rounded factor, offset, product and sum; "fork" squares the result.
    assert_close(proto, after, {"x": rng.normal(size=shape).astype(np.float32)}, relative=4e-6,
                 engines=("reference", "onnxruntime"))  # fmt: skip


def test_exact_constants_give_the_same_bits():
    values = dict(zip(NAMES, np.float32([[2, -0.5], [1, 2], [4, -8], [1, 4]]), strict=True))
    proto = placed("plain", [norm(epsilon=0.0)], values, inputs={"x": [3, 2]})
    after = applied(proto, BatchNormToAffine())
    assert_same_bits(proto, after, {"x": np.float32([[1, 2], [3, 4], [-5, 0.5]])})


def test_double_precision_keeps_its_precision():
    rng = np.random.default_rng(0)
    values = {k: v.astype(np.float64) for k, v in statistics(rng, 3).items()}
    proto = placed("plain", [norm()], values, inputs={"x": [2, 3]}, input_type=11)
    proto.graph.output[0].type.tensor_type.elem_type = 11
    assert_close(proto, applied(proto, BatchNormToAffine()), {"x": rng.normal(size=(2, 3))}, relative=1e-14)


def test_parameters_of_two_nodes():
    nodes = [norm(target="y"), norm("y", "z")]
    proto = model(nodes, statistics(np.random.default_rng(0), 3), inputs={"x": [2, 3]}, outputs=["y", "z"])
    after = applied(proto, BatchNormToAffine(), modified=True)
    assert_close(proto, after, {"x": np.ones((2, 3), np.float32)})


def _refused(node, values=None, inputs=None, opset=21):
    rng = np.random.default_rng(0)
    proto = model([node], statistics(rng, 3) if values is None else values, inputs={"x": [2, 3]} | (inputs or {}),
                  outputs=["y"], opset=opset)  # fmt: skip
    loaded = load(proto)
    result = BatchNormToAffine()(loaded)
    assert not result.modified
    assert operators(loaded) == ["BatchNormalization"]
    assert list(problems(result)) == ["BatchNormalization 'y_norm'"]
    return problems(result)["BatchNormalization 'y_norm'"]


def test_training_is_refused():
    node = norm(training_mode=1)
    node.output.extend(["running_mean", "running_var"])
    assert "training" in _refused(node)
    assert "training" in _refused(norm(training_mode=1))
    node = norm()
    node.output.extend(["m", "v", "sm", "sv"])
    assert "training" in _refused(node, opset=9)


def test_what_is_not_constant_or_not_finite_is_refused():
    rng = np.random.default_rng(0)
    values = statistics(rng, 3)
    assert "not constant" in _refused(norm(), {k: v for k, v in values.items() if k != "mean"}, {"mean": [3]})
    assert "finite" in _refused(norm(), values | {"var": np.float32([1, -2, 1])})
    assert "normal number" in _refused(norm(), values | {"scale": np.float32([1, 1e-44, 1])})
    assert "rank" in _refused(norm(), values, {"x": None})
    assert "fit together" in _refused(norm(), values | {"var": np.float32([1])})


def test_optional_outputs_that_are_left_out_are_no_training():
    node = norm()
    node.output.extend(["", "", "", ""])
    proto = model([node], statistics(np.random.default_rng(0), 3), inputs={"x": [2, 3]}, outputs=["y"], opset=9)
    after = applied(proto, BatchNormToAffine(), modified=True)
    assert operators(after) == ["Mul", "Add"]
    assert all(len(n.outputs) == 1 for n in after.graph)


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("BatchNormalization", megabytes=0.1), ids=lambda c: c.name)
def test_corpus(case):
    after = applied(case.path, BatchNormToAffine(), modified=True)
    result = compare(case.path, after, samples=2, engine_a="reference", engine_b="reference")
    assert result.equal, result
