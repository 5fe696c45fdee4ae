"""Values that break quantisers, as hypothesis strategies, and the settings that make a property test repeatable."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

Array = np.ndarray[Any, Any]

MODES = ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
FLOATS = (np.float16, np.float32, np.float64)
BIT_WIDTHS = (*range(1, 17), 24, 25, 26, 31, 32)

modes = st.sampled_from(MODES)
flags = st.sampled_from((0, 1))
float_types = st.sampled_from(FLOATS)
# Seeds of numpy generators. Lists, since hypothesis draws the same few integers again and again.
seeds = st.lists(st.integers(0, 255), min_size=6, max_size=6)


_MOST_EXAMPLES = int(os.environ.get("ANYBIT_MOST_EXAMPLES", str(1 << 20)))  # mutation tests want few of each


_SHARES = {10: 0.1, 50: 0.25}  # of the examples, by those of the profile: `make test` and CI


def examples(count: int) -> settings:
    """Settings of a repeatable property test with so many examples in `make test-all`, a quarter of them in CI, and a
    tenth in `make test`.
    """
    share = _SHARES.get(settings.default.max_examples, 1.0)
    return settings(
        max_examples=min(max(1, round(count * share)), _MOST_EXAMPLES),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


def in_parts(parts: int, *strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[int], None]]:
    """Turns a test of examples into one of a part of them, which draws others than the other parts.

    In CI the part is the seed, so that a run can be repeated; the nightly profile draws from fresh seeds.

    Args:
        parts: How many tests the examples of the profile (100 here, 500 in CI, 20,000 nightly) are spread over.
        strategies: What the test gets, by position.
    """
    count = settings.default.max_examples * 10
    repeatable = settings.default.derandomize
    chosen = settings(
        examples(1),
        max_examples=min(count // parts, _MOST_EXAMPLES),
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
    )

    def decorate(test: Callable[..., None]) -> Callable[[int], None]:
        @pytest.mark.parametrize("part", range(parts))
        def run(part: int) -> None:
            seed(part if repeatable else secrets.randbits(64))(chosen(given(*strategies)(test)))()

        run.__doc__ = test.__doc__
        return run

    return decorate


def special_values(dtype: type[np.floating[Any]]) -> Array:
    """NaN, infinities, zeros, the ends of the range, and the numbers at which textbook rounding fails."""
    info = np.finfo(dtype)
    edges = [0.0, 0.5, 1.0, 1.5, 2.5, 0.49999997, 2.0 ** (info.nmant), 2.0 ** (info.nmant + 1), 8388609.0, 2.0**31]
    with np.errstate(over="ignore"):
        base = np.array([np.nan, np.inf, info.max, info.tiny, info.smallest_subnormal, *edges], dtype)
        near = np.concatenate([base, np.nextafter(base, dtype(0)), np.nextafter(base, dtype(np.inf))])
    return np.concatenate([near, -near])


@st.composite
def parameter_shapes(draw: st.DrawFn, shape: Sequence[int]) -> tuple[int, ...]:
    """A shape that broadcasts into `shape`: scalar, per axis, per element."""
    rank = draw(st.integers(0, len(shape)))
    kept = shape[len(shape) - rank :]
    return tuple(draw(st.sampled_from((1, size))) for size in kept)


x_shapes = st.sampled_from(
    [(2, 3, 4), (1,), (9,), (3, 4), (4, 3), (1, 4, 2, 2), (2, 1, 5), (3, 1, 4), (), (0,), (2, 0, 3)]
)


def positive_scales(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Powers of two, decimal fractions and arbitrary numbers, none near the ends of float16."""
    kind = rng.integers(0, 3, shape)
    power = np.exp2(rng.integers(-8, 4, shape))
    decimal = rng.integers(1, 300, shape) / 100
    return np.asarray(np.choose(kind, [power, decimal, rng.uniform(0.01, 4, shape)])).astype(dtype)


def near(rng: np.random.Generator, grid: Array, scale: Array, zero_point: Array, dtype: Any) -> Array:
    """Real numbers on, halfway between, and one float beside the integers `grid`; and special values."""
    offset = rng.choice([0, 0.5, -0.5, 0.25, 0.49999997, 1e-6], grid.shape)
    with np.errstate(all="ignore"):
        exact = (grid + offset - zero_point.astype(np.float64)) * scale.astype(np.float64)
        x = np.broadcast_to(exact, grid.shape).astype(dtype)
        beside = np.nextafter(x, rng.choice([-np.inf, np.inf], grid.shape).astype(dtype))
        spread = (rng.standard_normal(grid.shape) * np.exp2(rng.uniform(-6, 12, grid.shape))).astype(dtype)
    special = rng.choice(special_values(dtype), grid.shape)
    return np.asarray(np.choose(rng.choice(4, grid.shape, p=[0.4, 0.3, 0.15, 0.15]), [x, beside, special, spread]))


@dataclass(frozen=True)
class ParameterTypes:
    """Element types of X, the real parameters (scales), the zero point, and the bit widths."""

    x: Any
    real: Any
    zero_point: Any
    bits: Any


