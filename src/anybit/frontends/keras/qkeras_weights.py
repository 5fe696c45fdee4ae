"""qkeras_weights: parameters of QKeras layers, snapped by the layer's own quantisers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.frontends.keras.calls import Call
from anybit.frontends.keras.qkeras_quantizers import check_noise, fixed_grid
from anybit.frontends.keras.weights import UniformGrid, Weight, numpy_of

_QUANTIZERS = {
    "kernel": "kernel_quantizer_internal",
    "depthwise_kernel": "depthwise_quantizer_internal",
    "pointwise_kernel": "pointwise_quantizer_internal",
    "bias": "bias_quantizer_internal",
    "gamma": "gamma_quantizer_internal",
    "beta": "beta_quantizer_internal",
    "moving_mean": "mean_quantizer_internal",
    "moving_variance": "variance_quantizer_internal",
}
_OFF_GRIDS = ("quantized_po2", "quantized_relu_po2", "quantized_ulaw")
_NEARLY = 1e-3
"""Share of a step: the straight-through form moves weights by less, a wrong grid by more."""


def weight(call: Call, role: str) -> Weight | None:
    """A parameter as the layer multiplies with it; None where the layer has none."""
    raw = _raw(call.layer, role)
    return None if raw is None else snapped(call, role, getattr(call.layer, _QUANTIZERS[role], None), raw)


def snapped(call: Call, role: str, quantizer: Any, raw: Any) -> Weight:
    """What a quantiser makes of a parameter. Powers of two and logarithms, which lie on no uniform grid, stay float.

    Raises:
        FrontEndError: The quantiser is random, has no rule, or gives other numbers than its grid has.
    """
    if quantizer is None:
        return Weight(np.asarray(numpy_of(raw), np.float32))
    kind = type(quantizer).__name__
    if kind not in (*_GRIDS, *_OFF_GRIDS):
        expected = ", ".join((*_GRIDS, *_OFF_GRIDS))
        raise call.refusal(f"quantiser of the {role} without a rule", got=kind, expected=expected)
    check_noise(call, quantizer)
    array = np.asarray(numpy_of(quantizer(raw)), np.float32)
    if kind in _OFF_GRIDS:
        return Weight(array)
    result = Weight(array, _GRIDS[kind](quantizer))
    if not result.departure < _NEARLY:
        got = f"{result.departure:.3g} steps off"
        raise call.refusal(f"{kind} of the {role} gives numbers off its grid", got=got, expected="0")
    return result


def _raw(layer: Any, role: str) -> Any:
    if hasattr(layer, "get_folded_weights"):
        kernel, bias = layer.get_folded_weights()
        return bias if role == "bias" else kernel
    return getattr(layer, role, None)


def _fixed(quantizer: Any) -> UniformGrid:
    grid = fixed_grid(quantizer)
    if isinstance(quantizer.alpha, str):  # always signed and symmetric; the scale holds the factor m
        bits = int(quantizer.bits)
        step = 2.0 ** (float(numpy_of(quantizer.integer)) - bits + bool(quantizer.keep_negative))
        grid = UniformGrid(np.asarray(step, np.float32), np.asarray(bits, np.float32), narrow=True)
    return replace(grid, scale=grid.scale * _scale(quantizer))


def _ternary(quantizer: Any) -> UniformGrid:
    return UniformGrid(_scale(quantizer), np.asarray(2, np.float32), narrow=True)


def _binary(quantizer: Any) -> UniformGrid:
    zero_one = bool(getattr(quantizer, "use_01", False))
    if not zero_one and not np.all(numpy_of(quantizer.scale)):
        return _ternary(quantizer)  # a channel of zeros stays 0
    return UniformGrid(_scale(quantizer), np.asarray(1, np.float32), signed=not zero_one, bipolar=not zero_one)


def _scale(quantizer: Any) -> Array:
    """The factor that the last call found; 1 for a channel of zeros, which has none."""
    scale = np.asarray(numpy_of(quantizer.scale), np.float32)
    return np.where(scale == 0, np.float32(1), scale)


_GRIDS = {
    "quantized_bits": _fixed,
    "binary": _binary,
    "stochastic_binary": _binary,
    "ternary": _ternary,
    "stochastic_ternary": _ternary,
}
