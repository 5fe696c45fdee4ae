"""Each shipped model is sound and is what its card says, to the last sample."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from anybit import Session, check, compare, convert, cost, verify
from anybit.evaluation.evaluate import evaluate
from tests.models import DIGITS

MODELS = DIGITS.parent
NAMES = sorted(path.parent.name for path in MODELS.glob("*/card.json"))
ENGINES = ("reference", "onnxruntime")
LARGEST = 3_000_000  # bytes of all files together

# What each model is at least good for. The least squared error of the regression is 1: the noise in its data.
AT_LEAST = {
    "assignments_transformer_4w8a": 0.97,
    "digits_cnn_2w2a": 0.98,
    "digits_cnn_4w4a": 0.98,
    "digits_mlp_1w1a": 0.97,
    "digits_mlp_2w2a": 0.98,
    "digits_mlp_4w4a": 0.98,
    "digits_mobilenet_4w4a": 0.97,
    "digits_resnet_mixed": 0.985,
    "keywords_conv_4w4a": 0.97,
}
AT_MOST = {"friedman_mlp_4w6a": 1.5}

# Formats that leave layers of a model as they are, and why; all else is carried.
REFUSED = {
    ("assignments_transformer_4w8a", "integer-ops"): "no product of a quantised tensor and quantised weights",
    ("digits_mlp_1w1a", "qcdq"): "the sign of an activation is no rounding",
    ("digits_mlp_1w1a", "integer-ops"): "the sign of an activation is no rounding",
    ("digits_resnet_mixed", "integer-ops"): "the integers do not fit into a byte",
}


@dataclass(frozen=True)
class Shipped:
    """A model and what lies beside it."""

    name: str

    @property
    def model(self) -> Path:
        return MODELS / self.name / "model.onnx"

    @cached_property
    def card(self) -> dict:
        return json.loads((MODELS / self.name / "card.json").read_text())

    @cached_property
    def samples(self) -> dict[str, np.ndarray]:
        data = dict(np.load(MODELS / self.name / "test.npz"))
        del data["labels"]
        return data


@pytest.fixture(params=NAMES)
def shipped(request):
    return Shipped(request.param)


def test_all_are_here_and_small():
    assert set(NAMES) == {*AT_LEAST, *AT_MOST}
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < LARGEST


def test_files_are_those_of_the_card(shipped):
    listed = {file["name"]: (file["size"], file["sha256"]) for file in shipped.card["files"]}
    found = {
        path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in shipped.model.parent.iterdir()
        if path.name != "card.json"
    }
    assert listed == found
    assert shipped.card["name"] == shipped.name


def test_nothing_is_found_wrong(shipped):
    assert check(shipped.model) == ()


def test_nothing_tells_of_the_machine_that_trained_it(shipped):
    content = shipped.model.read_bytes()
    assert b".py" not in content
    assert b"stack_trace" not in content


def test_weights_are_packed(shipped):
    if shipped.name == "digits_mlp_2w2a":
        pytest.skip("its script writes latent weights")
    initializers = ir.load(shipped.model).graph.initializers.values()
    largest = max(initializers, key=lambda value: value.const_value.size)
    assert largest.dtype.bitwidth <= 8


@pytest.mark.parametrize("engine", ENGINES)
def test_the_claim_holds_to_the_last_sample(shipped, engine):
    claim, judging = shipped.card["claim"], shipped.card["judging"]
    session = Session(shipped.model, engine=engine)
    data = shipped.model.with_name("test.npz")
    metric = judging.get("metric", "accuracy")
    result = evaluate(session, data, judging["labels"], metric=metric)
    assert (result.samples, result.correct) == (claim["samples"], claim.get("correct"))
    assert result.score == claim["value"]
    assert claim["metric"] == metric
    assert claim["verified"]


def test_the_claim_is_worth_showing(shipped):
    value = shipped.card["claim"]["value"]
    assert AT_LEAST.get(shipped.name, 0) <= value <= AT_MOST.get(shipped.name, 1)


def test_engines_agree_on_every_sample(shipped):
    found = compare(shipped.model, shipped.model, shipped.samples, engine_a="reference", engine_b="onnxruntime")
    (output,) = found.outputs
    assert output.departing <= output.elements / 1000


def test_the_cost_is_that_of_the_card(shipped):
    figures, claimed = cost(shipped.model).dense, shipped.card["cost"]
    for key in ("macs", "bit_operations", "weight_bits"):
        assert getattr(figures, key) == claimed[key]
    dominant = figures.formats[0]
    said = shipped.card["quantization"]
    assert (str(dominant.weight), str(dominant.activation)) == (said["weights"], said["activations"])


@pytest.mark.parametrize("target", ["qcdq", "integer-ops"])
def test_conversions_mean_the_same(shipped, target):
    converted = convert(shipped.model, target)
    reason = REFUSED.get((shipped.name, target))
    assert (reason is None) == (not converted.refusals)
    assert reason is None or any(reason in str(refusal) for refusal in converted.refusals)
    found = compare(shipped.model, converted.model, shipped.samples, engine_a="reference", engine_b="onnxruntime")
    assert found.equal
    if reason is None:
        assert verify(shipped.model, converted.model).verdict.is_exact
