"""unseen: an export against its module on inputs that the export has not seen, by both engines."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
from torch.utils import _pytree

import anybit
from anybit.engines.engine import Engine
from anybit.frontends.comparison.engine import agreement_of_engine

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


def explained(export, again, inputs):
    """Whether ties are all there is where an export departs from its module on inputs that it has not seen.

    The inputs are compared tensor by tensor, as an export compares its example: by exporting with them as the example,
    which must give the same model; and what each engine makes of them, with the model's own exact sums.

    Args:
        export: The export that departs.
        again: Exports with the unseen inputs as the example.
        inputs: Those inputs.
    """
    try:
        seen = again()
    except anybit.AnybitError:
        return False
    if ir.to_proto(seen.model).SerializeToString() != ir.to_proto(export.model).SerializeToString():
        return False
    feeds = {v.name: _array(x) for v, x in zip(export.model.graph.inputs, inputs, strict=True)}
    found = list(seen.agreement.tensors)
    for name in ENGINES:
        found += agreement_of_engine(export.model, feeds, {}, engine=Engine(name))
    return not any(t.departing for t in found) and any(t.ties for t in found)


def _array(tensor):
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _plain(result):
    """Values in the place of QuantTensors, which are tuples."""
    if hasattr(result, "value") and isinstance(result, tuple):
        return result.value
    if isinstance(result, tuple | list):
        return [_plain(r) for r in result]
    return {k: _plain(v) for k, v in result.items()} if isinstance(result, dict) else result
