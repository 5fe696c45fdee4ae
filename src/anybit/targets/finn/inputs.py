"""tie_inputs: inputs at which a written model turns from one level to the next."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.graph.annotations import annotated_number_format
from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.ops.calls import is_call
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.traits import standard

_MOVES = standard(lambda t: t.keeps_elements)


def tie_inputs(model: ir.Model, samples: int, *, seed: int = 0) -> dict[str, npt.NDArray[np.generic]]:
    """Inputs by name: thresholds of the input, the numbers just below them, and normally distributed ones.

    An input of a stated integer format is drawn from all of its numbers.

    Args:
        model: Written in FINN's dialect; shapes of inputs are known.
        samples: Along the first axis.
        seed: Of the drawing.
    """
    generator = np.random.default_rng(seed)
    return {str(v.name): _draw(v, samples, generator) for v in model.graph.inputs}


def _draw(value: ir.Value, samples: int, generator: np.random.Generator) -> npt.NDArray[np.generic]:
    shape = (samples, *(n or 1 for n in (shape_of(value) or (1,))[1:]))
    dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
    stated = annotated_number_format(value)
    if stated is not None and stated.is_integer:
        return generator.integers(int(stated.min), int(stated.max) + 1, shape).astype(dtype)
    if dtype.kind != "f":
        return generator.integers(0, 2, shape).astype(dtype)
    drawn = generator.normal(size=shape).astype(dtype)
    edges = _thresholds(value)
    if not edges.size:
        return drawn
    at = generator.choice(edges, shape)
    below = np.nextafter(at, np.float32(-np.inf))
    kind = generator.integers(0, 3, shape)
    return np.select([kind == 0, kind == 1], [at, below], drawn).astype(dtype)


def _thresholds(value: ir.Value) -> npt.NDArray[np.float32]:
    """The thresholds that elements of an input are compared with."""
    found, waiting = list[npt.NDArray[np.float32]](), [value]
    while waiting:
        for node, position in waiting.pop().uses():
            rows = constant(node.inputs[1]) if is_call(node, MULTI_THRESHOLD) and position == 0 else None
            if rows is not None:
                found.append(rows.reshape(-1))
            if node.op_type in _MOVES and position == 0:
                waiting += node.outputs
    edges = np.concatenate(found) if found else np.zeros(0, np.float32)
    return edges[np.isfinite(edges)]
