"""GatherElements, Scatter, ScatterElements, ScatterND, OneHot and Unique."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec, as_integer

# In place, element by element, so that an element which is named twice is combined twice.
_COMBINE: dict[str, Callable[[Array, Any, Array], None]] = {
    "add": np.add.at,
    "mul": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


def _places(shape: Sequence[int], indices: Array, axis: int) -> tuple[Array, ...]:
    """The places that `indices` name along `axis`, each at its own position along the other axes.

    Raises:
        ValueError: The indices have another rank, or are more along another axis.
    """
    if len(shape) != indices.ndim:
        raise ValueError(f"indices of rank {indices.ndim} into a tensor of rank {len(shape)}")
    places = list(np.ix_(*(range(n) for n in indices.shape)))
    places[axis] = indices
    return tuple(places)


def make_gather_elements(spec: Spec) -> Kernel:
    """Y[i, j, k] = X[indices[i, j, k], j, k], for the first axis; indices may be fewer than X along the others."""
    axis = spec.integer("axis", 0)
    return lambda inputs: (inputs[0][_places(inputs[0].shape, inputs[1], axis)],)


def make_scatter_elements(spec: Spec) -> Kernel:
    """Y = X, but Y[indices[i, j, k], j, k] = updates[i, j, k], for the first axis, or combined with it."""
    axis, reduction = spec.integer("axis", 0), str(spec.attributes.get("reduction", "none"))

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x, indices, updates = inputs
        if indices.shape != updates.shape:
            raise ValueError(f"updates of shape {list(updates.shape)} for indices of {list(indices.shape)}")
        return (_combined(x, _places(x.shape, indices, axis), updates, reduction),)

    return run


def make_scatter_nd(spec: Spec) -> Kernel:
    """Y = X, but Y[indices[i]] = updates[i], or combined with it; each row of indices names an element or a slice."""
    reduction = str(spec.attributes.get("reduction", "none"))

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x, indices, updates = inputs
        wanted = (*indices.shape[:-1], *x.shape[indices.shape[-1] :])
        if updates.shape != wanted:
            raise ValueError(f"updates of shape {list(updates.shape)}, not {list(wanted)}")
        return (_combined(x, tuple(np.moveaxis(indices, -1, 0)), updates, reduction),)

    return run


def _combined(x: Array, places: Any, updates: Array, reduction: str) -> Array:
    y = x.copy()
    if reduction == "none":
        y[places] = updates
    else:
        _COMBINE[reduction](y, places, updates)
    return y


def make_one_hot(spec: Spec) -> Kernel:
    """Y = values[1] where the place along the new axis is the index, which may count from the end; else values[0]."""
    axis = spec.integer("axis", -1)

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        indices, count, values = inputs
        depth = as_integer(count)
        wanted = indices.astype(np.int64)
        wanted = np.expand_dims(np.where(wanted < 0, wanted + depth, wanted), axis)
        places = np.arange(depth).reshape([-1 if k == axis % wanted.ndim else 1 for k in range(wanted.ndim)])
        return (np.where(wanted == places, values[1], values[0]).astype(values.dtype),)

    return run


def make_unique(spec: Spec) -> Kernel:
    """The different elements, or slices along `axis`; where each is first; which each is; how many there are."""
    axis, ordered = spec.attributes.get("axis"), bool(spec.integer("sorted", 1))

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x = inputs[0]
        flat = x.reshape(-1) if axis is None else x
        along = 0 if axis is None else int(axis)
        if flat.dtype == object:
            flat = flat.astype(np.str_)
        values, first, inverse, counts = np.unique(
            flat, return_index=True, return_inverse=True, return_counts=True, axis=along
        )
        if not ordered:
            order = np.argsort(first)
            rank = np.argsort(order)
            values, first, counts = values.take(order, along), first[order], counts[order]
            inverse = rank[inverse]
        whole = [np.asarray(v, np.int64).reshape(-1) for v in (first, inverse, counts)]
        return values.astype(x.dtype), *whole

    return run
