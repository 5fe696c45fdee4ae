"""The kinds of nets of QKeras' and hls4ml's own public examples, smaller: as made and briefly trained, on inputs that
the export has not seen, by both engines."""

from __future__ import annotations

import numpy as np
import pytest
import qkeras
import tensorflow as tf
import tf_keras as keras

from anybit import run
from anybit.errors import FrontEndError
from anybit.frontends.keras import from_keras
from tests.frontends.keras.checking import exported, images

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The initializer")  # of QKeras itself

L, Q = keras.layers, qkeras


def _both(quantizer):
    return {"kernel_quantizer": quantizer, "bias_quantizer": quantizer}


_FOUR = _both("quantized_bits(4,0,1)")  # its scale comes from the weights
_SIX = _both("quantized_bits(6,0,alpha=1)")


def _jets():
    """Dense layers for jet tagging, as a sequence."""
    layers = [keras.Input((16,))]
    for width in (24, 16, 16):
        layers += [Q.QDense(width, **_SIX), Q.QActivation("quantized_relu(6)")]
    return keras.Sequential([*layers, Q.QDense(5, **_SIX), L.Activation("softmax")])


def _digits():
    """Convolutions with strides in the place of pools."""
    y = x = keras.Input((12, 12, 1), name="x")
    for width, size in ((6, 2), (8, 3)):
        y = Q.QActivation("quantized_relu(4,0)")(Q.QConv2D(width, size, strides=2, **_FOUR)(y))
    return keras.Model(x, L.Activation("softmax")(Q.QDense(10, **_FOUR)(L.Flatten()(y))))


def _autoencoder_of_digits():
    """Convolutions, then transposed ones."""
    y = x = keras.Input((9, 9, 1), name="x")
    for layer, width in ((Q.QConv2D, 6), (Q.QConv2D, 4), (Q.QConv2DTranspose, 4), (Q.QConv2DTranspose, 6)):
        y = Q.QActivation("quantized_relu(4,0)")(layer(width, 3, **_FOUR)(y))
    return keras.Model(x, L.Activation("sigmoid")(Q.QConv2D(1, 3, padding="same", **_FOUR)(y)))


def _normalised_digits():
    """Ternary kernels, normalised by powers of two; the last kernel is logarithmic."""
    y = x = keras.Input((12, 12, 1), name="x")
    for width in (6, 8):
        y = Q.QConv2D(width, 3, kernel_quantizer="ternary(alpha=1,threshold=0.1)", use_bias=False)(y)
        y = Q.QBatchNormalization(
            gamma_quantizer="quantized_relu_po2(4,8)",
            variance_quantizer="quantized_relu_po2(6)",
            beta_quantizer="quantized_po2(4,4)",
            mean_quantizer="quantized_bits(8,3,alpha=1)",
        )(y)
        y = L.MaxPooling2D(2)(Q.QActivation("quantized_relu(3,1)")(y))
    dense = Q.QDense(10, kernel_quantizer="quantized_ulaw(4,0,1)", bias_quantizer="quantized_bits(4,0,1)")
    return keras.Model(x, L.Activation("softmax")(dense(L.Flatten()(y))))


def _powers_of_two():
    """Kernels of powers of two, ternary activations, and pools."""
    y = x = keras.Input((14, 14, 3), name="x")
    for activation in ("ternary()", "quantized_relu(6,2)"):
        y = Q.QConv2D(6, 3, **_both("quantized_po2(4,1)"))(y)
        y = L.MaxPooling2D(2)(Q.QActivation(activation)(y))
    return keras.Model(x, Q.QDense(10, **_FOUR)(L.Flatten()(y)))


def _house_numbers():
    """Convolutions with their normalisation folded, then dense layers with theirs beside them."""
    y = x = keras.Input((18, 18, 3), name="x")
    for width in (4, 6):
        y = Q.QConv2DBatchnorm(width, 3, **_SIX)(y)
        y = L.MaxPooling2D(2)(Q.QActivation("quantized_relu(6)")(y))
    y = L.Flatten()(y)
    y = Q.QActivation("quantized_relu(6)")(L.BatchNormalization()(Q.QDense(8, use_bias=False, **_SIX)(y)))
    return keras.Model(x, L.Activation("softmax")(L.Dense(10)(y)))


