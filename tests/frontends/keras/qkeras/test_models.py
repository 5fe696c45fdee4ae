"""Whole models of QKeras: several inputs and outputs, shared and nested parts, and a network of mixed quantisers."""

from __future__ import annotations

import numpy as np
import pytest
import qkeras
import tf_keras as keras

from anybit import run
from anybit.errors import FrontEndError, InputError
from anybit.frontends.keras import from_keras
from tests.frontends.keras.checking import exported, images, operators

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The initializer")  # of QKeras itself

L, Q = keras.layers, qkeras
KERNEL = {"kernel_quantizer": "quantized_bits(4,0,alpha=1)", "bias_quantizer": "quantized_bits(6,1,alpha=1)"}


def mixed():
    """Like the corpus' qkeras_mlp_mixed: every layer of another kind."""
    x = keras.Input((16,), name="x")
    y = Q.QActivation("quantized_bits(12,5,alpha=1)")(x)
    y = Q.QDense(64, kernel_quantizer="quantized_bits(6,0,alpha=1)", bias_quantizer="quantized_bits(6,0,alpha=1)")(y)
    y = Q.QActivation("quantized_relu(6,2)")(y)
    y = Q.QDense(32, kernel_quantizer="quantized_bits(4,0,alpha='auto_po2')", bias_quantizer="quantized_bits(8,2)")(y)
    y = Q.QActivation("quantized_relu(4,1)")(L.BatchNormalization()(y))
    y = Q.QDense(32, kernel_quantizer="ternary()", bias_quantizer="quantized_bits(6,0,alpha=1)")(y)
    y = Q.QActivation("quantized_bits(6,1,alpha=1)")(y)
    y = Q.QDense(16, kernel_quantizer="quantized_po2(4)", bias_quantizer="quantized_bits(6,0,alpha=1)")(y)
    y = Q.QActivation("quantized_tanh(6)")(y)
    y = Q.QDense(5, kernel_quantizer="binary()", bias_quantizer="quantized_bits(6,0,alpha=1)")(y)
    return keras.Model(x, L.Activation("softmax", name="probabilities")(y), name="mixed")


def test_mixed_network():
    written = exported(mixed(), samples=256)
    assert operators(written).count("Quant") == 4 + 4 + 5 + 1 - 1
    assert operators(written).count("BipolarQuant") == 1
    assert [v.name for v in written.graph.outputs] == ["probabilities"]
    assert written.graph.name == "mixed"


def test_agreement_is_said_in_one_line(capsys):
    from_keras(mixed(), samples=8)
    assert capsys.readouterr().err.startswith("anybit: agrees with its source: 0 of 120 elements depart on 24 samples")


def test_several_inputs_and_outputs():
    a, b = keras.Input((6, 5, 2), name="a"), keras.Input((6, 5, 2), name="b")
    shared = Q.QConv2D(3, 3, padding="same", activation="quantized_relu(4,1)", name="shared", **KERNEL)
    left, right = shared(a), shared(b)
    sums = L.Add()([left, right])
    rest = L.Subtract(name="rest")([left, L.Maximum()([sums, right])])
    every = L.Concatenate()([sums, rest, L.Multiply()([left, right]), L.Minimum()([left, right])])
    mean = L.Average(name="mean")([left, right, sums])
    y = Q.QDense(3, name="head", **KERNEL)(L.GlobalAveragePooling2D()(every))
    model = keras.Model([a, b], [y, rest, mean, a])
    written = exported(model, images(4, 6, 5, 2), images(4, 6, 5, 2, seed=5), share=3e-6)
    assert (
        sum(str(name).startswith("shared/kernel") and "/quant" not in name for name in written.graph.initializers) == 1
    )
    assert [v.name for v in written.graph.outputs][:3] == ["head", "rest", "mean"]


@pytest.mark.parametrize("axes", [1, 2, (1, 2), -1])
def test_dot(axes):
    a, b = keras.Input((4, 4), name="a"), keras.Input((4, 4), name="b")
    exported(keras.Model([a, b], L.Dot(axes)([a, b])), images(3, 4, 4), images(3, 4, 4, seed=3))