PARAMETER_TYPES = tuple(
    types
    for x in FLOATS
    for types in (
        ParameterTypes(x, x, x, np.float32),
        ParameterTypes(x, np.float32, np.int8, np.int8),
        ParameterTypes(x, np.float64, np.float32, np.int64),
    )
)


@dataclass(frozen=True)
class QuantCase:
    """Inputs and attributes of one Quant node."""

    x: Array
    scale: Array
    zero_point: Array
    bits: Array
    signed: int
    narrow: int
    mode: str

    @property
    def inputs(self) -> tuple[Array, ...]:
        return self.x, self.scale, self.zero_point, self.bits

    @property
    def attributes(self) -> dict[str, Any]:
        return {"signed": self.signed, "narrow": self.narrow, "rounding_mode": self.mode}


def zero_points(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, *, largest: int = 100) -> Array:
    """Zero, whole and, where the type has them, fractional numbers."""
    whole = rng.integers(-largest, largest + 1, shape)
    kind = rng.integers(0, 4)
    values = np.zeros(shape) if kind == 0 else whole + (0.0 if kind == 1 else rng.choice([0.5, 0.25, 0.3], shape))
    return np.asarray(np.trunc(values) if np.dtype(dtype).kind == "i" else values).astype(dtype)


@st.composite
def quant_cases(draw: st.DrawFn, types: Sequence[ParameterTypes] = PARAMETER_TYPES) -> QuantCase:
    """Quant nodes of every kind: any width, mode, grid, element type; scalar to per-element parameters."""
    kinds, shape = draw(st.sampled_from(types)), draw(x_shapes)
    signed, narrow, mode = draw(flags), draw(flags), draw(modes)
    widths = draw(st.lists(st.sampled_from(BIT_WIDTHS), min_size=1, max_size=3))
    scale_shape, zero_shape, bits_shape = (draw(parameter_shapes(shape)) for _ in range(3))
    rng = np.random.default_rng(draw(seeds))
    bits = rng.choice(widths, bits_shape).astype(kinds.bits)
    scale = positive_scales(rng, scale_shape, kinds.real)
    zero_point = zero_points(rng, zero_shape, kinds.zero_point)
    half = np.exp2(np.broadcast_to(bits, shape).astype(np.float64) - 1)
    grid = np.rint(rng.uniform(-1.3, 2.2, shape) * half)
    ends = rng.choice(3, shape)
    grid = np.choose(ends, [grid, half * (1 if signed else 2) - 1, -half * signed])
    x = near(rng, np.asarray(grid), scale, zero_point, kinds.x)
    return QuantCase(x, scale, zero_point, np.asarray(bits), signed, narrow, mode)


@dataclass(frozen=True)
class Case:
    """Inputs and attributes of one node of any operator."""

    inputs: tuple[Array, ...]
    attributes: dict[str, Any]


@st.composite
def bipolar_cases(draw: st.DrawFn) -> Case:
    """BipolarQuant nodes, X close to zero."""
    kinds, shape = draw(st.sampled_from(PARAMETER_TYPES)), draw(x_shapes)
    scale_shape = draw(parameter_shapes(shape))
    rng = np.random.default_rng(draw(seeds))
    zero = np.zeros(scale_shape)
    x = near(rng, rng.integers(-1, 2, shape), np.ones(()), zero, kinds.x)
    return Case((x, positive_scales(rng, scale_shape, kinds.real)), {})


def _integers(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int, dtype: Any) -> Array:
    return np.asarray(rng.integers(low, high + 1, shape)).astype(dtype)


@st.composite
def trunc_1_cases(draw: st.DrawFn) -> Case:
    """Trunc nodes of version 1; X close to the integers at which a shift by `in - out` bits rounds."""
    kinds, shape = draw(st.sampled_from(PARAMETER_TYPES)), draw(x_shapes)
    scale_shape, zero_shape, in_shape, out_shape = (draw(parameter_shapes(shape)) for _ in range(4))
    mode = draw(modes)
    rng = np.random.default_rng(draw(seeds))
    scale = positive_scales(rng, scale_shape, kinds.real)
    zero_point = zero_points(rng, zero_shape, kinds.zero_point)
    in_bits, out_bits = (_integers(rng, s, 1, 16, kinds.bits) for s in (in_shape, out_shape))
    half_step = np.exp2(np.maximum(0.0, in_bits.astype(np.float64) - out_bits.astype(np.float64) - 1))
    grid = np.broadcast_to(half_step, shape) * rng.integers(-9, 10, shape) + rng.integers(-1, 2, shape)
    x = near(rng, grid, scale, zero_point, kinds.x)
    return Case((x, scale, zero_point, in_bits, out_bits), {"rounding_mode": mode})


