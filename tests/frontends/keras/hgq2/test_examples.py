"""The kinds of nets of HGQ2's own public examples, smaller: on inputs that the export has not seen, by both engines."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hgq.config import QuantizerConfigScope
from hgq.layers import QAdd, QBatchNormDense, QConv2D, QDense, QEinsumDenseBatchnorm, QMaxPooling2D

from anybit import run
from tests.frontends.keras.checking import exported, images
from tests.frontends.keras.hgq2.scatter import scattered

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # of Keras about torch


def _autoencoder():
    """For anomalies: narrow in the middle, as wide at the end as at the beginning."""
    x = keras.Input((57,), name="x")
    y = x
    for width in (32, 16, 3, 16, 32):
        y = QBatchNormDense(width, activation="relu")(y)
    return keras.Model(x, QDense(57, name="y")(y))


def _house_numbers():
    """Three convolutions with pools behind them, three dense layers."""
    x = keras.Input((18, 18, 3), name="x")
    y = x
    for width in (4, 4, 6):
        y = QMaxPooling2D(2)(QConv2D(width, 3, padding="same", activation="relu")(y))
    y = keras.layers.Flatten()(y)
    for width in (10, 8):
        y = QDense(width, activation="relu")(y)
    return keras.Model(x, QDense(10, name="y")(y))


def _residual_digits():
    """Two blocks around which the input is added."""
    x = keras.Input((12, 12, 1), name="x")
    y = QConv2D(4, 3, padding="same", activation="relu")(x)
    for _ in range(2):
        inner = QConv2D(4, 3, padding="same", activation="relu")(y)
        y = QAdd()([y, QConv2D(4, 3, padding="same")(inner)])
    return keras.Model(x, QDense(10, name="y")(keras.layers.Flatten()(QMaxPooling2D(3)(y))))


def _jet_mixer():
    """Mixes the features of each particle and, across, the particles of a jet; both are added to what went in."""
    x = keras.Input((8, 6), name="x")
    y = QEinsumDenseBatchnorm("bnc,cd->bnd", (8, 6), bias_axes="d", activation="relu")(x)
    y = QAdd()([x, y])
    mixed = QEinsumDenseBatchnorm("bnc,nm->bmc", (8, 6), bias_axes="m", activation="relu")(y)
    y = QAdd()([y, mixed])
    return keras.Model(x, QDense(5, name="y")(keras.layers.Flatten()(y)))


NETS = {"autoencoder": _autoencoder, "svhn": _house_numbers, "mnist residual": _residual_digits, "mixer": _jet_mixer}


@pytest.mark.parametrize("name", NETS)
def test_a_net_of_the_examples(name):
    with QuantizerConfigScope(place="datalane", overflow_mode="SAT", round_mode="RND"):
        model = scattered(NETS[name](), seed=5)
    written = exported(model, samples=16)
    x = 1.3 * images(24, *model.inputs[0].shape[1:], seed=9)
    wanted = model.predict(x, verbose=0)
    for engine in ("reference", "onnxruntime"):
        given = next(iter(run(written, x, engine=engine).values()))
        np.testing.assert_allclose(given, wanted, rtol=0, atol=3e-6 * np.abs(wanted).max())
