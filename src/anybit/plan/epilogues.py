"""Epilogues: how bytes come from sums, exact by construction, or by a certified multiplier where a list is too long."""

from __future__ import annotations

import numpy as np

from anybit.analysis.values.tensor_values import Float64s
from anybit.errors import Refusal
from anybit.exact.corners import corners_of
from anybit.exact.ordinals import float_at
from anybit.exact.requantization import requantize
from anybit.exact.thresholds import Steps
from anybit.plan.plan import Epilogue, Float32s, Int32s, Multiplier, Tensor, Thresholds

_NEVER = np.iinfo(np.int32).max
_MOST = 1 << 21  # thresholds of one step
_ROOM = 127.0  # largest factor of a sum


def epilogue_of(steps: Steps, selected: int, y: Tensor, channels: int, node: str) -> Epilogue | Refusal:
    """How the bytes of y come from sums.

    Args:
        steps: The thresholds, by channel, for each byte that selects in turn.
        selected: Number of bytes that select, or 1.
        y: The bytes.
        channels: Number of channels.
        node: How messages name the quantiser.
    """
    count = steps.thresholds.shape[1]
    if selected * channels * count > _MOST:
        multiplier = _multiplier(steps, y, channels) if selected == 1 else None
        if multiplier is not None:
            return Epilogue(multiplier=multiplier)
        return Refusal(problem="too many thresholds", node=node, got=f"{selected} * {channels} * {count}")
    base, step, places = _laid(steps, y.zero)
    found = np.where(np.isfinite(places), np.clip(places, -_NEVER, _NEVER), _NEVER).astype(np.int32)
    parts = [_by_channel(a, selected, channels) for a in (base, step, found)]
    return Epilogue(thresholds=Thresholds(*parts))


def _by_channel(array: Int32s, selected: int, channels: int) -> Int32s:
    """(selected, channels, ...) of (selected * functions, ...), where the functions are one or one a channel."""
    laid = array.reshape(selected, len(array) // selected, *array.shape[1:])
    return np.ascontiguousarray(np.broadcast_to(laid, (selected, channels, *array.shape[1:])))


def float_thresholds(steps: Steps, zero: int) -> tuple[Int32s, Int32s, Float32s]:
    """Base, step and thresholds of a step function of the ordinals of float32 numbers."""
    base, step, places = _laid(steps, zero)
    found = np.where(np.isfinite(places), float_at(np.where(np.isfinite(places), places, 0.0)), np.float32(np.nan))
    return base, step, found.astype(np.float32)


def _laid(steps: Steps, zero: int) -> tuple[Int32s, Int32s, Float64s]:
    """Base, step and ascending places: a level that falls counts down from the last one."""
    falls, reached = steps.sign < 0, np.isfinite(steps.thresholds)
    turned = np.sort(np.where(reached, 1 - steps.thresholds, np.inf), axis=1)
    base = steps.first + zero + np.where(falls, reached.sum(axis=1), 0)
    places = np.where(falls[:, None], turned, steps.thresholds)
    return base.astype(np.int32), np.where(falls, -1, 1).astype(np.int32), places


def _multiplier(steps: Steps, y: Tensor, channels: int) -> Multiplier | None:
    lo, hi = float(y.lo - y.zero), float(y.hi - y.zero)
    one = np.ones(len(steps.first))
    found = requantize(corners_of(steps, 0 * one, lowest=lo, highest=hi), steps.sign, room=_ROOM * one)
    if not found.found.all():
        return None
    factor, bias = (np.broadcast_to(a, channels).astype(np.int32) for a in (found.factor, found.bias))
    multiplier = np.broadcast_to(found.multiplier, channels).astype(np.float32)
    return Multiplier(factor, bias, multiplier, y.zero, y.lo, y.hi)
