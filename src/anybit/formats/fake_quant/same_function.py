"""Whether arithmetic and a quantiser are one function of float32, decided on both sides of every step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.exact.ordinals import float_at
from anybit.exact.runs import agree, deciding
from anybit.exact.step_function import rising_in_floats
from anybit.formats.fake_quant.pattern import PatternStep, evaluate
from anybit.quantizers.quantizer import Quantizer

_MOST_STEPS = 1 << 20  # over all channels


def is_same(
    steps: Sequence[PatternStep],
    quantizer: Quantizer,
    rank: int,
    opsets: Mapping[str, int],
    within: tuple[float, float] = (-np.inf, np.inf),
) -> bool:
    """Whether the steps and the quantiser make the same of every float32 number, and of infinities.

    Args:
        steps: Rising operators from x to y.
        quantizer: A quantiser of a scalar scale, or of one that broadcasts to x.
        rank: Number of axes of x.
        opsets: Version by domain.
        within: The smallest and the largest x that there is.
    """
    if float(quantizer.hi.max() - quantizer.lo.min()) * quantizer.scale.size > _MOST_STEPS:
        return False
    parameters = (quantizer.scale, quantizer.zero_point, quantizer.lo, quantizer.hi)
    shape = np.broadcast_shapes((1,) * rank, *(p.shape for p in parameters))
    channels = math.prod(shape)  # each element apart, behind an axis of numbers

    def integers(x: Array) -> Array:
        return quantizer.integers(x.reshape(-1, *shape)).reshape(-1, channels)

    ordinals = deciding(rising_in_floats(integers, channels))
    if isinstance(ordinals, Refusal):
        return False
    x = np.clip(float_at(ordinals), *np.asarray(within, np.float32)).reshape(-1, *shape)
    return is_same_at(steps, quantizer, x, opsets)


def is_same_at(steps: Sequence[PatternStep], quantizer: Quantizer, x: Array, opsets: Mapping[str, int]) -> bool:
    """Whether the steps and the quantiser make the same of these numbers."""
    y = evaluate(steps, x, opsets)
    try:
        return y is not None and y.dtype == np.float32 and np.array_equal(y, quantizer(x), equal_nan=True)
    except ValueError:  # a parameter does not broadcast to x
        return False


def division_agrees(quantizer: Quantizer, reciprocal: Array) -> bool:
    """Whether round(x / scale) = round(x * reciprocal) for every float32 x that is not clipped.

    Args:
        quantizer: A quantiser of zero point 0.
        reciprocal: float32, of the shape of the quantiser's scale.
    """
    channels = quantizer.scale.size
    lo, hi = float(quantizer.lo.min()), float(quantizer.hi.max())
    scale, factor = (p.reshape(-1) for p in (quantizer.scale, reciprocal))
    if (hi - lo) * channels > _MOST_STEPS or not np.isfinite(factor).all():  # 0 times infinity is no number
        return False

    def levels(quotients: Array) -> Array:
        return np.clip(np.rint(quotients), lo, hi)

    divided = rising_in_floats(lambda x: levels(x / scale), channels)
    multiplied = rising_in_floats(lambda x: levels(x * factor), channels)
    with np.errstate(all="ignore"):  # infinities are clipped
        return agree(divided, multiplied) is True
