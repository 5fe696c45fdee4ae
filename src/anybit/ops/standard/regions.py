"""Operators on boxes: MaxRoiPool, RoiAlign of version 10, NonMaxSuppression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec, as_integer, given


def make_max_roi_pool(spec: Spec) -> Kernel:
    """Y[r, c, i, j] = max over the cell (i, j) of box r, whose corners are rounded to pixels; 0 of an empty cell."""
    rows, columns = (int(v) for v in spec.attributes["pooled_shape"])
    scale = spec.number("spatial_scale", 1.0)

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x, rois = inputs
        y = np.zeros((len(rois), x.shape[1], rows, columns), x.dtype)
        for r, (image, *corners) in enumerate(rois.astype(np.float64)):
            left, top, right, bottom = (int(np.floor(abs(v * scale) + 0.5) * np.sign(v)) for v in corners)
            vertical = _cells(top, bottom, rows, x.shape[2])
            horizontal = _cells(left, right, columns, x.shape[3])
            for i, a in enumerate(vertical):
                for j, b in enumerate(horizontal):
                    cell = x[int(image), :, a, b]
                    y[r, :, i, j] = cell.max(axis=(1, 2)) if cell.size else 0
        return (y,)

    return run


def _cells(first: int, last: int, count: int, size: int) -> list[slice]:
    """The pixels first..last in so many cells, which overlap where they do not divide; cut off at the image."""
    length = max(last - first + 1, 1)
    return [
        slice(
            min(max(first + k * length // count, 0), size),
            min(max(first - (-(k + 1) * length // count), 0), size),
        )
        for k in range(count)
    ]


def make_non_max_suppression(spec: Spec) -> Kernel:
    """Triples (batch, class, box): of each class the best boxes that overlap no better one by more than a threshold."""
    centred = bool(spec.integer("center_point_box", 0))

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        boxes, scores = inputs[:2]
        limits = [given(inputs, k) for k in (2, 3, 4)]
        most = 0 if limits[0] is None else as_integer(limits[0])
        overlap = 0.0 if limits[1] is None else float(np.asarray(limits[1]).item())
        least = -np.inf if limits[2] is None else float(np.asarray(limits[2]).item())
        chosen = [
            (b, c, k)
            for b in range(scores.shape[0])
            for c in range(scores.shape[1])
            for k in _kept(_corners(boxes[b], centred=centred), scores[b, c], most, overlap, least)
        ]
        return (np.array(chosen, np.int64).reshape(-1, 3),)

    return run


def _corners(boxes: Array, *, centred: bool) -> Array:
    """Boxes as (low, low, high, high)."""
    boxes = boxes.astype(np.float64)
    if centred:
        middle, half = boxes[:, :2], boxes[:, 2:] / 2
        return np.concatenate([middle - half, middle + half], axis=1)
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def _kept(boxes: Array, scores: Array, most: int, overlap: float, least: float) -> list[int]:
    kept: list[int] = []
    for k in np.argsort(-scores.astype(np.float64), kind="stable"):
        if len(kept) >= most:
            break
        if scores[k] > least and all(_iou(boxes[k], boxes[j]) <= overlap for j in kept):
            kept.append(int(k))
    return kept


def _iou(a: Array, b: Array) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return 0.0
    shared = sides.prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))
