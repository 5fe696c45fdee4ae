"""Whole calls to compare a module and its model on: of any shapes, where samples cannot be joined along an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from anybit.arrays import Array
from anybit.errors import FrontEndError
from anybit.frontends.agreement import Imported
from anybit.frontends.torch.call import ModuleCall
from anybit.frontends.torch.capture import quietly
from anybit.frontends.torch.comparison import compared_with_module, samples
from anybit.frontends.torch.free_axes import BATCH
from anybit.frontends.torch.recording import Traced

_RANDOM = 3  # calls with random numbers like those of the example
_FAR = 1e3


def compared_on(
    traced: Traced, module: torch.nn.Module, call: ModuleCall, *, tolerance: float | None, quiet: bool
) -> Imported:
    """The model, if it gives the module's numbers: on samples where all inputs share a batch, else on whole calls.

    Where axes beside the batch are free, there is a call of other lengths too.

    Raises:
        FrontEndError: A tensor departs, or an input has no part in the result.
    """
    names = [str(v.name) for v in traced.model.graph.inputs]
    if len(names) != len(call.tensors):
        unread = next((n for n in call.names if n not in names), "")
        raise FrontEndError(
            "an input has no part in the result",
            node=f"input '{unread}'",
            got=", ".join(names),
            expected=f"{len(call.tensors)} inputs",
            hint="leave it out of the example, or give it as None where forward allows that",
        )
    joins = _joins(traced.model, call)
    batches = samples(names, call.tensors, fixed=call.shapes is None) if joins else calls(names, module, call)
    fixed = not joins or call.shapes is None
    return compared_with_module(traced, module, batches, fixed=fixed, tolerance=tolerance, quiet=quiet)


def _joins(model: ir.Model, call: ModuleCall) -> bool:
    """Whether samples may be joined: the first axis of all inputs, and of all outputs, is one batch, the rest fixed."""
    if any(t.ndim == 0 for t in call.tensors):
        return False
    if call.shapes is not None:
        return all(list(free) == [0] and getattr(free[0], "__name__", "") == BATCH for free in call.shapes)
    sizes: set[Any] = {t.shape[0] for t in call.tensors}
    for value in model.graph.outputs:
        sizes.add(value.shape[0] if value.shape is not None and value.shape.rank() else None)
    return len(sizes) == 1


def calls(names: Sequence[str], module: torch.nn.Module, call: ModuleCall, *, seed: int = 0) -> list[dict[str, Array]]:
    """The example, random numbers like it, the same of other lengths where axes are free, far beyond it, and zeros."""
    generator = np.random.default_rng(seed)
    arrays = [t.detach().numpy() for t in call.tensors]
    found = [arrays, *([_like(a, generator) for a in arrays] for _ in range(_RANDOM))]
    found += _of_other_lengths(module, call, generator)
    for factor in (_FAR, 0.0):
        found.append([(a * factor).astype(a.dtype) if a.dtype.kind == "f" else a for a in arrays])
    return [dict(zip(names, given, strict=True)) for given in found]


def _of_other_lengths(module: torch.nn.Module, call: ModuleCall, generator: np.random.Generator) -> list[list[Array]]:
    """Calls whose free axes are one longer, or shorter, if the module itself runs on them."""
    for step in (1, -1):
        lengths = _lengths(call, step)
        if lengths is None:
            continue
        arrays = [_resized(t.detach().numpy(), size, generator) for t, size in zip(call.tensors, lengths, strict=True)]
        try:
            _run(module, {str(i): a for i, a in enumerate(arrays)})
        except FrontEndError:  # it fixes what torch.export took for free
            continue
        return [arrays]
    return []


def _lengths(call: ModuleCall, step: int) -> list[tuple[int, ...]] | None:
    """The shapes of the inputs with free axes longer by `step`; None if that is not allowed, or nothing is free."""
    if call.shapes is None:
        return None
    result: list[tuple[int, ...]] = []
    for tensor, free in zip(call.tensors, call.shapes, strict=True):
        sizes = list(tensor.shape)
        for axis, dim in free.items():
            size = _moved(dim, sizes[axis], step)
            if size is None:
                return None
            sizes[axis] = size
        result.append(tuple(sizes))
    return result


def _moved(dim: Any, size: int, step: int) -> int | None:
    root = getattr(dim, "root", None)
    if root is not None:  # a length that follows from another, such as twice it
        base = next((n for n in range(1, size + 1) if int(dim.fn(n)) == size), None)
        return None if base is None else int(dim.fn(base + step))
    moved = size + step
    lowest, highest = max(int(getattr(dim, "min", None) or 0), 2), getattr(dim, "max", None)
    allowed = moved >= lowest and (highest is None or moved <= highest)
    return moved if allowed else None


def _resized(array: Array, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Random numbers like those of an array, in another shape."""
    return _like(np.resize(array, shape), generator)


def _like(array: Array, generator: np.random.Generator) -> Array:
    if array.dtype.kind != "f":
        return np.asarray(generator.choice(array.reshape(-1), array.shape) if array.size else array, array.dtype)
    spread = float(array.std()) or 1.0
    return np.asarray(array.mean() + spread * generator.standard_normal(array.shape), array.dtype)


def _run(module: torch.nn.Module, feeds: Mapping[str, Array]) -> list[Array]:
    with torch.no_grad(), quietly():
        results = module(*(torch.from_numpy(np.array(a)) for a in feeds.values()))
    return [r.detach().cpu().numpy() for r in results]