def _residual():
    """Blocks around which what went in is added, one of them with a stride."""
    kernel = {"kernel_quantizer": "quantized_bits(4,0,alpha='auto_po2')", "use_bias": False}
    y = x = keras.Input((12, 12, 3), name="x")
    for width, stride in ((4, 1), (6, 2)):
        inner = L.BatchNormalization()(Q.QConv2D(width, 3, strides=stride, padding="same", **kernel)(y))
        inner = Q.QConv2D(width, 3, padding="same", **kernel)(Q.QActivation("quantized_relu(4,1)")(inner))
        around = Q.QConv2D(width, 1, strides=stride, **kernel)(y)
        both = [Q.QActivation("quantized_bits(6,2,alpha=1)")(t) for t in (around, inner)]
        y = Q.QActivation("quantized_relu(4,1)")(L.Add()(both))
    y = Q.QGlobalAveragePooling2D(average_quantizer="quantized_bits(8,0,alpha=1)")(y)
    return keras.Model(x, Q.QDense(10, **_SIX)(y))


def _anomalies():
    """Narrow in the middle, as wide at the end as at the beginning."""
    y = x = keras.Input((24,), name="x")
    for width in (16, 3, 16):
        y = Q.QActivation("quantized_relu(8,4)")(L.BatchNormalization()(Q.QDense(width, **_SIX)(y)))
    return keras.Model(x, Q.QDense(24, **_SIX)(y))


NETS = {
    "jets": _jets,
    "digits": _digits,
    "autoencoder of digits": _autoencoder_of_digits,
    "normalised digits": _normalised_digits,
    "powers of two": _powers_of_two,
    "house numbers": _house_numbers,
    "residual": _residual,
    "anomalies": _anomalies,
}


def _trained(model):
    """After a few steps towards random targets."""
    shapes = [model.inputs[0].shape[1:], model.outputs[0].shape[1:]]
    x, wanted = (np.random.default_rng(n).random((32, *shape)).astype("f") for n, shape in enumerate(shapes))
    model.compile(loss="mse", optimizer=keras.optimizers.legacy.Adam(0.02))
    model.fit(x, wanted, epochs=2, batch_size=8, verbose=0)
    return model


@pytest.mark.parametrize("trained", [False, True], ids=["as made", "trained"])
@pytest.mark.parametrize("name", NETS)
def test_a_net_of_the_examples(name, trained, monkeypatch):
    # QKeras 0.9 calls a function that TensorFlow has moved since, without which transposed layers cannot be called.
    monkeypatch.setattr(qkeras.qconvolutional.array_ops, "stack", tf.stack, raising=False)
    keras.utils.set_random_seed(4)
    model = _trained(NETS[name]()) if trained else NETS[name]()
    written = exported(model, samples=16)
    x = np.round(85 * images(24, *model.inputs[0].shape[1:], seed=9)) / 64  # of which products have few digits
    wanted = model.predict(x, verbose=0)
    for engine in ("reference", "onnxruntime"):
        given = next(iter(run(written, x, engine=engine).values()))
        np.testing.assert_allclose(given, wanted, rtol=0, atol=3e-6 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "quantizer", ["quantized_relu_po2(4)", "quantized_po2(4,2)", "bernoulli()", "quantized_ulaw(4)"]
)
def test_activations_of_the_examples_without_a_rule(quantizer):
    x = keras.Input((6,), name="x")
    model = keras.Model(x, Q.QDense(2, **_FOUR)(Q.QActivation(quantizer, name="first")(x)))
    with pytest.raises(FrontEndError, match=rf"layer 'first'.*without a rule: got {quantizer.partition('(')[0]}"):
        from_keras(model)
