"""draw: inputs to try a project with, and what the model computes from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.engines.sampling import random_inputs, within_stated_format
from anybit.errors import UsageError
from anybit.runtime.batching import run_in_batches
from anybit.runtime.session import Session
from anybit.targets.hls4ml.handover import Hls4mlHandover

_REACH = 1.0  # at least, of an input without a range


def draw(handover: Hls4mlHandover, samples: int) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...]]:
    """Inputs within what the model is fed, and the outputs that the model as it was handed over has for them.

    Half of the numbers are those of `random_inputs`, a quarter of which lie on rounding boundaries; the others are
    spread evenly. Where the hand-over warns that boundaries may go either way, all are.

    Args:
        handover: One that is ready.
        samples: Size of the first axis.
    """
    source, fed = handover.source, handover.fed
    if source is None or fed is None:
        raise UsageError("something stands in the way of this model", expected="a hand-over that is ready")
    value = source.graph.inputs[0]
    drawn = random_inputs(source, samples)[str(value.name)].astype(np.float32)
    generator = np.random.default_rng(0)
    reach = max(float(np.abs(drawn).max(initial=0)), _REACH)
    even = generator.uniform(np.maximum(fed.lo, -reach), np.minimum(fed.hi, reach), drawn.shape)
    on_ties = generator.random(drawn.shape) < (0.0 if any(f.rule == "ties" for f in handover.findings) else 0.5)
    x = within_stated_format(np.clip(np.where(on_ties, drawn, even), fed.lo, fed.hi).astype(np.float32), value)
    outputs = run_in_batches(Session(source), {str(value.name): x})
    return x, tuple(outputs[str(v.name)] for v in source.graph.outputs)
