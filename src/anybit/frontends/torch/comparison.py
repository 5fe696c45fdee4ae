"""compared_with_module: a hub model against the module that it was made of, on random and extreme inputs."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from torch.utils import _pytree

from anybit.arrays import Array
from anybit.errors import FrontEndError
from anybit.frontends.agreement import Agreement, Imported, compared, extreme
from anybit.frontends.torch.capture import Tensors, quietly
from anybit.runtime.compare import FLOAT_TOLERANCE

_RANDOM = 8  # random samples, at least


def compared_with_module(
    model: ir.Model, module: torch.nn.Module, inputs: Tensors, *, tolerance: float | None, quiet: bool, seed: int = 0
) -> Imported:
    """The model, if it gives the module's numbers on the example, on random inputs like it, and on extreme ones.

    Samples on which the module itself gives other numbers in float64 are left out, if there are others: there a float32
    sum lies next to a rounding boundary, and no order of summation is the right one.

    Raises:
        FrontEndError: An output departs, and no tolerance was named.
    """
    first = model.graph.inputs[0].shape if model.graph.inputs else None
    batch = first[0] if first is not None and first.rank() else None
    framework = _Module(module, batch if isinstance(batch, int) else None)
    names = [str(v.name) for v in model.graph.inputs]
    if len(names) != len(inputs):
        raise FrontEndError(
            "an input has no part in the result", got=", ".join(names), expected=f"{len(inputs)} inputs"
        )
    normal = _samples(names, inputs, seed)
    count = len(next(iter(normal.values())))
    beyond = {name: array[count:] if array.ndim else array for name, array in extreme(normal).items()}
    parts = [_compared(model, framework, feeds, tolerance) for feeds in (normal, beyond)]
    agreement = Agreement(
        sum(p.samples for p in parts), tuple(d for p in parts for d in p.outputs), any(p.quantized for p in parts)
    )
    if not quiet:
        sys.stderr.write(f"anybit: {agreement}\n")
    return Imported(model, agreement)


def _compared(model: ir.Model, framework: _Module, feeds: Mapping[str, Array], tolerance: float | None) -> Agreement:
    try:
        return compared(model, framework, feeds, tolerance=tolerance, quiet=True).agreement
    except FrontEndError:
        stable = framework.stable(feeds)
        if stable is None or stable.all() or not stable.any():
            raise
    kept = {name: array[stable] for name, array in feeds.items()}
    return compared(model, framework, kept, tolerance=tolerance, quiet=True).agreement


@dataclass(frozen=True)
class _Module:
    """Runs a module on arrays, in the order of its arguments, `batch` samples at a time."""

    module: torch.nn.Module
    batch: int | None

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        return self._run(self.module, [torch.from_numpy(np.array(a)) for a in inputs.values()])

    def stable(self, inputs: Mapping[str, Array]) -> Array | None:
        """Which samples give the same results in float64; None where the module runs in one type only."""
        wide = [torch.from_numpy(np.array(a)) for a in inputs.values()]
        wide = [t.double() if t.is_floating_point() else t for t in wide]
        single = self(inputs)
        try:
            double = self._run(copy.deepcopy(self.module).double(), wide)
        except (RuntimeError, TypeError, AssertionError, FrontEndError):
            return None
        samples = len(next(iter(inputs.values())))
        if any(a.ndim == 0 or len(a) != samples for a in single):
            return None
        stable = np.ones(samples, np.bool_)
        for a, b in zip(single, double, strict=True):
            gap = np.abs(a.astype(np.float64) - b).reshape(samples, -1).max(axis=1, initial=0)
            stable &= gap <= FLOAT_TOLERANCE * np.abs(a).max(initial=0)
        step = self.batch or 1  # a batch is run as a whole, or not at all
        return np.repeat(stable.reshape(-1, step).all(axis=1), step)

    def _run(self, module: torch.nn.Module, tensors: Sequence[torch.Tensor]) -> list[Array]:
        size = tensors[0].shape[0] if tensors[0].ndim else 1
        step = self.batch or size
        if step == size:
            return self._once(module, tensors)
        pieces = [self._once(module, [t[i : i + step] for t in tensors]) for i in range(0, size, step)]
        return [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]

    def _once(self, module: torch.nn.Module, tensors: Sequence[torch.Tensor]) -> list[Array]:
        with torch.no_grad(), quietly():
            leaves: list[object] = _pytree.tree_leaves(module(*tensors))
        for index, leaf in enumerate(leaves):
            if not isinstance(leaf, torch.Tensor):
                raise FrontEndError(
                    "a result is no tensor", node=f"output {index}", got=type(leaf).__name__, expected="a tensor"
                )
        return [leaf.detach().cpu().numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _samples(names: Sequence[str], inputs: Tensors, seed: int) -> dict[str, Array]:
    """The example, and random samples behind it: normal like its floats, drawn from its other elements."""
    generator = np.random.default_rng(seed)
    arrays = {name: t.detach().cpu().numpy() for name, t in zip(names, inputs, strict=True)}
    if any(a.ndim == 0 or len(a) == 0 for a in arrays.values()):
        return arrays
    size = len(inputs[0])
    copies = -(-_RANDOM // size)
    return {name: np.concatenate([a, *(_like(a, generator) for _ in range(copies))]) for name, a in arrays.items()}


def _like(array: Array, generator: np.random.Generator) -> Array:
    if array.dtype.kind != "f":
        return generator.choice(array.reshape(-1), array.shape)
    spread = float(array.std()) or 1.0
    return (array.mean() + spread * generator.standard_normal(array.shape)).astype(array.dtype)
