"""Quantisers of HGQ2, bit for bit: every rounding and overflow, formats of each element, no bits, a sign bit only."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hgq.config import QuantizerConfig
from hgq.layers import QDense, Quantizer

from anybit.errors import FrontEndError
from anybit.frontends.keras import from_keras
from tests.frontends.keras.checking import attributes, exported, operators

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # of Keras about torch

ROUNDINGS = "TRN TRN_ZERO RND RND_CONV RND_INF RND_ZERO RND_MIN_INF S_RND S_RND_CONV".split()
OVERFLOWS = "SAT SAT_SYM WRAP".split()


def points(width):
    """Numbers for each element: every sixty-fourth from -6 to 6, next to those, and numbers far beyond.

    Nothing nearer to a tie: just below a half HGQ2's RND_INF rounds x + 0.5 up in float32, Quant's HALF_UP does not.
    """
    grid, near = np.arange(-6, 6, 1 / 64, dtype=np.float32), np.float32(2.0**-20)
    ends = np.float32([-1e3, -33.3, 17.7, 250, 1e3, 1e5, -1e5])
    return np.repeat(np.concatenate([grid, grid + near, grid - near, ends])[:, None], width, axis=1)


def model_of(width, rounding, overflow, q_type="kif", **options):
    x = keras.Input((width,), name="x")
    layer = Quantizer(q_type=q_type, place="datalane", round_mode=rounding, overflow_mode=overflow, **options)
    return keras.Model(x, layer(x)), layer.quantizer


def assign(quantizer, **values):
    for name, array in values.items():
        variable = getattr(quantizer, f"_{name}")
        variable.assign(np.broadcast_to(np.asarray(array), tuple(variable.shape)).astype("float32"))


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_formats_of_elements(rounding, overflow):
    formats = np.array([(k, i, f) for k in (0, 1) for i in (-2, 0, 1, 3) for f in (-2, -1, 0, 1, 4)])
    model, quantizer = model_of(len(formats), rounding, overflow)
    for kept in (formats, np.where(formats[:, :1] >= 0, [[1, 2, 3]], formats), formats * [0, 1, 1]):
        assign(quantizer, k=kept[:, 0], i=kept[:, 1], f=kept[:, 2])
        exported(model, points(len(formats)), share=0)


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_bits_and_integer_bits(overflow):
    formats = np.array([(k, b, i) for k in (0, 1) for b in (0, 1, 2, 5) for i in (-3, 0, 2)])
    model, quantizer = model_of(len(formats), "RND", overflow, q_type="kbi")
    assign(quantizer, k=formats[:, 0], b=formats[:, 1], i=formats[:, 2])
    exported(model, points(len(formats)), share=0)


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_no_bits_at_all_and_a_sign_bit_only(overflow):
    model, quantizer = model_of(3, "RND_CONV", overflow, heterogeneous_axis=(), homogeneous_axis=None)
    assign(quantizer, k=1, i=-2, f=0)
    exported(model, points(3), share=0)
    assign(quantizer, k=1, i=0, f=0)
    exported(model, points(3), share=0)


def test_format_that_is_written():
    model, quantizer = model_of(3, "RND_CONV", "SAT_SYM")
    assign(quantizer, k=1, i=[1, 2, 0], f=3)
    [(scale, bits, *flags)] = attributes(exported(model))
    assert (float(scale), bits.tolist(), flags) == (0.125, [5, 6, 4], [1, 1, "ROUND"])
    model, quantizer = model_of(3, "RND", "SAT")
    assign(quantizer, k=0, i=2, f=[3, 1, 1])
    written = exported(model)
    [(scale, bits, *flags)] = attributes(written)
    assert (scale.tolist(), bits.tolist(), flags) == ([0.125, 0.5, 0.5], [5, 3, 3], [0, 0, "FLOOR"])
    assert operators(written) == ["Add", "Quant"]


def test_scaler_and_affine():
    model, _ = model_of(2, "RND", "SAT", scaler=0.3, affine=(0.25, 0.5))
    exported(model, points(2))


def test_dummy():
    x = keras.Input((3,), name="x")
    written = exported(keras.Model(x, Quantizer(QuantizerConfig("dummy"))(x)))
    assert operators(written) == ["Identity"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: Quantizer(q_type="kif", overflow_mode="WRAP_SM"), "modes of .*: got RND, WRAP_SM"),
        (lambda: Quantizer(q_type="kbi", place="weight", overflow_mode="WRAP", homogeneous_axis=(0,)), "does not wrap"),
        (lambda: QDense(2, kq_conf=QuantizerConfig("kbi", "weight", scaler=2.0)), "quantiser of the kernel.*scaler"),
    ],
)
def test_quantizer_without_a_rule(layer, message):
    x = keras.Input((3,), name="x")
    made = layer()
    with pytest.raises(FrontEndError, match=f"layer '{made.name}'.*{message}"):
        from_keras(keras.Model(x, made(x)))


def test_minifloats_are_refused():
    # HGQ2 0.2 cannot make its own (it passes an argument on that they do not take), so one is made of another class.
    model, quantizer = model_of(2, "RND", "SAT")
    quantizer.__class__ = type("FloatPointQuantizer", (type(quantizer),), {})
    with pytest.raises(FrontEndError, match=r"layer 'quantizer.* without a rule: got FloatPointQuantizer"):
        from_keras(model)


def test_weights_that_a_wrapping_quantizer_leaves_wide():
    x = keras.Input((4,), name="x")
    conf = QuantizerConfig("kbi", "weight", overflow_mode="WRAP", b0=4, i0=0)
    dense = QDense(3, kq_conf=conf, use_bias=False)
    model = keras.Model(x, dense(x))
    dense.kernel.assign(np.linspace(-9, 9, 12).reshape(4, 3).astype("float32"))
    exported(model, points(4)[::7], share=1e-5)
