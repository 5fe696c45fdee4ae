"""A net that was quantised after training is exact in the tools that it was made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import anybit
from anybit.quantization import Recipe, Target
from tests.environments import environment
from tests.quantization.nets import images, residual
from tests.targets.hls4ml.emulation import REQUIREMENTS, Job, emulate

TOLERANCE = 1e-6  # of full scale: the reference adds float biases in float32


@pytest.mark.slow
def test_a_residual_net_of_four_bits_is_exact_in_hls4ml(tmp_path: Path):
    recipe = Recipe(weights=4, activations=4, target=Target.HLS4ML)
    made = anybit.quantize(residual(batch=1, channels=2), images(), recipe)
    handover = anybit.prepare_hls4ml(made.model)
    assert handover.ready, [str(f) for f in handover.findings]
    x = images(8, seed=11)
    wanted = np.concatenate([anybit.run(made.model, x[k : k + 1], engine="reference")["y"] for k in range(len(x))])
    job = Job(handover, {str(handover.model.graph.inputs[0].name): x})
    (got,) = emulate([job], environment("hls4ml", REQUIREMENTS), tmp_path)
    assert not isinstance(got, str), got
    assert np.abs(got[0] - wanted).max() <= TOLERANCE * np.abs(wanted).max()


def test_a_net_with_a_limit_of_its_accumulators_goes_to_finn():
    recipe = Recipe(weights=4, activations=4, target=Target.FINN, accumulator=12)
    made = anybit.quantize(residual(batch=1), images(), recipe)
    assert all(a.bounds[-1].bits <= 12 for a in anybit.ranges(made.model).accumulators)
    handover = anybit.prepare_finn(made.model)
    assert handover.ready, [str(f) for f in handover.findings]
    outputs = next(iter(anybit.run(handover.model, images(1), engine="reference").values()))
    assert np.array_equal(outputs, anybit.run(made.model, images(1), engine="reference")["y"])
