"""Whether division and multiplication by the reciprocal round alike, against the neighbours of every half step."""

from __future__ import annotations

import numpy as np
import pytest

from anybit.formats.fake_quant.same_function import division_agrees
from anybit.quantizers.quantizer import Quantizer


def quantizer(scale: np.ndarray, lo: int, hi: int) -> Quantizer:
    return Quantizer(scale, np.zeros(()), np.asarray(float(lo)), np.asarray(float(hi)))


def agrees_by_trial(scale: np.float32, reciprocal: np.float32, lo: int, hi: int) -> bool:
    half_steps = ((np.arange(lo, hi) + 0.5) * np.float64(scale)).astype(np.float32)
    x = (half_steps[:, None].view(np.int32) + np.arange(-64, 65, dtype=np.int32)).view(np.float32)
    return np.array_equal(np.rint(x / scale).clip(lo, hi), np.rint(x * reciprocal).clip(lo, hi))


@pytest.mark.parametrize(("lo", "hi"), [(-8, 7), (0, 15), (-128, 127)])
def test_scales_agree_as_the_neighbours_of_half_steps_do(lo: int, hi: int):
    scales = np.random.default_rng(hi).uniform(0.01, 1, 60).astype(np.float32)
    found = [division_agrees(quantizer(s.reshape(()), lo, hi), 1 / s.reshape(1)) for s in scales]
    assert found == [agrees_by_trial(s, 1 / s, lo, hi) for s in scales]
    if hi < 100:
        assert len(set(found)) == 2
    rows = scales[:3]
    assert division_agrees(quantizer(rows, lo, hi), 1 / rows) == all(found[:3])


def test_powers_of_two_agree():
    assert division_agrees(quantizer(np.float32([0.25, 2.0]), -128, 127), np.float32([4, 0.5]))


def test_a_reciprocal_without_end_does_not_agree():
    scale = np.float32([1e-45])
    with np.errstate(over="ignore"):
        assert not division_agrees(quantizer(scale, -8, 7), 1 / scale)