def test_dot_of_vectors_has_one_column():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    written = exported(keras.Model([a, b], L.Dot(1)([a, b])), images(3, 4), images(3, 4, seed=3))
    assert list(written.graph.outputs[0].shape)[1:] == [1]


def test_nested_and_sequential():
    inner = keras.Sequential(
        [keras.Input((8,)), Q.QDense(8, name="fc", **KERNEL), Q.QActivation("quantized_relu(4,1)")], name="inner"
    )
    deep = keras.Sequential([keras.Input((8,)), inner, Q.QDense(8, name="fc", **KERNEL)], name="deep")
    x = keras.Input((8,), name="x")
    model = keras.Model(x, Q.QDense(2, name="fc", **KERNEL)(inner(inner(deep(x)))))
    exported(model, images(5, 8))
    exported(deep, images(5, 8))
    odd = keras.Sequential([keras.Input((8,)), L.LayerNormalization(name="odd")], name="again")
    with pytest.raises(FrontEndError, match="layer 'again/odd' "):
        from_keras(keras.Model(x, odd(x)))


def test_inputs_by_dictionary():
    a, b = keras.Input((4,), name="b_first"), keras.Input((4,), name="a_second")
    y = L.Subtract()([a, b])
    written = from_keras(keras.Model({"b_first": a, "a_second": b}, {"y": y}), quiet=True).model
    given = {"b_first": images(2, 4), "a_second": images(2, 4, seed=4)}
    np.testing.assert_array_equal(next(iter(run(written, given).values())), given["b_first"] - given["a_second"])


def test_batch_sizes():
    x = keras.Input((6, 5, 2), name="x")
    model = keras.Model(x, Q.QDense(2, **KERNEL)(L.Reshape((10, 6))(x)))
    assert [str(d) for d in exported(model).graph.inputs[0].shape] == ["N", "6", "5", "2"]
    assert list(exported(model, batch=4).graph.outputs[0].shape) == [4, 10, 2]
    fixed = keras.Input((8,), batch_size=3, name="x")
    assert list(exported(keras.Model(fixed, Q.QDense(2, **KERNEL)(fixed)), samples=7).graph.inputs[0].shape) == [3, 8]


def test_free_sizes():
    x = keras.Input((None, None, 2), name="x")
    model = keras.Model(x, L.GlobalAveragePooling2D()(Q.QConv2D(3, 3, padding="same", **KERNEL)(x)))
    exported(model, images(2, 5, 4, 2), inputs={"x": images(3, 6, 7, 2)})
    with pytest.raises(InputError, match="free dimensions"):
        from_keras(model)
    strided = keras.Model(x, Q.QConv2D(3, 3, strides=2, padding="same", name="c", **KERNEL)(x))
    with pytest.raises(FrontEndError, match=r"layer 'c'.*padding 'same' of a free size"):
        from_keras(strided)


def test_own_inputs_and_tolerance():
    model = mixed()
    assert exported(model, inputs={"x": images(40, 16)})
    with pytest.raises(InputError, match=r"names of the inputs: got z, expected x"):
        from_keras(model, inputs={"z": images(4, 16)})
    assert from_keras(model, tolerance=0.5, quiet=True).agreement.holds


def test_training_and_wrong_models():
    x = keras.Input((4,), name="x")
    with pytest.raises(FrontEndError, match=r"layer 'drop'.*training=True"):
        from_keras(keras.Model(x, L.Dropout(0.5, name="drop")(x, training=True)))
    with pytest.raises(FrontEndError, match="no Keras model with known inputs"):
        from_keras(keras.Sequential([Q.QDense(3)]))

    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(FrontEndError, match="no Keras model with known inputs"):
        from_keras(Own())
    with pytest.raises(FrontEndError, match="type of an input"):
        from_keras(keras.Model(i := keras.Input((3,), dtype="int32"), L.Reshape((3, 1))(i)))


def test_the_option_of_the_quantisers_comes_back():
    model = mixed()
    from_keras(model, quiet=True)
    assert all(q.use_ste for q in model.submodules if hasattr(q, "use_ste"))
