"""samples: calibration data as blocks that a model's segments take."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.infer_shapes import InferShapes
from anybit.engines.prepare import input_info
from anybit.errors import InputError
from anybit.evaluation.datasets import Data, DataSet, Labels, open_data, open_inputs
from anybit.graph.constants import fed_inputs
from anybit.graph.walk import shape_of
from anybit.quantization.prepare import Prepared

_BLOCK_BYTES = 1 << 23
_MOST = 64
LABELS = "labels of the samples"


def blocks_of(prepared: Prepared, data: Data, labels: Labels | None = None) -> Iterator[dict[str, Array]]:
    """The samples, as many at a time as keep the tensors of a node small, or as the model is bound to.

    With labels, each block has its own under the name `LABELS`.

    Raises:
        InputError: The data cannot be read or do not fit the inputs.
    """
    inputs = fed_inputs(prepared.work.graph)
    infos = [input_info(v) for v in inputs]
    dataset = open_inputs(infos, data) if labels is None else open_data(infos, data, labels)
    bound = _bound_batch(prepared)
    size = bound or _fitting(prepared, dataset)
    count = 0
    for block in dataset.blocks(size):
        feeds = {info.name: _checked(block.feeds[info.name], info.dtype, info.shape, info.name) for info in infos}
        lengths = {len(a) for a in feeds.values() if a.ndim}
        if bound is not None and lengths != {bound}:
            if count:
                return  # the rest of the samples is no whole batch
            raise InputError(
                "the model is bound to its batch", got=f"{min(lengths)} samples", expected=f"{size} or more"
            )
        count += max(lengths, default=1)
        yield feeds if labels is None else {**feeds, LABELS: block.labels}
    if not count:
        raise InputError("no samples", expected="at least one along the first axis")


def _bound_batch(prepared: Prepared) -> int | None:
    """The number of samples that the model takes at once, None where it takes any."""
    shapes = [shape_of(v) for v in fed_inputs(prepared.work.graph)]
    sizes = {s[0] for s in shapes if s and s[0] is not None and s[0] > 0}
    return None if prepared.free_batch or not sizes else min(sizes)


def _fitting(prepared: Prepared, dataset: DataSet) -> int:
    """As many samples as keep the largest tensor of the model within `_BLOCK_BYTES`."""
    if dataset.samples is None:
        return _MOST
    copy = prepared.work.clone()
    first = next(iter(dataset.blocks(1))).feeds
    for value in fed_inputs(copy.graph):
        shape = shape_of(value)
        array = first[str(value.name)]
        if shape is not None and len(shape) == array.ndim:
            value.shape = ir.Shape([1, *array.shape[1:]])
    for node in copy.graph:
        for value in node.outputs:
            value.shape = None if None in (shape_of(value) or ())[1:] else value.shape
    InferShapes()(copy)
    shapes = [s for node in copy.graph for v in node.outputs if (s := shape_of(v))]
    largest = max((4 * math.prod(d for d in s[1:] if d is not None) for s in shapes), default=1)
    return max(1, min(_MOST, _BLOCK_BYTES // max(largest, 1)))


def _checked(array: Array, dtype: np.dtype[np.generic], shape: tuple[int | str, ...] | None, name: str) -> Array:
    where = f"input '{name}'"
    if array.dtype != dtype:
        raise InputError("element type", node=where, got=array.dtype, expected=dtype, hint="convert it with astype")
    wanted = None if shape is None else [d if isinstance(d, int) else None for d in shape]
    if wanted is not None:
        good = array.ndim == len(wanted) and all(
            w is None or n == w for n, w in zip(array.shape[1:], wanted[1:], strict=True)
        )
        if not good:
            raise InputError(
                "shape", node=where, got=list(array.shape), expected=f"[{', '.join(map(str, shape or ()))}]"
            )
    return np.asarray(array, order="C")  # ascontiguousarray would give a number an axis
