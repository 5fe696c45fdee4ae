"""Quantisers of activations and weights: Quant, BipolarQuant, Trunc, MultiThreshold, QuantizeLinear chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.graphs.builder import Builder, Unfit
from tests.models import DOMAIN
from tests.strategies import MODES, Array

_INTEGERS = (np.int8, np.uint8)


def parameter_shape(b: Builder, shape: Sequence[int]) -> tuple[int, ...]:
    """Scalar, per channel (in any of its spellings) or per element of any axis."""
    kind = b.rng.integers(0, 6)
    if kind < 2 or not shape:
        return ()
    axis = int(b.rng.integers(0, len(shape))) if kind == 2 else min(1, len(shape) - 1)
    if shape[axis] == 1 or axis == 0:  # the batch may be free
        return ()
    kept = tuple(size if a == axis else 1 for a, size in enumerate(shape))
    return kept if kind < 5 else kept[axis:]


def scales(b: Builder, shape: Sequence[int], magnitude: float, bits: int) -> Array:
    """Powers of two, decimal fractions and odd numbers near the step that covers `magnitude`."""
    step = max(magnitude, 1e-3) / 2 ** (bits - 1) * b.rng.choice([0.25, 0.6, 1.0, 1.3])
    spread = step * np.exp2(b.rng.integers(-1, 2, shape))
    kind = b.rng.integers(0, 3)
    if kind == 0:
        return np.exp2(np.rint(np.log2(spread)))
    return np.maximum(np.round(spread, 2), 0.01) if kind == 1 else spread * b.rng.uniform(0.8, 1.25, shape)


def zero_points(b: Builder, shape: Sequence[int], bits: int) -> Array:
    """Mostly 0, else whole or fractional numbers."""
    kind = b.rng.integers(0, 6)
    if kind < 4:
        return np.zeros(shape if kind == 3 else ())
    whole = b.rng.integers(-(2**bits), 2**bits, shape).astype(np.float64)
    return whole if kind == 4 else whole + b.rng.choice([0.5, 0.25, 0.3])


def quant_of(b: Builder, x: str, *, widths: Sequence[int] = range(1, 9)) -> str:
    """Quant of a tensor, with all its options."""
    array = b.samples[x]
    bits = int(b.choose(list(widths)))
    shape, zero_shape = parameter_shape(b, array.shape), parameter_shape(b, array.shape)
    magnitude = float(np.abs(array).max())
    inputs = [
        x,
        b.constant(scales(b, shape, magnitude, bits)),
        b.constant(zero_points(b, zero_shape, bits)),
        b.constant(bits if b.chance(0.9) else b.rng.integers(1, 9, shape), np.float32),
    ]
    attributes = {
        "signed": int(b.rng.integers(0, 2)),
        "narrow": int(b.rng.integers(0, 2)),
        "rounding_mode": b.choose(MODES) if b.chance(0.5) else "ROUND",
    }
    op_type = "Quant" if b.chance(0.8) else "IntQuant"
    return b.node(op_type, inputs, domain=DOMAIN, **attributes)[0]


def quant(b: Builder) -> None:
    b.pool.append(quant_of(b, b.pick()))


def quant_bipolar(b: Builder) -> None:
    x = b.pick()
    shape = parameter_shape(b, b.samples[x].shape)
    b.put("BipolarQuant", [x, b.constant(scales(b, shape, 1.0, 2))], domain=DOMAIN)


def trunc(b: Builder) -> None:
    """Quant, a sum of it or its average times the number of its elements, then Trunc."""
    x = b.pick()
    bits = int(b.rng.integers(2, 9))
    scale = scales(b, (), float(np.abs(b.samples[x]).max()), bits)
    zero = b.constant(zero_points(b, (), bits))
    signed = int(b.rng.integers(0, 2))
    s, width = b.constant(scale), b.constant(bits, np.float32)
    q = b.node("Quant", [x, s, zero, width], domain=DOMAIN, signed=signed)[0]
    if b.chance(0.5):
        q, bits = b.node("Add", [q, q])[0], bits + 1
        zero = b.constant(2 * b.initializers[zero])
    out_bits = int(b.rng.integers(1, bits + 1))
    mode = b.choose(MODES)
    widths = b.constant(bits, np.float32), b.constant(out_bits, np.float32)
    if b.version == 1:
        b.put("Trunc", [q, s, zero, *widths], domain=DOMAIN, rounding_mode=mode)
        return
    out_scale = b.constant(scale * 2.0 ** b.rng.integers(0, 4) * b.choose([1.0, 1.0, 1.1]))
    b.put(
        "Trunc",
        [q, s, zero, widths[0], out_scale, widths[1]],
        domain=DOMAIN,
        rounding_mode=mode,
        signed=signed,
        narrow=int(b.rng.integers(0, 2)),
    )


def multi_threshold(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    array = b.samples[x]
    last = b.chance(0.3)
    channels = b.choose([1, array.shape[-1 if last else 1]])
    layouts = {2: "NC", 3: "NWC" if last else "NCW", 4: "NHWC" if last else "NCHW"}
    if array.ndim not in layouts:
        raise Unfit
    steps = int(b.choose([1, 2, 3, 7, 15]))
    spread = float(np.abs(array).max()) + 0.1
    thresholds = b.constant(np.sort(b.rng.uniform(-spread, spread, (channels, steps)), axis=1))
    out_scale, out_bias = b.choose([(1.0, 0.0), (0.25, -0.75), (2.0, -15.0), (-0.5, 0.3), (0.1, 0.07)])
    layout = layouts[array.ndim]
    attributes = {"out_scale": out_scale, "out_bias": out_bias, "data_layout": layout}
    b.put("MultiThreshold", [x, thresholds], domain=DOMAIN, **attributes)


def float_quant(b: Builder) -> None:
    x = b.pick()
    inputs = [b.constant(v) for v in (scales(b, (), 1.0, 2), b.choose([2, 4]), b.choose([0, 2, 3]), 3, 240.0)]
    b.put("FloatQuant", [x, *inputs], domain=DOMAIN)


def as_float32(b: Builder, x: str) -> str:
    return x if b.dtype == np.float32 else b.node("Cast", [x], to=1)[0]


def as_own(b: Builder, x: str) -> str:
    return x if b.dtype == np.float32 else b.node("Cast", [x], to=11)[0]


def quantize(b: Builder, x: str) -> tuple[str, str, str]:
    """QuantizeLinear of a tensor: the integers, the scale, the zero point."""
    array = b.samples[x]
    dtype = b.choose(_INTEGERS)
    per_channel = b.opset >= 13 and array.ndim >= 2 and b.chance(0.3)
    shape = (array.shape[1],) if per_channel else ()
    scale = b.constant(scales(b, shape, float(np.abs(array).max()), 8), np.float32)
    info = np.iinfo(dtype)
    symmetric = dtype == np.int8 and b.chance(0.6)
    zero = b.constant(np.zeros(shape) if symmetric else b.rng.integers(info.min, info.max, shape), dtype)
    attributes = {"axis": 1} if per_channel else {}
    return b.node("QuantizeLinear", [as_float32(b, x), scale, zero], **attributes)[0], scale, zero


def qcdq(b: Builder) -> None:
    """QuantizeLinear, mostly Clip, DequantizeLinear."""
    q, scale, zero = quantize(b, b.pick())
    dtype = b.samples[q].dtype
    if b.opset >= 12 and b.chance(0.7):
        lo, hi = np.sort(b.rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, 2, endpoint=True))
        q = b.node("Clip", [q, b.constant(lo, dtype), b.constant(hi, dtype)])[0]
    attributes = {"axis": 1} if b.initializers[scale].ndim else {}
    b.pool.append(as_own(b, b.node("DequantizeLinear", [q, scale, zero], **attributes)[0]))


def weight(b: Builder, shape: Sequence[int], *, axis: int = 0) -> str:
    """A weight: new or shared, quantised in one of several ways or not; per-channel scales lie on `axis`."""
    same = [w for w in b.weights if b.samples[w].shape == tuple(shape)]
    if same and b.chance(0.4):
        return b.choose(same)
    values = b.rng.normal(0, b.choose([0.2, 1.0]), shape)
    kind = b.rng.integers(0, 8)
    along = tuple(size if a == axis else 1 for a, size in enumerate(shape)) if b.chance(0.5) else ()
    if kind == 0:
        name = b.constant(values)
    elif kind == 1:
        name = b.constant(b.rng.integers(-3, 4, shape))
    elif kind == 2:
        name = b.node("BipolarQuant", [b.constant(values), b.constant(scales(b, along, 1.0, 2))], domain=DOMAIN)[0]
    elif kind == 3:
        name = _dequantised(b, shape)
    elif kind == 4:
        name = quant_of(b, b.constant(values))
    else:
        bits = int(b.rng.integers(1, 9))
        parameters: list[Any] = [scales(b, along, float(np.abs(values).max()), bits), 0, bits]
        inputs = [b.constant(values), *map(b.constant, parameters)]
        name = b.node("Quant", inputs, domain=DOMAIN, signed=1, narrow=int(b.rng.integers(0, 2)))[0]
    b.weights.append(name)
    return name


def _dequantised(b: Builder, shape: Sequence[int]) -> str:
    dtype = b.choose(_INTEGERS)
    info = np.iinfo(dtype)
    integers = b.constant(b.rng.integers(info.min, info.max, shape, endpoint=True), dtype)
    scale, zero = b.constant(scales(b, (), 1.0, 8), np.float32), b.constant(b.rng.integers(info.min, info.max), dtype)
    return as_own(b, b.node("DequantizeLinear", [integers, scale, zero])[0])


STEPS = {
    "quant": quant,
    "quant_bipolar": quant_bipolar,
    "trunc": trunc,
    "multi_threshold": multi_threshold,
    "float_quant": float_quant,
    "qcdq": qcdq,
}
