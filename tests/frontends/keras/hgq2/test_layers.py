"""Layers of HGQ2 and of Keras 3, each against the framework, with formats for each element."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hgq import layers as hgq
from hgq.config import QuantizerConfig, QuantizerConfigScope
from keras import layers as plain

from anybit.errors import FrontEndError
from anybit.frontends.keras import from_keras
from tests.frontends.keras.checking import exported, images, operators
from tests.frontends.keras.hgq2.scatter import scattered

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # of Keras about torch

IMAGES = {
    "dense": lambda: hgq.QDense(5, activation="relu"),
    "dense, output": lambda: hgq.QDense(5, enable_oq=True, use_bias=False),
    "dense, no input": lambda: hgq.QDense(5, enable_iq=False),
    "conv": lambda: hgq.QConv2D(4, 3),
    "conv same": lambda: hgq.QConv2D(4, (3, 2), strides=2, padding="same", activation="relu", enable_oq=True),
    "conv groups": lambda: hgq.QConv2D(6, 3, groups=3, dilation_rate=2, use_bias=False),
    "batch norm": hgq.QBatchNormalization,
    "batch norm, no scale": lambda: hgq.QBatchNormalization(scale=False, enable_oq=True),
    "einsum dense": lambda: hgq.QEinsumDense("bhwc,cd->bhwd", output_shape=(None, None, 4), bias_axes="d"),
    "einsum dense crossed": lambda: hgq.QEinsumDense("bhwc,hcd->bwd", output_shape=(5, 4), bias_axes="wd"),
    "einsum dots": lambda: hgq.QEinsumDense("...c,cd->...d", output_shape=(4,), activation="tanh"),
    "einsum batch norm": lambda: hgq.QEinsumDenseBatchnorm("bhwc,cd->bhwd", (None, None, 4), bias_axes="d"),
    "max pool": lambda: hgq.QMaxPooling2D(2),
    "average pool": lambda: hgq.QAveragePooling2D(2, padding="same", enable_oq=True),
    "global average": hgq.QGlobalAveragePooling2D,
    "global max": lambda: hgq.QGlobalMaxPooling2D(keepdims=True),
    "sum": lambda: hgq.QSum(axes=(1, 2), scale=0.5),
    "sum, kept": lambda: hgq.QSum(axes=-1, keepdims=True),
    "mean": lambda: hgq.QMeanPow2(axes=(1, 2)),
    "table": lambda: hgq.QUnaryFunctionLUT("tanh"),
    "table of sigmoid": lambda: hgq.QUnaryFunctionLUT("sigmoid", enable_iq=False),
    "affine table": lambda: hgq.QAffinedUnaryFunctionLUT("tanh"),
    "softmax": lambda: hgq.QSoftmax(axis=-1, enable_iq=True),
    "softmax of two axes": lambda: hgq.QSoftmax(axis=(1, 2), stable=False, allow_heterogeneous_table=True),
    "plain conv": lambda: plain.Conv2D(6, 3, groups=3, strides=2, padding="same"),
    "plain depthwise": lambda: plain.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    "plain separable": lambda: plain.SeparableConv2D(4, 3, depth_multiplier=2),
    "plain transposed": lambda: plain.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "plain batch norm": plain.BatchNormalization,
    "plain pool": lambda: plain.AveragePooling2D(3, strides=2, padding="same"),
    "plain max pool": lambda: plain.MaxPooling2D(3, strides=2, padding="same"),
    "padding": lambda: plain.ZeroPadding2D(((1, 2), (0, 3))),
    "cropping": lambda: plain.Cropping2D(((1, 2), (0, 3))),
    "upsampling": lambda: plain.UpSampling2D((2, 3)),
    "reshape": lambda: plain.Reshape((-1, 9)),
    "permute": lambda: plain.Permute((3, 1, 2)),
    "flatten": plain.Flatten,
    "dropout": lambda: plain.Dropout(0.5),
    "relu": lambda: plain.ReLU(max_value=1.5, negative_slope=0.125),
    "leaky relu": lambda: plain.LeakyReLU(negative_slope=0.25),
    "prelu": lambda: plain.PReLU(alpha_initializer="random_normal"),
    "softmax layer": lambda: plain.Softmax(axis=1),
    **{
        f"activation {name}": lambda name=name: plain.Activation(name)
        for name in "relu relu6 leaky_relu sigmoid hard_sigmoid tanh softmax softplus elu selu exponential silu".split()
    },
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(("overflow", "rounding"), [("SAT", "RND"), ("WRAP", "TRN")])
def test_layer_of_images(name, overflow, rounding):
    if "plain" in name and overflow == "WRAP":
        overflow = "SAT_SYM"
    with QuantizerConfigScope(place="datalane", overflow_mode=overflow, round_mode=rounding):
        x = keras.Input((6, 5, 3), name="x")
        model = keras.Model(x, IMAGES[name]()(hgq.Quantizer(place="datalane")(x)))
    exported(scattered(model), images(6, 6, 5, 3), share=3e-6)


ONE_FORMAT = {"heterogeneous_axis": (), "homogeneous_axis": None}  # HGQ2 pads before it quantises: no format an element

LINES = {
    "conv": lambda: hgq.QConv1D(4, 3, strides=2, padding="same"),
    "causal": lambda: hgq.QConv1D(4, 3, dilation_rate=2, padding="causal", iq_conf=QuantizerConfig(**ONE_FORMAT)),
    "pool": lambda: hgq.QMaxPooling1D(2),
    "global": hgq.QGlobalAveragePooling1D,
    "batch norm": hgq.QBatchNormalization,
    "plain depthwise": lambda: plain.DepthwiseConv1D(3),
    "plain separable": lambda: plain.SeparableConv1D(4, 3, padding="same"),
    "upsampling": lambda: plain.UpSampling1D(2),
}


@pytest.mark.parametrize("name", LINES)
def test_layer_of_lines(name):
    x = keras.Input((11, 4), name="x")
    exported(scattered(keras.Model(x, LINES[name]()(x))), images(6, 11, 4), share=3e-6)


def test_volumes():
    x = keras.Input((4, 5, 3, 2), name="x")
    y = hgq.QMaxPooling3D(2)(hgq.QConv3D(3, 2, padding="same")(x))
    exported(scattered(keras.Model(x, y)), images(3, 4, 5, 3, 2), share=3e-6)


def test_batch_norm_dense():
    x = keras.Input((6,), name="x")
    model = scattered(keras.Model(x, hgq.QBatchNormDense(5, activation="relu")(x)))
    assert operators(exported(model, images(9, 6), share=3e-6)).count("BatchNormalization") == 0


MERGES = {
    "add": hgq.QAdd,
    "subtract": hgq.QSubtract,
    "multiply": hgq.QMultiply,
    "maximum": hgq.QMaximum,
    "minimum": hgq.QMinimum,
    "average": hgq.QAveragePow2,
    "dot": lambda: hgq.QDot(axes=-1),
    "einsum": lambda: hgq.QEinsum("bij,bkj->bik"),
    "output": lambda: hgq.QAdd(enable_oq=True),
    "no input": lambda: hgq.QAdd(enable_iq=False),
    "two formats": lambda: hgq.QAdd(iq_confs=[QuantizerConfig(f0=1), QuantizerConfig(f0=4, overflow_mode="SAT")]),
    "plain dot": lambda: plain.Dot((1, 2)),
    "plain concat": lambda: plain.Concatenate(axis=1),
    "plain average": plain.Average,
}


@pytest.mark.parametrize("name", MERGES)
def test_merge(name):
    a, b = keras.Input((4, 4), name="a"), keras.Input((4, 4), name="b")
    model = scattered(keras.Model([a, b], MERGES[name]()([a, b])))
    exported(model, images(5, 4, 4), images(5, 4, 4, seed=7), share=3e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (keras.ops.relu, "layer 'relu.*without a rule"),
        (lambda x: x + x, r"layer 'add.* \(Add\): layer without a rule"),
        (hgq.QDenseT(3), r"layer 'q_dense_t.* \(QDenseT\): layer without a rule"),
        (plain.LayerNormalization(name="ln"), "layer 'ln'.*without a rule"),
        (plain.Dense(2, dtype="float16", name="half"), "layer 'half'.*computes in: got float16"),
        (hgq.QDense(2, activation=lambda v: v * 2, name="own"), "layer 'own'.*activation without a rule"),
    ],
)
def test_without_a_rule(call, message):
    x = keras.Input((4,), name="x")
    with pytest.raises(FrontEndError, match=message):
        from_keras(keras.Model(x, call(x)))


def test_a_model_of_its_own_class_is_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    model = Own()
    model(np.zeros((1, 3), "float32"))
    with pytest.raises(FrontEndError, match="no Keras model with known inputs"):
        from_keras(model)
