"""samples: calibration data as blocks that a model's segments take."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from anybit.arrays import Array
from anybit.engines.prepare import input_info
from anybit.errors import InputError
from anybit.evaluation.datasets import Data, open_inputs
from anybit.graph.constants import fed_inputs
from anybit.graph.walk import shape_of
from anybit.quantization.prepare import Prepared

_BLOCK_BYTES = 1 << 23
_MOST = 64


def blocks_of(prepared: Prepared, data: Data) -> Iterator[dict[str, Array]]:
    """The samples, as many at a time as keep the tensors of a node small, or as the model is bound to.

    Raises:
        InputError: The data cannot be read or do not fit the inputs.
    """
    inputs = fed_inputs(prepared.work.graph)
    infos = [input_info(v) for v in inputs]
    size = block_size(prepared)
    count = 0
    for block in open_inputs(infos, data).blocks(size):
        feeds = {info.name: _fitting(block.feeds[info.name], info.dtype, info.shape, info.name) for info in infos}
        lengths = {len(a) for a in feeds.values() if a.ndim}
        if not prepared.free_batch and lengths != {size} and size > 1:
            if count:
                return  # the rest of the samples is no whole batch
            raise InputError(
                "the model is bound to its batch", got=f"{min(lengths)} samples", expected=f"{size} or more"
            )
        count += max(lengths, default=1)
        yield feeds
    if not count:
        raise InputError("no samples", expected="at least one along the first axis")


def block_size(prepared: Prepared) -> int:
    """Samples in a block."""
    graph = prepared.work.graph
    if not prepared.free_batch:
        sizes = [s[0] for v in fed_inputs(graph) if (s := shape_of(v))]
        known = [n for n in sizes if n is not None and n > 0]
        return known[0] if known else 1
    largest = 1
    for node in graph:
        for value in node.outputs:
            shape = shape_of(value)
            if shape is not None:
                largest = max(largest, 4 * math.prod(d for d in shape[1:] if d is not None))
    return max(1, min(_MOST, _BLOCK_BYTES // largest))


def _fitting(array: Array, dtype: np.dtype[np.generic], shape: tuple[int | str, ...] | None, name: str) -> Array:
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
    return np.ascontiguousarray(array)
