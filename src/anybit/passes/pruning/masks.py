"""Masks: indices of a tensor that are to be removed, by axis; as options of passes, and as annotations of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from anybit.errors import InvalidModelError, UsageError
from anybit.graph.annotations import annotated_sparsity
from anybit.graph.names import all_values, unknown_tensor
from anybit.graph.walk import shape_of

TensorMasks = (
    Mapping[str, Mapping[int, Sequence[int]]] | tuple[tuple[str, tuple[tuple[int, tuple[int, ...]], ...]], ...]
)
"""By tensor and axis, indices."""
Frozen = tuple[tuple[str, tuple[tuple[int, tuple[int, ...]], ...]], ...]
Cuts = dict[ir.Value, Mapping[int, Iterable[int]]]


def frozen_masks(masks: TensorMasks) -> Frozen:
    """The masks in a form that can be hashed, indices sorted."""
    pairs = masks.items() if isinstance(masks, Mapping) else masks
    return tuple((name, _frozen_axes(axes)) for name, axes in pairs)


def _frozen_axes(
    axes: Mapping[int, Sequence[int]] | tuple[tuple[int, tuple[int, ...]], ...],
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    pairs = axes.items() if isinstance(axes, Mapping) else axes
    return tuple((axis, tuple(sorted(set(indices)))) for axis, indices in pairs)


def named_tensors(model: ir.Model, masks: TensorMasks) -> Cuts:
    """The masks by tensor of the model.

    Raises:
        UsageError: There is no such tensor, or it has no such axis or index.
    """
    known = {str(v.name): v for v in all_values(model.graph) if v.name}
    found: Cuts = {}
    for name, axes in frozen_masks(masks):
        if name not in known:
            raise unknown_tensor(name, known)
        found[known[name]] = {axis: indices for axis, indices in axes if _checked(known[name], axis, indices)}
    return found


def _checked(value: ir.Value, axis: int, indices: Sequence[int]) -> bool:
    shape, where = shape_of(value), f"tensor '{value.name}'"
    if shape is None or not -len(shape) <= axis < len(shape):
        got = "no known shape" if shape is None else f"axis {axis}"
        raise UsageError("mask", node=where, got=got, expected="an axis of the tensor")
    size = shape[axis]
    if size is None or any(not 0 <= i < size for i in indices):
        expected = "an axis of known length" if size is None else f"indices 0 .. {size - 1} of axis {axis}"
        raise UsageError("mask", node=where, got=list(indices), expected=expected)
    return True


def masks_of(model: ir.Model) -> Cuts:
    """The masks that the file states, by tensor.

    Raises:
        InvalidModelError: What it states is no mask.
        UsageError: A tensor has no such axis or index.
    """
    found: Cuts = {}
    for value in all_values(model.graph):
        stated = annotated_sparsity(value)
        if not stated:
            continue
        found[value] = {a: i for a, i in _axes_of(stated, value).items() if _checked(value, a, i)}
    return found


def _axes_of(stated: Mapping[Any, Any], value: ir.Value) -> dict[int, tuple[int, ...]]:
    axes: dict[int, tuple[int, ...]] = {}
    for axis, indices in stated.items():
        listed = tuple(indices) if isinstance(indices, set | list | tuple) else ()
        whole = isinstance(axis, int) and all(isinstance(i, int) for i in listed)
        if not whole or (not listed and not isinstance(indices, set | list | tuple)):
            expected = "a mask: indices by axis"
            raise InvalidModelError("tensor_sparsity", node=f"tensor '{value.name}'", got=stated, expected=expected)
        axes[axis] = tuple(sorted(listed))
    return axes
