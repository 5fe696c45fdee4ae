"""scatter: formats and parameters of all elements moved apart, as training does it."""

from __future__ import annotations

import keras
import numpy as np


def quantizers(model):
    """Every fixed-point quantiser in a model, in order."""
    return [layer for layer in model._flatten_layers() if type(layer).__name__.startswith("FixedPointQuantizer")]


def scattered(model, seed=0):
    """The model with formats of 0 to 9 bits for each element that may have its own, and parameters that matter."""
    rng = np.random.default_rng(seed)
    for quantizer in quantizers(model):
        for name, low, high in (("_i", -2, 3), ("_f", 0, 6), ("_b", 0, 9)):
            variable = getattr(quantizer, name, None)
            if isinstance(variable, keras.Variable):
                variable.assign(rng.integers(low, high, tuple(variable.shape)).astype("float32"))
    for layer in model._flatten_layers():
        for variable in layer.weights:
            path, shape = variable.path, tuple(variable.shape)
            if any(part in path for part in ("kernel", "bias", "bn_beta", "moving_mean")) and "quantizer" not in path:
                variable.assign(rng.normal(size=shape).astype("float32"))
            if any(part in path for part in ("moving_variance", "bn_gamma")) and "quantizer" not in path:
                variable.assign(rng.uniform(0.5, 2, shape).astype("float32"))
    return model
