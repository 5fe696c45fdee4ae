"""Quantisers of QKeras on activations and on weights, each against QKeras itself."""

from __future__ import annotations

import numpy as np
import pytest
import qkeras
import tf_keras as keras

from anybit.errors import FrontEndError
from anybit.frontends.keras import from_keras
from tests.frontends.keras.checking import attributes, exported, operators

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The initializer")  # of QKeras itself

ACTIVATIONS = """
quantized_bits(4,0,alpha=1) quantized_bits(6,2) quantized_bits(8,3,symmetric=1,alpha=1.0)
quantized_bits(5,1,keep_negative=False,alpha=1) quantized_bits(1,0,alpha=1) quantized_bits(1,0,keep_negative=False)
quantized_bits(2,2) quantized_bits(4,1,alpha=2.0) quantized_bits(4,1,alpha=0.3)
quantized_relu(4) quantized_relu(6,2) quantized_relu(1,1) quantized_relu(3,3)
quantized_relu(6,2,negative_slope=0.25) quantized_relu(4,2,negative_slope=1.0)
quantized_relu(4,1,negative_slope=0.03125) quantized_relu(5,3,relu_upper_bound=2.7,is_quantized_clip=False)
quantized_relu(5,1,relu_upper_bound=6,is_quantized_clip=False) quantized_relu(4,1,use_sigmoid=1)
quantized_relu(6,2,negative_slope=0.25,relu_upper_bound=1.5,is_quantized_clip=False)
quantized_tanh(4) quantized_tanh(6,symmetric=True) quantized_tanh(5,use_real_tanh=True)
quantized_sigmoid(4) quantized_sigmoid(6,symmetric=True) quantized_sigmoid(5,use_real_sigmoid=True)
quantized_hswish(5,1,relu_shift=2,relu_upper_bound=4)
binary() binary(alpha=0.5) binary(use_01=True) binary(use_01=True,alpha=2.0) stochastic_binary()
ternary() ternary(alpha=1.0,threshold=0.5) ternary(threshold=1.25) stochastic_ternary()
hard_sigmoid smooth_sigmoid hard_tanh smooth_tanh binary_sigmoid binary_tanh
""".split()  # fmt: skip


def points():
    """Every sixty-fourth from -6 to 6, its neighbours in float32, and numbers far beyond."""
    grid = np.arange(-6, 6, 1 / 64, dtype=np.float32)
    ends = np.float32([-1e3, -33.3, 17.7, 250, 1e3, 0.33, -0.33, 0.4999999, -0.5000001])
    up, down = (np.nextafter(grid, np.float32(side)) for side in (9, -9))
    every = np.concatenate([grid, up, down, ends])
    return every[(every == 0) | (np.abs(every) > 1e-30)].reshape(-1, 1)  # TensorFlow takes denormal numbers as 0


def activation(quantizer):
    x = keras.Input((1,), name="x")
    return keras.Model(x, qkeras.QActivation(quantizer)(x))


@pytest.mark.parametrize("text", ACTIVATIONS)
def test_activation(text):
    x = points()
    model = exported(activation(text), x[np.abs(x[:, 0]) < 40], share=2e-6)
    assert not set(operators(model)) & {"If", "Where"}


def test_hswish_where_it_divides():
    """Layer by layer: the graph that predict makes multiplies by the reciprocal of 6, which moves ties."""
    exported(activation("quantized_hswish(6,2)"), inputs={"x": points()})


@pytest.mark.parametrize("mode", ["real", "smooth", "hard"])
def test_internal_sigmoid(mode):
    qkeras.set_internal_sigmoid(mode)
    try:
        exported(activation("quantized_tanh(5)"), points(), share=2e-6)
    finally:
        qkeras.set_internal_sigmoid("hard")


def test_format_of_an_activation():
    [(scale, bits, *flags)] = attributes(exported(activation("quantized_bits(6,2,1)")))
    assert (float(scale), float(bits), flags) == (0.125, 6, [1, 1, "ROUND"])
    [(scale, bits, *flags)] = attributes(exported(activation("quantized_relu(6,2)")))
    assert (float(scale), float(bits), flags) == (0.0625, 6, [0, 0, "ROUND"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantized_po2(4)", "quantized_po2"),
        ("quantized_relu_po2(4)", "quantized_relu_po2"),
        ("bernoulli()", "bernoulli"),
        ("quantized_ulaw(6)", "quantized_ulaw"),
        ("quantized_bits(4,0,alpha='auto')", "alpha='auto'"),
        ("binary(alpha='auto_po2')", "alpha='auto_po2'"),
        ("quantized_bits(4,0,qnoise_factor=0.5)", "qnoise_factor=0.5"),
        ("quantized_relu(4,negative_slope=2.0)", "negative_slope=2"),
        ("quantized_relu(4,use_sigmoid=1,negative_slope=0.5)", "use_sigmoid"),
        ("quantized_bits(4,0,alpha=-1.0)", "alpha of a quantiser"),
    ],
)
def test_activation_without_a_rule(text, message):
    with pytest.raises(FrontEndError, match=f"layer 'q_act.*{message}"):
        from_keras(activation(text))


WEIGHTS = """
quantized_bits(4,0,alpha=1) quantized_bits(4,0) quantized_bits(6,1,alpha='auto') quantized_bits(3,0,alpha='auto_po2')
quantized_bits(8,2,symmetric=1,alpha=1) quantized_bits(5,0,keep_negative=False,alpha=1) quantized_bits(4,0,alpha=0.7)
quantized_bits(1,0,alpha=1) quantized_bits(6,1,keep_negative=False,alpha='auto')
binary() binary(alpha=1) binary(alpha='auto') binary(use_01=True,alpha=1) stochastic_binary(alpha='auto_po2')
ternary() ternary(alpha=1.0,threshold=0.2) ternary(alpha='auto') stochastic_ternary(alpha='auto')
quantized_po2(4) quantized_relu_po2(4) quantized_ulaw(4) quantized_ulaw(6,1,symmetric=1)
""".split()  # fmt: skip


@pytest.mark.parametrize("text", WEIGHTS)
def test_weights(text):
    x = keras.Input((12,), name="x")
    y = qkeras.QActivation("quantized_bits(8,2,alpha=1)")(x)
    dense = qkeras.QDense(7, kernel_quantizer=text, bias_quantizer="quantized_bits(6,1,alpha=1)")
    model = keras.Model(x, dense(y))
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(12, 7)).astype("f") * 0.5
    kernel[:, 2] = 0  # a channel that has no scale
    dense.set_weights([kernel, rng.normal(size=7).astype("f")])
    written = exported(model, rng.normal(size=(40, 12)).astype("f"))
    quantizers = [op for op in operators(written) if "Quant" in op]
    assert len(quantizers) == (2 if "po2(" in text or "ulaw" in text else 3)


@pytest.mark.parametrize("text", ["bernoulli()", "quantized_relu(4)", "quantized_tanh(4)"])
def test_weights_without_a_rule(text):
    x = keras.Input((3,))
    model = keras.Model(x, qkeras.QDense(2, kernel_quantizer=text, name="head")(x))
    with pytest.raises(FrontEndError, match=r"layer 'head' \(QDense\): quantiser of the kernel without a rule"):
        from_keras(model)
