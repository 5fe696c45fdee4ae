"""One-feature models: what the checker takes, hls4ml computes exactly; what hls4ml cannot do, the checker refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import anybit
from anybit.errors import Severity
from anybit.targets import IoType
from anybit.targets.hls4ml.prepare import prepare_hls4ml
from tests.environments import environment
from tests.targets.hls4ml.emulation import REQUIREMENTS, Job, emulate
from tests.targets.hls4ml.feature import Feature
from tests.targets.hls4ml.features_forks import FORKS
from tests.targets.hls4ml.features_images import IMAGES
from tests.targets.hls4ml.features_layers import LAYERS
from tests.targets.hls4ml.nets import Net

FEATURES = [*LAYERS, *FORKS, *IMAGES]
REFUSED = [f for f in FEATURES if f.refused is not None]
TAKEN = [f for f in FEATURES if f.refused is None]
PARTS = 2  # each is one run of g++: most of what they cost is the same headers again
# Compiled in io_stream, too.
STREAMED = (
    *("residual 0.25", "concat", "output in the middle", "bias", "thresholds", "Abs", "rounding UP signed 1"),
    *("conv", "conv relu conv", "conv bias", "depthwise quantised", "max pool", "average pool", "flatten", "mean"),
    *("conv residual", "conv norm bipolar", "conv of one dimension", "PRelu", "Max with a number", "Neg"),
    *("largest of an image", "maximum over positions", "conv behind a Pad", "concat of three images"),
)
JOBS = [*((f, IoType.PARALLEL) for f in TAKEN), *((f, IoType.STREAM) for f in TAKEN if f.name in STREAMED)]


@pytest.mark.parametrize("feature", REFUSED, ids=lambda f: f.name)
def test_what_hls4ml_cannot_do_is_refused_by_name(feature: Feature):
    handover = prepare_hls4ml(feature.make().proto())
    errors = [f for f in handover.findings if f.severity is Severity.ERROR]
    assert feature.refused in {f.rule for f in errors}
    assert all(f.node for f in errors)
    assert not handover.ready
    assert handover.comparison is None


@pytest.mark.parametrize(
    "name",
    [
        "max pool padded",
        "max pool ceil",
        "max pool overlapping",
        "max pool of strides 1",
        "conv of one row, rows skipped",
        "depthwise 1x1 strided",
        "thresholds, too many to copy",
    ],
)
def test_what_only_a_stream_cannot_do_is_refused_for_it_alone(name: str):
    many = Net(6).quant().dense(6, 4)
    many.op("MultiThreshold", many.const([np.arange(8)]), domain="qonnx.custom_op.general")
    net = next((f.make() for f in FEATURES if f.name == name), many)
    assert prepare_hls4ml(net.proto()).ready
    handover = prepare_hls4ml(net.proto(), io_type=IoType.STREAM)
    assert {f.rule for f in handover.findings if f.severity is Severity.ERROR} == {"stream"}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_taken_comes_out_right(part: int, tmp_path: Path):
    listed = JOBS[part::PARTS]
    jobs, expected = [], []
    for feature, io_type in listed:
        net = feature.make()
        proto = net.proto(*net.outputs)
        handover = prepare_hls4ml(proto, io_type=io_type)
        warned = any(f.rule == "ties" for f in handover.findings)
        x = net.feed(step=0.0 if warned else feature.step)
        assert handover.ready, (feature.name, [str(f) for f in handover.findings])
        jobs.append(Job(handover, {"x": x}))
        expected.append(list(anybit.run(proto, {"x": x}, engine="reference").values()))
    results = emulate(jobs, environment("hls4ml", REQUIREMENTS), tmp_path)
    checked = zip(listed, expected, results, strict=True)
    wrong = [f"{f.name}, {io.value}: {w}" for (f, io), e, r in checked if (w := _wrong(f, e, r))]
    assert not wrong, "\n".join(wrong)


def _wrong(feature: Feature, expected: list[np.ndarray], actual: list[np.ndarray] | str) -> str | None:
    """What is wrong with the outputs, None if nothing is."""
    if isinstance(actual, str):
        return actual.strip().splitlines()[-1]
    for output, got in zip(expected, actual, strict=True):
        wanted = output.reshape(len(got), -1).astype(np.float64)
        if wanted.shape != got.shape:
            return f"shape {got.shape}, expected {wanted.shape}"
        error = np.abs(wanted - got).max() / np.abs(wanted).max()
        if error > feature.tolerance:
            return f"off by {error:.2g} of full scale"
    return None
