"""The torch operators: bit for bit what anybit.ops has, and straight-through gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anybit.errors import UsageError
from anybit.frontends.torch import bipolar_quant, float_quant, quant, trunc
from anybit.ops.bipolar_quant import reference as bipolar_reference
from anybit.ops.float_quant import reference as float_reference
from anybit.ops.quant import reference as quant_reference
from anybit.ops.trunc import reference as trunc_reference
from anybit.rounding import Rounding
from tests.strategies import near

DTYPES = st.sampled_from([np.float16, np.float32, np.float64])
SCALES = st.sampled_from([0.1, 0.25, 1.0, 1.7, 3e-3])
SEEDS = st.integers(0, 1 << 16)


def points(seed, scale, zero_point, dtype, lo=-40, hi=300):
    """Grid points, ties, their neighbours, and what lies beyond everything."""
    rng = np.random.default_rng(seed)
    x = near(rng, rng.integers(lo, hi, (5, 40)), np.asarray(scale), np.asarray(zero_point, np.float64), dtype)
    x[0, :4] = np.nan, np.inf, -np.inf, 0
    return x


def same(given, wanted):
    assert given.dtype == torch.from_numpy(wanted).dtype
    np.testing.assert_array_equal(given.numpy(), wanted)


@given(
    SEEDS,
    DTYPES,
    SCALES,
    st.sampled_from([0.0, 3.0, -2.0, 0.5]),
    st.sampled_from([1, 2, 3, 8, 25, 32]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(Rounding),
)
def test_quant_is_its_reference(seed, dtype, scale, zero_point, bits, signed, narrow, mode):
    x = points(seed, scale, zero_point, dtype)
    parameters = (np.float32(scale), np.float32(zero_point), bits)
    wanted = quant_reference(x, *parameters, signed=signed, narrow=narrow, rounding_mode=mode.value)
    same(quant(torch.from_numpy(x), *map(float, parameters), signed=signed, narrow=narrow, rounding=mode), wanted)


@given(SEEDS, st.booleans(), st.sampled_from(Rounding))
def test_quant_by_channel_and_by_element(seed, signed, mode):
    rng = np.random.default_rng(seed)
    x = points(seed, 0.1, 0.0, np.float32)
    s = rng.uniform(0.05, 2, (5, 1)).astype(np.float32)
    z = rng.integers(-3, 4, (5, 1)).astype(np.float32)
    bits = rng.integers(1, 30, (5, 40)).astype(np.float32)
    wanted = quant_reference(x, s, z, bits, signed=signed, rounding_mode=mode.value)
    same(quant(*map(torch.from_numpy, (x, s, z, bits)), signed=signed, rounding=mode), wanted)


@given(SEEDS, DTYPES, SCALES)
def test_bipolar_quant_is_its_reference(seed, dtype, scale):
    x = points(seed, scale, 0.0, dtype)
    same(bipolar_quant(torch.from_numpy(x), scale), bipolar_reference(x, np.float32(scale)))


@given(
    SEEDS,
    SCALES,
    st.sampled_from([0.0, 4.0]),
    st.sampled_from([1.0, 1.9, 4.0, 2**0.5, 0.5]),
    st.sampled_from([2, 4, 26]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(Rounding),
)
def test_trunc_is_its_reference(seed, scale, zero_point, factor, bits, signed, narrow, mode):
    x = points(seed, scale, zero_point, np.float32)
    parameters = (np.float32(scale), np.float32(zero_point), 8, np.float32(scale * factor), bits)
    wanted = trunc_reference(x, *parameters, signed=signed, narrow=narrow, rounding_mode=mode.value)
    same(trunc(torch.from_numpy(x), *map(float, parameters), signed=signed, narrow=narrow, rounding=mode), wanted)


@given(
    SEEDS,
    DTYPES,
    SCALES,
    st.sampled_from([(4, 3, 7, 448.0), (5, 2, 15, 57344.0), (2, 1, 1, 6.0), (3, 0, 0, 100.0)]),
    st.sampled_from([(0, 0, 1), (1, 1, 0), (0, 1, 0)]),
    st.sampled_from(Rounding),
)
def test_float_quant_is_its_reference(seed, dtype, scale, layout, overflow, mode):
    x = points(seed, scale / 8, 0.0, dtype)
    below = np.nextafter(np.exp2(np.arange(-9, 9)), 0) * scale  # where a logarithm rounds up to the next exponent
    x[1, : len(below)] = below
    flags = dict(zip(("has_inf", "has_nan", "saturation"), overflow, strict=True))
    wanted = float_reference(x, np.float32(scale), *layout, **flags, rounding_mode=mode.value)
    flags = {name: bool(value) for name, value in flags.items()}
    same(float_quant(torch.from_numpy(x), scale, *layout, **flags, rounding=mode), wanted)


def gradient(function, x):
    x = torch.tensor(x, requires_grad=True)
    function(x).sum().backward()
    return x.grad.tolist()


def test_gradients_pass_inside_the_grid_and_stop_beyond():
    # 3 bits of 0.5: -2 .. 1.5; 1.74 still rounds to the last integer, 1.76 does not
    x = [-3.0, -2.2, -2.3, 0.1, 1.74, 1.76, 9.0]
    assert gradient(lambda t: quant(t, 0.5, bit_width=3), x) == [0, 1, 0, 1, 1, 0, 0]
    assert gradient(lambda t: quant(t, 0.5, 4.0, 3, signed=False), x) == [0, 1, 0, 1, 1, 0, 0]
    assert gradient(lambda t: quant(t, 0.5, bit_width=1), [-0.6, -0.5, 0.5, 0.6]) == [0, 1, 1, 0]
    assert gradient(lambda t: bipolar_quant(t, 0.5), [-0.6, -0.5, 0.0, 0.6]) == [0, 1, 1, 0]
    assert gradient(lambda t: trunc(t, 1.0, 0, 8, 4.0, 3), [-20.0, -15.0, 15.0, 16.0]) == [0, 1, 1, 0]
    assert gradient(lambda t: float_quant(t, 1.0, 4, 3, 7, 448.0), [-500.0, -448.0, 3.3, 449.0]) == [0, 1, 1, 0]


@given(SEEDS)
def test_the_gradient_of_quant_is_the_slope_of_its_staircase(seed):
    """A secant over many steps: 1 inside, 0 beyond."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-12, 12, 20)
    wide = 0.5 * 16  # steps of the grid
    lo, hi = -64 * 0.5, 63 * 0.5
    f = lambda t: quant(torch.from_numpy(t), 0.5, bit_width=7).numpy()  # noqa: E731
    far = np.array([lo - 20, hi + 20])
    slope = (f(x + wide) - f(x - wide)) / (2 * wide)
    np.testing.assert_allclose(slope, gradient(lambda t: quant(t, 0.5, bit_width=7), x), atol=0.07)
    assert gradient(lambda t: quant(t, 0.5, bit_width=7), far) == [0, 0]


