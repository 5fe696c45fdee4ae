"""The generated data are what their descriptions say, and those that ship are made again."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models import DIGITS
from training import data

GENERATED = {
    "assignments_transformer_4w8a": data.assignments,
    "friedman_mlp_4w6a": data.friedman,
    "keywords_conv_4w4a": data.words,
}


def test_a_variable_holds_what_it_was_given_last():
    made = data.assignments()
    for tokens, label in zip(made.test.tolist(), made.test_labels.tolist(), strict=True):
        held = {}
        for token in tokens[:-1]:
            held[token % data.NAMES] = token // data.NAMES
        assert held[tokens[-1] - data.NAMES * data.VALUES] == label


def test_the_noise_of_the_regression_has_variance_one():
    made = data.friedman()
    a, b, c, d, e = ((made.train[:, :5] + 0.5) / 256).T
    noise = made.train_labels[:, 0] - 10 * np.sin(np.pi * a * b) - 20 * (c - 0.5) ** 2 - 10 * d - 5 * e
    assert abs(noise.mean()) < 0.05
    assert abs(noise.var() - 1) < 0.1


def test_audio_is_whole_numbers_of_eight_bits():
    audio = data.words().test
    assert audio.dtype == np.float32
    assert (audio == np.round(audio)).all()
    assert audio.min() >= -128
    assert audio.max() <= 127


@pytest.mark.parametrize("name", GENERATED)
def test_generated_data_are_made_again(name):
    made, shipped = GENERATED[name](), np.load(DIGITS.parent / name / "test.npz")
    # The last bit of a sine is the mathematics library's: sounds and values may differ by a rounding.
    np.testing.assert_allclose(made.test, shipped[made.input], atol=1)
    np.testing.assert_allclose(made.test_labels, shipped["labels"], rtol=1e-6)
    assert (made.test != shipped[made.input]).mean() < 1e-3


@pytest.mark.parametrize("kind", [data.digits, data.flat_digits])
def test_digits_are_held_out_by_class(kind):
    pytest.importorskip("sklearn", reason="training needs scikit-learn: install anybit[train]")
    made = kind()
    shipped = np.load(DIGITS / "test.npz")
    np.testing.assert_array_equal(made.test.reshape(-1, 64), shipped["pixels"])
    np.testing.assert_array_equal(made.test_labels, shipped["labels"])
    assert len(made.train) + len(made.test) == 1797
