"""Layers of QKeras and of Keras between them, each against the framework."""

from __future__ import annotations

import numpy as np
import pytest
import qkeras
import tensorflow as tf
import tf_keras as keras

from anybit.errors import FrontEndError
from anybit.frontends.keras import from_keras
from tests.frontends.keras.checking import exported, images, operators

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The initializer")  # of QKeras itself

KERNEL = {"kernel_quantizer": "quantized_bits(4,0,alpha=1)", "bias_quantizer": "quantized_bits(6,1,alpha=1)"}
AUTO = {"kernel_quantizer": "quantized_bits(4,0,alpha='auto')", "bias_quantizer": "quantized_bits(6,1,alpha=1)"}
DEPTHWISE = {"depthwise_quantizer": "quantized_bits(4,0,alpha='auto_po2')", "bias_quantizer": KERNEL["bias_quantizer"]}
SEPARABLE = {**DEPTHWISE, "pointwise_quantizer": "ternary()"}
L, Q = keras.layers, qkeras


IMAGE_LAYERS = {
    "conv": lambda: Q.QConv2D(5, 3, **KERNEL),
    "conv auto": lambda: Q.QConv2D(5, (3, 2), strides=(2, 1), padding="same", **AUTO),
    "conv even same": lambda: Q.QConv2D(4, 4, strides=3, padding="same", activation="quantized_relu(4,1)", **KERNEL),
    "conv dilated": lambda: Q.QConv2D(4, 3, dilation_rate=2, padding="same", use_bias=False, **KERNEL),
    "conv binary": lambda: Q.QConv2D(4, 3, kernel_quantizer="binary()", use_bias=False),
    "conv float bias": lambda: Q.QConv2D(4, 3, kernel_quantizer="ternary(alpha='auto')"),
    "conv float": lambda: Q.QConv2D(4, 3),
    "plain conv": lambda: L.Conv2D(6, 3, groups=3, padding="same", activation="relu"),
    "plain transposed": lambda: L.Conv2DTranspose(4, 4, strides=2, padding="same"),
    "depthwise": lambda: Q.QDepthwiseConv2D(3, padding="same", **DEPTHWISE),
    "depthwise twice": lambda: Q.QDepthwiseConv2D(3, depth_multiplier=2, strides=2, **DEPTHWISE),
    "plain depthwise": lambda: L.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    "separable": lambda: Q.QSeparableConv2D(5, 3, depth_multiplier=2, padding="same", **SEPARABLE),
    "plain separable": lambda: L.SeparableConv2D(5, 3, strides=2, padding="same"),
    "folded": lambda: Q.QConv2DBatchnorm(5, 3, padding="same", activation="quantized_relu(4,1)", **KERNEL),
    "folded ema": lambda: Q.QConv2DBatchnorm(5, 3, folding_mode="ema_stats_folding", use_bias=False, **AUTO),
    "folded depthwise": lambda: Q.QDepthwiseConv2DBatchnorm(3, **DEPTHWISE),
    "dense of images": lambda: Q.QDense(4, activation="quantized_bits(5,2,alpha=1)", **KERNEL),
    "batch norm": Q.QBatchNormalization,
    "batch norm fixed": lambda: Q.QBatchNormalization(
        **{f"{p}_quantizer": "quantized_bits(8,3,alpha=1)" for p in ("gamma", "beta", "mean")}, variance_quantizer=None
    ),
    "plain batch norm": lambda: L.BatchNormalization(scale=False),
    "max pool": L.MaxPooling2D,
    "max pool same": lambda: L.MaxPooling2D(3, strides=2, padding="same"),
    "average pool": lambda: L.AveragePooling2D((2, 3), strides=2, padding="same"),
    "quantised average": lambda: Q.QAveragePooling2D(2, average_quantizer="quantized_bits(6,0,alpha=1)"),
    "average, activation": lambda: Q.QAveragePooling2D(2, activation="quantized_bits(5,1,alpha=1)"),
    "global average": lambda: Q.QGlobalAveragePooling2D(
        average_quantizer="quantized_bits(8,0,alpha=1)", activation="quantized_bits(6,1,alpha=1)"
    ),
    "plain global average": L.GlobalAveragePooling2D,
    "global max": lambda: L.GlobalMaxPooling2D(keepdims=True),
    "padding": lambda: L.ZeroPadding2D(((1, 2), (0, 3))),
    "cropping": lambda: L.Cropping2D(((1, 2), (0, 3))),
    "upsampling": lambda: L.UpSampling2D((2, 3)),
    "reshape": lambda: L.Reshape((-1, 6)),
    "permute": lambda: L.Permute((3, 1, 2)),
    "flatten": L.Flatten,
    "dropout": lambda: L.SpatialDropout2D(0.5),
    "softmax": lambda: L.Softmax(axis=2),
    "relu": lambda: L.ReLU(max_value=1.5, negative_slope=0.125),
    "leaky relu": lambda: L.LeakyReLU(0.25),
    "prelu": lambda: L.PReLU(shared_axes=[1], alpha_initializer="random_normal"),
    "elu": lambda: L.ELU(0.5),
    **{
        f"activation {name}": lambda name=name: L.Activation(name)
        for name in "relu sigmoid hard_sigmoid tanh softmax softplus softsign elu selu exponential swish linear".split()
    },
    "activation of qkeras": lambda: L.Activation(Q.quantized_bits(4, 1, alpha=1)),
}  # fmt: skip


