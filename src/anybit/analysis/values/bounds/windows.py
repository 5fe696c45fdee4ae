"""Windows of convolutions: which elements of a kernel meet the input together, along one axis.

At the border of the input some elements of the kernel meet padding. A bound that left this out would be wrong, and
one that joined 0 to the input's bounds would not be attained; so each set of elements that meet the input together
is looked at by itself. Along an axis there are few such sets, and those of the whole kernel are their products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.ops.standard.windows import Windows

Masks = npt.NDArray[np.bool_]
"""(sets, kernel): one row for each set of kernel elements that are summed together."""


_MOST_PLACES = 1 << 24


def require_few(places: int) -> None:
    """Raises ValueError where windows have more places than are worth following."""
    if places > _MOST_PLACES:
        raise ValueError(f"windows of {places:,} places are too many to follow")


def convolution_masks(spatial: Sequence[int], kernel: Sequence[int], attributes: Mapping[str, Any]) -> list[Masks]:
    """For each spatial axis of Conv, the sets of kernel elements that meet an input of this size together."""
    windows = Windows.of(spatial, kernel, attributes)
    masks: list[Masks] = []
    for size, k, step, dilation, before, count in zip(
        spatial,
        kernel,
        windows.strides,
        windows.dilations,
        windows.pads_begin,
        windows.output,
        strict=True,
    ):
        require_few(count)
        starts = np.arange(count) * step - before
        inside = (starts >= 0) & (starts + dilation * (k - 1) < size)
        starts = np.concatenate([starts[~inside], starts[inside][:1]])
        require_few(len(starts) * k)
        places = starts[:, None] + dilation * np.arange(k)
        masks.append(np.unique((places >= 0) & (places < size), axis=0))
    return masks


def transposed_masks(spatial: Sequence[int], kernel: Sequence[int], attributes: Mapping[str, Any]) -> list[Masks]:
    """For each spatial axis of ConvTranspose, the sets of kernel elements that meet the input together.

    Where the padding is computed rather than given, the places that it may cut off count as well.

    Raises:
        ValueError: The attributes contradict each other.
    """
    rank = len(kernel)
    strides = attributes.get("strides") or (1,) * rank
    if min(strides) < 1:
        raise ValueError("a stride that is not positive")
    explicit = (attributes.get("auto_pad") or "NOTSET") == "NOTSET" and not attributes.get("output_shape")
    pads = (attributes.get("pads") if explicit else None) or (0,) * (2 * rank)
    axes = zip(
        spatial,
        kernel,
        strides,
        attributes.get("dilations") or (1,) * rank,
        pads[:rank],
        pads[rank:],
        attributes.get("output_padding") or (0,) * rank,
        strict=True,
    )
    return [_transposed(*axis, beyond=not explicit) for axis in axes]


def _transposed(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int, extra: int, *, beyond: bool
) -> Masks:
    span = dilation * (kernel - 1) + 1
    end = stride * (size - 1) + span + extra - after
    require_few(end - before)
    places = np.arange(before, end)
    reach = span + stride  # between here and as far from the end, the sets repeat with the stride
    regular = (places >= reach) & (places < end - extra - reach)
    places = np.concatenate([places[~regular], places[regular][:stride]])
    require_few(len(places) * kernel)
    offsets = places[:, None] - dilation * np.arange(kernel)
    sources = offsets // stride
    masks = (offsets % stride == 0) & (sources >= 0) & (sources < size)
    if beyond:  # an output larger than what the input reaches is filled up with zeros
        masks = np.concatenate([masks, np.zeros((1, kernel), np.bool_)])
    return np.unique(masks, axis=0)
