"""Whole models of HGQ2: networks like those of the corpus, several inputs, shared and nested parts."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hgq.config import QuantizerConfigScope
from hgq.layers import QAdd, QConv2D, QDense, QMaxPooling2D

from anybit import run
from tests.frontends.keras.checking import attributes, exported, images, operators
from tests.frontends.keras.hgq2.scatter import scattered

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # of Keras about torch


@pytest.mark.parametrize(("overflow", "rounding"), [("SAT", "RND"), ("WRAP", "TRN"), ("SAT_SYM", "RND_CONV")])
def test_jets(overflow, rounding):
    """Like the corpus' hgq2_jet_sat_rnd and hgq2_jet_wrap_trn: four layers, each number with a format of its own."""
    with QuantizerConfigScope(place="datalane", overflow_mode=overflow, round_mode=rounding):
        x = keras.Input((16,), name="x")
        y = x
        for width in (64, 32, 32):
            y = QDense(width, activation="relu")(y)
        model = scattered(keras.Model(x, QDense(5, name="y")(y)), seed=3)
    written = exported(model, images(200, 16), samples=100, share=0)
    assert [str(v.name) for v in written.graph.outputs] == ["y"]
    assert any(bits.size > 1 for _, bits, *_ in attributes(written))
    assert operators(written).count("MatMul") == 4


def test_images_through_a_network():
    x = keras.Input((10, 10, 3), name="x")
    y = QMaxPooling2D(2)(QConv2D(6, 3, activation="relu")(x))
    y = QAdd()([y, QConv2D(6, 3, padding="same")(y)])
    y = QDense(4)(keras.layers.Flatten()(y))
    written = exported(scattered(keras.Model(x, y)), images(6, 10, 10, 3), share=3e-6)
    assert operators(written).count("Transpose") == 2


def test_shared_nested_and_sequential():
    inner = keras.Sequential([keras.Input((8,)), QDense(8, activation="relu", name="fc")], name="inner")
    outer = keras.Sequential([keras.Input((8,)), inner, QDense(8, name="fc")], name="outer")
    a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
    head = QDense(3, name="head")
    model = scattered(keras.Model([a, b], [head(outer(a)), head(inner(inner(b))), a]))
    written = exported(model, images(5, 8), images(5, 8, seed=2), share=3e-6)
    assert sum(str(name) == "head/kernel" for name in written.graph.initializers) == 1
    exported(scattered(outer), images(5, 8), share=3e-6)


def _sequence(*layers):
    """As examples write it: a sequence that no other model calls."""
    return keras.Sequential([*layers, QConv2D(4, 3, activation="relu"), keras.layers.Flatten(), QDense(3)])


@pytest.mark.parametrize("built", ["by its input", "later"])
def test_a_sequence_by_itself(built):
    start = [keras.Input((6, 6))] if built == "by its input" else []
    model = _sequence(*start, keras.layers.Reshape((6, 6, 1)))
    if not start:
        model.build((None, 6, 6))
    exported(scattered(model), images(5, 6, 6), share=3e-6)


def test_inputs_by_dictionary():
    a, b = keras.Input((4,), name="b_first"), keras.Input((4,), name="a_second")
    model = keras.Model({"b_first": a, "a_second": b}, {"y": keras.layers.Subtract()([a, b])})
    given = {"b_first": images(2, 4), "a_second": images(2, 4, seed=4)}
    result = next(iter(run(exported(model), given).values()))
    np.testing.assert_array_equal(result, given["b_first"] - given["a_second"])


def test_batch_sizes():
    x = keras.Input((8,), name="x")
    model = keras.Model(x, QDense(2)(x))
    assert [str(d) for d in exported(model).graph.inputs[0].shape] == ["N", "8"]
    assert list(exported(model, batch=4).graph.outputs[0].shape) == [4, 2]
    fixed = keras.Input((8,), batch_size=3, name="x")
    assert list(exported(keras.Model(fixed, QDense(2)(fixed)), samples=7).graph.inputs[0].shape) == [3, 8]
