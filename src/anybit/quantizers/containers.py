"""Containers: the ONNX element types that can hold the integers of a quantiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.errors import Refusal
from anybit.quantizers.linear_parameters import range_of
from anybit.quantizers.quantizer import Quantizer, compact


@dataclass(frozen=True)
class Container:
    """How the integers of a quantiser are held.

    Attributes:
        dtype: Element type.
        offset: What is added to q - zero_point: the zero point of the operators.
        clip: Bounds that a Clip states, where they are not those of the type.
    """

    dtype: ir.DataType
    offset: Float64s
    clip: tuple[int, int] | None = None


Choose = Callable[[Quantizer, bool], Container | Refusal]
"""The container that a format has for a quantiser; the second argument says whether it is one of constants."""


def containers(quantizer: Quantizer, widths: Sequence[int]) -> Iterator[Container]:
    """The ways to hold lo .. hi in element types of these widths.

    Narrow types come first, the quantiser's own zero point before another, the type of its own sign before the other.
    """
    signed = bool((quantizer.lo < 0).any())
    lo, hi = quantizer.lo - quantizer.zero_point, quantizer.hi - quantizer.zero_point
    for width in widths:
        types = {s: ir.DataType[f"{'' if s else 'U'}INT{width}"] for s in (signed, not signed)}
        bounds = {dtype: limits for dtype in types.values() if (limits := range_of(dtype)) is not None}
        offsets = [(t, quantizer.zero_point) for t in bounds]
        first = max(0.0, float(lo.max()))  # as low as the type begins, but no lower than lets it hold the zero points
        offsets += [(types[s], bounds[types[s]][0] + first - lo) for s in (False, True) if types[s] in bounds]
        offsets += [(t, np.zeros(())) for t in bounds]
        for dtype, offset in offsets:
            held = _held(dtype, bounds[dtype], lo + offset, hi + offset, compact(np.asarray(offset)))
            yield from () if held is None else (held,)


def _held(
    dtype: ir.DataType, bounds: tuple[int, int], lo: Float64s, hi: Float64s, offset: Float64s
) -> Container | None:
    """The type, if it holds the stored integers lo .. hi and the zero point."""
    low, high = compact(np.asarray(lo)), compact(np.asarray(hi))
    outside = min(low.min(), offset.min()) < bounds[0] or max(high.max(), offset.max()) > bounds[1]
    if outside or (dtype == ir.DataType.INT32 and offset.any()):  # int32 has no zero point
        return None
    if (low == bounds[0]).all() and (high == bounds[1]).all():
        return Container(dtype, offset)
    return Container(dtype, offset, (int(low), int(high))) if low.ndim == high.ndim == 0 else None


def span(quantizer: Quantizer) -> str:
    """lo .. hi in a message."""
    return f"{quantizer.lo.min():g} .. {quantizer.hi.max():g}"
