"""rows: what comes of models with hls4ml, a row for each io type; for the table of all hardware targets."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anybit.errors import Severity
from anybit.io.load import ModelSource
from anybit.targets import IoType
from anybit.targets.hls4ml.handover import Hls4mlHandover
from anybit.targets.hls4ml.prepare import prepare_hls4ml
from anybit.targets.hls4ml.project.fixed_type import FixedType
from anybit.targets.hls4ml.project.samples import draw
from tests.targets.hls4ml.emulation import Job, emulate

_TOLERANCE = 1e-5  # of full scale


class Outcome(enum.Enum):
    """What the real tool made of a model."""

    NOT_RUN = "not run"
    RIGHT = "right"
    WRONG = "wrong"
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """A model in one io type.

    Attributes:
        model: Its name.
        io_type: How tensors travel.
        rules: Of the checker, that refuse it; empty where it is ready.
        outcome: What hls4ml and g++ made of it.
        error: Largest difference as a share of the largest output; None where it was not run.
        widths: By product, the bits of its accumulator and those that are proven.
        note: The last line of what failed.
    """

    model: str
    io_type: IoType
    rules: tuple[str, ...]
    outcome: Outcome = Outcome.NOT_RUN
    error: float | None = None
    widths: tuple[tuple[int, int], ...] = ()
    note: str = ""


def rows(
    models: Mapping[str, ModelSource], *, folder: Path, python: Path | None = None, samples: int = 8
) -> Iterator[Row]:
    """The rows of all models in both io types; those that are ready are compiled in one run of g++.

    Args:
        models: By name.
        folder: Where files of this run may be written.
        python: That of an environment with hls4ml; None runs nothing. What the checker warns is larger than anything
            that was compared is not run either.
        samples: Inputs for each model.
    """
    ready: list[tuple[Row, Hls4mlHandover]] = []
    for name, model in models.items():
        for io_type in IoType:
            handover = prepare_hls4ml(model, logits=True, io_type=io_type)
            row = Row(name, io_type, _rules(handover), widths=_widths(handover))
            if not handover.ready or python is None or any(f.rule == "size" for f in handover.findings):
                yield row
            else:
                ready.append((row, handover))
    if ready and python is not None:
        yield from _run(ready, folder, python, samples)


def _run(ready: list[tuple[Row, Hls4mlHandover]], folder: Path, python: Path, samples: int) -> Iterator[Row]:
    drawn = [draw(handover, samples) for _, handover in ready]
    names = [str(h.model.graph.inputs[0].name) for _, h in ready]
    jobs = [Job(h, {n: x}) for (_, h), n, (x, _) in zip(ready, names, drawn, strict=True)]
    results = emulate(jobs, python, folder)
    for (row, _), (_, expected), actual in zip(ready, drawn, results, strict=True):
        if isinstance(actual, str):
            note = actual.strip().splitlines()[-1]
            yield Row(row.model, row.io_type, row.rules, Outcome.FAILED, widths=row.widths, note=note)
            continue
        pairs = [(e.reshape(len(a), -1).astype(np.float64), a) for e, a in zip(expected, actual, strict=True)]
        error = max(float(np.abs(e - a).max() / np.abs(e).max(initial=1e-30)) for e, a in pairs)
        outcome = Outcome.RIGHT if error <= _TOLERANCE else Outcome.WRONG
        yield Row(row.model, row.io_type, row.rules, outcome, error, row.widths)


def _rules(handover: Hls4mlHandover) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f.rule for f in handover.findings if f.severity is Severity.ERROR))


def _widths(handover: Hls4mlHandover) -> tuple[tuple[int, int], ...]:
    layers = () if handover.configuration is None else handover.configuration.layers
    told = ((layer.precision["accum"], layer.proven) for layer in layers if layer.proven is not None)
    return tuple((t.width, proven) for t, proven in told if isinstance(t, FixedType) and proven is not None)
