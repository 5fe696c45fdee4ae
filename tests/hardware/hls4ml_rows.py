"""The rows of hls4ml: both io types; compiled and run by the real tool where HLS4ML_PYTHON names one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import anybit
from anybit.targets import IoType
from anybit.targets.hls4ml.handover import Hls4mlHandover
from anybit.targets.hls4ml.project.fixed_type import FixedType
from anybit.targets.hls4ml.project.samples import draw
from tests.hardware.row import Row, verdict
from tests.hardware.sources import Source
from tests.targets.hls4ml.emulation import Job, emulate

_TOLERANCE = 1e-5  # of full scale
_SAMPLES = 8
_MOSTLY = 0.5  # of the samples are right where the checker warns of ties, and the others lie on some


def rows(source: Source) -> Iterator[Row]:
    """A row for each io type."""
    for io_type in IoType:
        handover = anybit.prepare_hls4ml(source.load(), logits=True, io_type=io_type)
        ready = handover.ready
        yield Row(
            f"{source.group}/{source.name}",
            "hls4ml",
            "qonnx",
            io_type.value,
            verdict(handover.findings),
            None if handover.comparison is None else handover.comparison.equal,
            ran=_ran(handover) if ready else "not run",
            widths=_widths(handover) if ready else "",
        )


def _ran(handover: Hls4mlHandover) -> str:
    """What the C++ makes of samples; not run where the checker warns of a size that g++ takes too long for."""
    python, inputs = os.environ.get("HLS4ML_PYTHON"), handover.model.graph.inputs
    if python is None or len(inputs) > 1 or any(f.rule == "size" for f in handover.findings):
        return "not run"
    x, expected = draw(handover, _SAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        (actual,) = emulate([Job(handover, {str(inputs[0].name): x})], Path(python), Path(folder))
    if isinstance(actual, str):
        return "FAILED"
    pairs = [(e.reshape(len(a), -1).astype(np.float64), a) for e, a in zip(expected, actual, strict=True)]
    right = np.all([np.abs(e - a).max(axis=1) <= _TOLERANCE * np.abs(e).max() for e, a in pairs], axis=0)
    if right.all():
        return "right"
    warned = any(f.rule == "ties" for f in handover.findings)
    return "ties" if warned and right.mean() >= _MOSTLY else "WRONG"


def _widths(handover: Hls4mlHandover) -> str:
    """By product, the bits of its accumulator, and those that are proven where they are fewer."""
    layers = () if handover.configuration is None else handover.configuration.layers
    told = ((layer.precision["accum"], layer.proven) for layer in layers if layer.proven is not None)
    pairs = [(t.width, proven) for t, proven in told if isinstance(t, FixedType)]
    return "sums " + " ".join(f"{w}" if w == p else f"{w}({p})" for w, p in pairs) if pairs else ""
