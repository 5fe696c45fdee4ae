"""Geometry that convolution and pooling share: padding, strides, dilations, output sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any


@dataclass(frozen=True)
class Windows:
    """How a kernel slides over the spatial axes of an (N, C, spatial...) tensor. All fields have one entry an axis.

    Attributes:
        kernel: Extent of the kernel, in taps.
        strides: Distance between neighbouring windows.
        dilations: Distance between neighbouring taps.
        pads_begin: Elements added before the input.
        pads_end: Elements added after it.
        output: Number of windows.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    output: tuple[int, ...]

    @classmethod
    def of(cls, spatial: Sequence[int], kernel: Sequence[int], attributes: Mapping[str, Any]) -> Windows:
        """Reads the attributes that Conv and the pooling operators share (ONNX operators, Conv and MaxPool)."""
        rank = len(kernel)
        strides = tuple(attributes.get("strides") or (1,) * rank)
        dilations = tuple(attributes.get("dilations") or (1,) * rank)
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        begin, end = _pads(spatial, extent, strides, attributes)
        ceil_mode = bool(attributes.get("ceil_mode", 0))
        output = tuple(
            _count(size, e, s, b, f, ceil_mode=ceil_mode)
            for size, e, s, b, f in zip(spatial, extent, strides, begin, end, strict=True)
        )
        return cls(tuple(kernel), strides, dilations, begin, end, output)

    def padding(self, spatial: Sequence[int]) -> list[tuple[int, int]]:
        """Padding for np.pad of the spatial axes, so that every window lies inside (ceil mode may need more)."""
        return [
            (b, max(0, (o - 1) * s + (k - 1) * d + 1 - b - size))
            for size, k, s, d, b, o in zip(
                spatial, self.kernel, self.strides, self.dilations, self.pads_begin, self.output, strict=True
            )
        ]

    def taps(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Each tap of the kernel, with the slices of the padded input that it sees over all windows."""
        for tap in product(*(range(k) for k in self.kernel)):
            yield (
                tap,
                tuple(
                    slice(t * d, t * d + (o - 1) * s + 1, s)
                    for t, d, s, o in zip(tap, self.dilations, self.strides, self.output, strict=True)
                ),
            )


def _pads(
    spatial: Sequence[int], extent: Sequence[int], strides: Sequence[int], attributes: Mapping[str, Any]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = len(extent)
    mode = attributes.get("auto_pad", "NOTSET") or "NOTSET"
    if mode == "NOTSET":
        pads = tuple(attributes.get("pads") or (0,) * (2 * rank))
        return pads[:rank], pads[rank:]
    if mode == "VALID":
        return (0,) * rank, (0,) * rank
    total = [
        max(0, (math.ceil(size / s) - 1) * s + e - size) for size, e, s in zip(spatial, extent, strides, strict=True)
    ]
    small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def _count(size: int, extent: int, stride: int, begin: int, end: int, *, ceil_mode: bool) -> int:
    room = size + begin + end - extent
    if not ceil_mode:
        return max(0, room // stride + 1)
    count = math.ceil(room / stride) + 1
    # The last window must start inside the input or its leading padding.
    return count - 1 if (count - 1) * stride >= size + begin else count
