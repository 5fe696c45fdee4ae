"""Values that break quantisers, as hypothesis strategies, and the settings that make a property test repeatable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Array = np.ndarray[Any, Any]

MODES = ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
FLOATS = (np.float16, np.float32, np.float64)
BIT_WIDTHS = (*range(1, 17), 24, 25, 26, 31, 32)

modes = st.sampled_from(MODES)
flags = st.sampled_from((0, 1))
float_types = st.sampled_from(FLOATS)
seeds = st.integers(0, 2**32 - 1)


def examples(count: int) -> settings:
    """Settings of a repeatable property test with so many examples."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


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


x_shapes = st.sampled_from([(), (1,), (9,), (3, 4), (2, 3, 4), (1, 4, 2, 2), (2, 1, 5), (0,), (0, 3), (2, 0, 3)])


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
