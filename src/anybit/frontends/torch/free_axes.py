"""Axes of a module's inputs that may have any length, as torch.export is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anybit.errors import FrontEndError, UsageError

BATCH = "N"
"""Name of the free batch."""

Tensors = tuple[torch.Tensor, ...]

Shapes = tuple[dict[int, Any], ...] | None
"""Of each input, the axes that are free, and what torch.export calls each; None where nothing is free."""


def with_free_batch(tensors: Sequence[torch.Tensor], names: Sequence[str]) -> tuple[Tensors, Shapes]:
    """Inputs of two samples or more, from which torch can tell a free batch, and the batch as their first axis.

    Scalars have no batch.

    Raises:
        FrontEndError: The others have no common one.
    """
    sizes = {t.shape[0] for t in tensors if t.ndim}
    if len(sizes) != 1 or 0 in sizes:
        raise FrontEndError(
            "the inputs have no common batch",
            got=", ".join(f"'{n}' {list(t.shape)}" for n, t in zip(names, tensors, strict=True)),
            expected="one first dimension of 1 or more",
            hint="export with dynamic_batch=False, or say by dynamic_shapes which axes are free",
        )
    batch = torch.export.Dim(BATCH)
    shapes: list[dict[int, Any]] = [{0: batch} if t.ndim else {} for t in tensors]
    return _grown(tensors, shapes), tuple(shapes)


def with_free_axes(
    tensors: Sequence[torch.Tensor], names: Sequence[str], arguments: Mapping[str, Any], dynamic_shapes: Any
) -> tuple[Tensors, Shapes]:
    """The same with the axes that `dynamic_shapes` names, which is nested as the arguments are.

    Raises:
        UsageError: It is not, or names axes that a tensor does not have.
        FrontEndError: A free axis is empty in the example.
    """
    found: dict[int, dict[int, Any]] = {}
    if isinstance(dynamic_shapes, Mapping):
        unknown = [k for k in dynamic_shapes if k not in arguments]
        if unknown:
            raise _misfit(f"'{unknown[0]}'", f"one of {', '.join(map(repr, arguments))}")
        for key, value in arguments.items():
            _match(dynamic_shapes.get(key), value, key, found)
    else:
        _match(dynamic_shapes, list(arguments.values()), "arguments", found)
    shapes = [found.get(id(t), {}) for t in tensors]
    for name, tensor, free in zip(names, tensors, shapes, strict=True):
        if any(tensor.shape[axis] == 0 for axis in free):
            raise FrontEndError(
                "a free axis is empty", node=f"input '{name}'", got=list(tensor.shape), expected="1 or more"
            )
    return _grown(tensors, shapes), tuple(shapes) if any(shapes) else None


def _match(spec: Any, value: Any, where: str, found: dict[int, dict[int, Any]]) -> None:
    """Walks both at once, and keeps what is said of each tensor."""
    if spec is None:
        return
    if isinstance(value, torch.Tensor):
        found[id(value)] = _axes(spec, value, where)
    elif isinstance(value, Mapping) and isinstance(spec, Mapping):
        for key, part in spec.items():
            if key not in value:
                raise _misfit(f"{where}[{key!r}]", f"one of {', '.join(map(repr, value))}")
            _match(part, value[key], f"{where}[{key!r}]", found)
    elif isinstance(value, list | tuple) and isinstance(spec, list | tuple) and len(spec) == len(value):
        for index, (part, item) in enumerate(zip(spec, value, strict=True)):
            _match(part, item, f"{where}[{index}]", found)
    else:
        raise _misfit(f"{where}: {type(spec).__name__}", "the nesting of the arguments, and None for what is no tensor")


def _axes(spec: Any, tensor: torch.Tensor, where: str) -> dict[int, Any]:
    pairs = (
        list(spec.items())
        if isinstance(spec, Mapping)
        else list(enumerate(spec))
        if isinstance(spec, list | tuple)
        else None
    )
    if pairs is None or (not isinstance(spec, Mapping) and len(pairs) != tensor.ndim):
        raise _misfit(f"{where}: {spec!r}", f"a dict of axes, or {tensor.ndim} entries")
    free: dict[int, Any] = {}
    for axis, dim in pairs:
        if not isinstance(axis, int) or not -tensor.ndim <= axis < tensor.ndim:
            raise _misfit(f"{where}: axis {axis!r}", f"one of the {tensor.ndim} axes")
        if dim is None or isinstance(dim, int) or dim == torch.export.Dim.STATIC:
            continue
        free[axis % tensor.ndim] = torch.export.Dim(dim) if isinstance(dim, str) else dim
    return free


def _misfit(got: str, expected: str) -> UsageError:
    return UsageError("argument 'dynamic_shapes'", got=got, expected=expected)


def _grown(tensors: Sequence[torch.Tensor], shapes: Sequence[Mapping[int, Any]]) -> Tensors:
    """Inputs whose free axes have a length of two or more: torch takes one for fixed."""
    long = {_name(d) for t, free in zip(tensors, shapes, strict=True) for a, d in free.items() if t.shape[a] > 1}
    result: list[torch.Tensor] = []
    for tensor, free in zip(tensors, shapes, strict=True):
        grown = tensor
        for axis, dim in free.items():
            if tensor.shape[axis] == 1 and (_name(dim) is None or _name(dim) not in long):
                grown = torch.cat([grown, grown], dim=axis)
        result.append(grown)
    return tuple(result)


def _name(dim: Any) -> str | None:
    """That of an axis which several tensors may share; None where torch finds out itself which are equal."""
    return getattr(dim, "__name__", None)