@st.composite
def trunc_2_cases(draw: st.DrawFn, widths: Sequence[int] = BIT_WIDTHS) -> Case:
    """Trunc nodes of version 2; the ratio of the scales is a power of two, or nearly one, or arbitrary."""
    kinds, shape = draw(st.sampled_from(PARAMETER_TYPES)), draw(x_shapes)
    scale_shape, zero_shape, in_shape, out_scale_shape, out_shape = (draw(parameter_shapes(shape)) for _ in range(5))
    mode, signed, narrow = draw(modes), draw(flags), draw(flags)
    rng = np.random.default_rng(draw(seeds))
    scale = positive_scales(rng, scale_shape, kinds.real)
    zero_point = zero_points(rng, zero_shape, kinds.zero_point)
    in_bits = _integers(rng, in_shape, 1, 16, kinds.bits)
    out_bits = rng.choice(widths, out_shape).astype(kinds.bits)
    kind = rng.integers(0, 3)
    factor = np.exp2(rng.integers(0, 6, out_scale_shape)) * rng.choice([1.0, 1.0, 1.01, 1.4142135, 1.4142136])
    out_scale = np.asarray(factor * scale.flat[0] if kind and scale.size else factor).astype(kinds.real)
    t = out_scale.astype(np.float64).mean() / scale.astype(np.float64).mean() if scale.size and factor.size else 1.0
    half_step = np.exp2(np.maximum(0, np.rint(np.log2(t)) - 1))
    grid = half_step * rng.integers(-9, 10, shape) + rng.integers(-1, 2, shape)
    x = near(rng, grid, scale, zero_point, kinds.x)
    attributes = {"rounding_mode": mode, "signed": signed, "narrow": narrow}
    return Case((x, scale, zero_point, in_bits, out_scale, np.asarray(out_bits)), attributes)


@st.composite
def float_quant_cases(draw: st.DrawFn) -> Case:
    """FloatQuant nodes; X on, between and beside the numbers of the format, at powers of two, beyond its end."""
    kinds, shape = draw(st.sampled_from(PARAMETER_TYPES)), draw(x_shapes)
    scale_shape, *format_shapes, limit_shape = (draw(parameter_shapes(shape)) for _ in range(5))
    mode, overflow = draw(modes), draw(st.sampled_from([(1, 0, 0), (1, 1, 1), (0, 1, 0), (0, 0, 1), (0, 1, 1)]))
    limits = draw(st.lists(st.sampled_from([1e-3, 0.5, 1.1, 240.0, 448.0, 57344.0, 1e30]), min_size=1, max_size=2))
    rng = np.random.default_rng(draw(seeds))
    scale = positive_scales(rng, scale_shape, kinds.real)
    exponent_bits = _integers(rng, format_shapes[0], 0, 5, kinds.bits)
    mantissa_bits = _integers(rng, format_shapes[1], 0, 7, kinds.bits)
    bias = _integers(rng, format_shapes[2], -3, 16, kinds.bits)
    limit = np.asarray(rng.choice(limits, limit_shape)).astype(np.float64 if kinds.x is np.float64 else np.float32)
    step = np.exp2(rng.integers(-18, 12, shape) - np.broadcast_to(mantissa_bits, shape).astype(np.float64))
    grid = rng.integers(0, 2 ** (1 + np.broadcast_to(mantissa_bits, shape).astype(np.int64)) + 1) * rng.choice([-1, 1])
    scaled = step * scale.astype(np.float64)
    x = near(rng, np.asarray(grid), np.asarray(scaled), np.zeros(()), kinds.x)
    saturation, has_inf, has_nan = overflow
    attributes = {"rounding_mode": mode, "saturation": saturation, "has_inf": has_inf, "has_nan": has_nan}
    return Case((x, scale, exponent_bits, mantissa_bits, bias, limit), attributes)


LAYOUTS = ("NC", "NCW", "NCHW", "NCDHW", "NWC", "NHWC", "NDHWC")


@st.composite
def multi_threshold_cases(draw: st.DrawFn) -> Case:
    """MultiThreshold nodes; X on and beside unsorted, repeated, infinite and NaN thresholds."""
    dtype, other = draw(float_types), draw(float_types)
    shape = draw(
        st.sampled_from([(3, 4), (2, 3, 4), (1, 4, 2, 2), (2, 2, 2, 1, 3), (0, 3), (2, 0, 3), (1, 1), (2, 3, 0)])
    )
    layout = draw(st.sampled_from(LAYOUTS))
    steps = draw(st.sampled_from([0, 1, 2, 7, 15]))
    out_scale, out_bias = draw(st.sampled_from([(1.0, 0.0), (0.1, -0.7), (2.0, -15.0), (-0.5, 0.3)]))
    channels = draw(st.sampled_from([1, shape[-1 if layout in LAYOUTS[4:] else 1]]))
    rng = np.random.default_rng(draw(seeds))
    thresholds = (rng.integers(-4, 5, (channels, steps)) / rng.choice([1, 2, 10])).astype(other)
    odd = rng.random(thresholds.shape) < 0.05
    thresholds[odd] = rng.choice(special_values(other), odd.sum())
    values = rng.choice(thresholds.ravel(), shape) if thresholds.size else rng.standard_normal(shape)
    x = near(rng, np.nan_to_num(values.astype(np.float64), posinf=9.0, neginf=-9.0), np.ones(()), np.zeros(()), dtype)
    attributes = {
        "out_scale": float(np.float32(out_scale)),
        "out_bias": float(np.float32(out_bias)),
        "data_layout": layout,
    }
    return Case((x, thresholds), attributes)