def settled(model, seed=0):
    """The model with parameters that no initializer gives: biases, scales and statistics of their own."""
    rng = np.random.default_rng(seed)
    for layer in model.submodules:
        for name, low, high in (
            ("gamma", 0.5, 2),
            ("beta", -1, 1),
            ("moving_mean", -1, 1),
            ("moving_variance", 0.5, 2),
        ):
            variable = getattr(layer, name, None)
            if variable is not None:
                variable.assign(rng.uniform(low, high, variable.shape))
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.uniform(-1, 1, layer.bias.shape))
    return model


@pytest.mark.parametrize("name", IMAGE_LAYERS)
def test_layer_of_images(name):
    x = keras.Input((9, 8, 3), name="x")
    y = IMAGE_LAYERS[name]()(qkeras.QActivation("quantized_bits(8,2,alpha=1)")(x))
    exported(settled(keras.Model(x, y)), images(5, 9, 8, 3), share=3e-6)


LINES = {
    "conv": lambda: Q.QConv1D(5, 3, strides=2, padding="same", **AUTO),
    "causal": lambda: Q.QConv1D(5, 3, dilation_rate=2, padding="causal", **KERNEL),
    "separable": lambda: Q.QSeparableConv1D(5, 3, padding="same", **SEPARABLE),
    "plain depthwise": lambda: L.DepthwiseConv1D(3, depth_multiplier=2),
    "pool": lambda: L.AveragePooling1D(3, strides=2, padding="same"),
    "max pool": lambda: L.MaxPooling1D(2),
    "global": L.GlobalMaxPooling1D,
    "batch norm": L.BatchNormalization,
    "padding": lambda: L.ZeroPadding1D((1, 2)),
    "cropping": lambda: L.Cropping1D(2),
    "upsampling": lambda: L.UpSampling1D(3),
}


@pytest.mark.parametrize("name", LINES)
def test_layer_of_lines(name):
    x = keras.Input((11, 4), name="x")
    y = LINES[name]()(qkeras.QActivation("quantized_bits(8,2,alpha=1)")(x))
    exported(settled(keras.Model(x, y)), images(6, 11, 4), share=3e-6)


TRANSPOSED = {
    "same": lambda: Q.QConv2DTranspose(4, 3, strides=2, padding="same", **AUTO),
    "valid": lambda: Q.QConv2DTranspose(4, 2, strides=3, **KERNEL),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed(name, monkeypatch):
    # QKeras 0.9 calls a function that TensorFlow has moved since: without it the layer cannot be called at all.
    monkeypatch.setattr(qkeras.qconvolutional.array_ops, "stack", tf.stack, raising=False)
    x = keras.Input((9, 8, 3), name="x")
    y = TRANSPOSED[name]()(qkeras.QActivation("quantized_bits(8,2,alpha=1)")(x))
    exported(settled(keras.Model(x, y)), images(5, 9, 8, 3), share=3e-6)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: L.Conv2D(2, 3, data_format="channels_first"), "data format: got channels_first"),
        (lambda: L.UpSampling2D(2, interpolation="bilinear"), "interpolation: got bilinear"),
        (L.LayerNormalization, "layer without a rule: got tf_keras.*LayerNormalization"),
        (lambda: L.Lambda(lambda x: x + 1), "layer without a rule: got tf_keras.*Lambda"),
        (lambda: L.BatchNormalization(axis=1), "axis of a normalisation"),
        (lambda: L.Activation("gelu"), "activation without a rule: got gelu"),
        (lambda: L.Activation(lambda x: x), "activation without a rule: got <lambda>"),
        (lambda: L.ReLU(threshold=1.0), "threshold of a ReLU"),
        (lambda: L.Conv2DTranspose(2, 3, strides=2, output_padding=1), "dilation or output padding"),
        (lambda: L.Dense(3, dtype="float64"), "type that the layer computes in: got float64"),
        (lambda: L.Dense(3, activation=Q.quantized_po2(4)), "quantiser of an activation without a rule"),
    ],
)
def test_layer_without_a_rule(layer, message):
    x = keras.Input((8, 6, 4), name="x")
    made = layer()
    model = keras.Model(x, made(x))
    with pytest.raises(FrontEndError, match=f"layer '{made.name}'.*{message}"):
        from_keras(model)


def test_a_subclass_is_another_layer():
    class Dense(L.Dense):
        def call(self, inputs):
            return super().call(inputs) + 1

    x = keras.Input((3,))
    with pytest.raises(FrontEndError, match=r"layer 'dense.*without a rule"):
        from_keras(keras.Model(x, Dense(2)(x)))


def test_channels_stay_in_front_between_convolutions():
    x = keras.Input((8, 8, 3), name="x")
    y = Q.QConv2D(4, 3, **KERNEL)(x)
    y = L.MaxPooling2D()(Q.QActivation("quantized_relu(4)")(L.BatchNormalization()(y)))
    y = L.Add()([y, Q.QConv2D(4, 3, padding="same", **KERNEL)(y)])
    written = exported(keras.Model(x, Q.QDense(2, **KERNEL)(L.Flatten()(y))))
    assert operators(written).count("Transpose") == 2
    assert [list(v.shape)[1:] for v in written.graph.inputs] == [[8, 8, 3]]
