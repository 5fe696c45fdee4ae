"""unseen: an export against its module on inputs that the export has not seen, by both engines."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils import _pytree

import anybit

ENGINES = ("reference", "onnxruntime")


def departing(export, module, *arguments, **named):
    """The largest share of an output's elements that is off by more than float sums are, over the engines and outputs.

    Tensors among the arguments, in the order in which they stand there, are the model's inputs; results that are None
    are left out.
    """
    with torch.no_grad():
        results = _pytree.tree_leaves(_plain(module(*arguments, **named)))
    wanted = [r.float().numpy() if r.dtype == torch.bfloat16 else r.numpy() for r in results if r is not None]
    feeds = [t for t in _pytree.tree_leaves((arguments, named)) if isinstance(t, torch.Tensor)]
    names = [v.name for v in export.model.graph.inputs]
    worst = 0.0
    for engine in ENGINES:
        given = anybit.run(export.model, dict(zip(names, map(_array, feeds), strict=True)), engine=engine)
        for ours, theirs in zip(given.values(), wanted, strict=True):
            assert ours.shape == theirs.shape
            gap = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
            off = gap > 1e-5 * np.abs(theirs.astype(np.float64)).max(initial=0)
            worst = max(worst, float(off.mean()) if off.size else 0.0)
    return worst


def scatter(module, *inputs):
    """The share of the elements on which a module departs from itself in float64; 0 where it cannot run so.

    The module is changed.
    """
    try:
        with torch.no_grad():
            single = _tensors(module(*inputs))
            double = _tensors(module.double()(*(x.double() if x.is_floating_point() else x for x in inputs)))
    except (RuntimeError, TypeError, AssertionError):  # it fixes float32 somewhere
        return 0.0
    shares = [((a - b).abs() > 1e-5 * b.abs().max()).float().mean().item() for a, b in zip(single, double, strict=True)]
    return max(shares, default=0.0)


def _tensors(result):
    return [t for t in _pytree.tree_leaves(_plain(result)) if t is not None]


def _array(tensor):
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _plain(result):
    """Values in the place of QuantTensors, which are tuples."""
    if hasattr(result, "value") and isinstance(result, tuple):
        return result.value
    if isinstance(result, tuple | list):
        return [_plain(r) for r in result]
    return {k: _plain(v) for k, v in result.items()} if isinstance(result, dict) else result