def test_training_finds_weights():
    torch.manual_seed(0)
    w = torch.zeros(4, requires_grad=True)
    x = torch.randn(64, 4)
    target = x @ torch.tensor([0.5, -0.75, 0.25, 1.0])
    for _ in range(200):
        loss = (x @ quant(w, 0.25, bit_width=4) - target).square().mean()
        loss.backward()
        with torch.no_grad():
            w -= 0.05 * w.grad
            w.grad = None
    assert quant(w, 0.25, bit_width=4).tolist() == [0.5, -0.75, 0.25, 1.0]


def test_the_operators_meet_what_torch_asks_of_them():
    x = torch.randn(3, 4)
    one, four = torch.tensor(1.0), torch.tensor(4.0)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.anybit.quant.default, (x, one, one, four, True, False, "ROUND"), test_utils=tests)
    torch.library.opcheck(torch.ops.anybit.bipolar_quant.default, (x, one), test_utils=tests)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: quant(x.int(), 1.0), "element type of X"),
        (lambda x: quant(x.bfloat16(), 1.0), "element type of X"),
        (lambda x: quant(x, torch.ones(7)), "shape of scale"),
        (lambda x: quant(x, torch.ones(1, 1, 1)), "shape of scale"),
        (lambda x: quant(x, 1.0, bit_width=0), "bit width"),
        (lambda x: quant(x, 1.0, bit_width=2.5), "bit width"),
        (lambda x: trunc(x, 1.0, 0, 8, 4.0, 0), "bit width"),
        (lambda x: float_quant(x, 1.0, 4, 3, 7, 448.0, saturation=False), "overflow"),
    ],
)
def test_bad_arguments(call, text):
    with pytest.raises(UsageError, match=text):
        call(torch.zeros(2, 3))
