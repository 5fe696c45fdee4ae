"""Options: how an evaluation that takes long is done."""

from __future__ import annotations

from dataclasses import dataclass

from anybit.engines.engine import Engine
from anybit.evaluation.metrics import Metric, Score


@dataclass(frozen=True)
class Options:
    """How an evaluation is done; see `anybit.evaluate`.

    Attributes:
        metric: "accuracy", "squared-error", or a function of outputs and labels that gives a number a sample.
        top: Among how many of the highest scores a label counts for `Evaluation.correct_in_top`.
        output: Output to judge, where there are several.
        engine: What executes the model.
        batch_size: Samples in one run; None takes as many as fit a cache.
        workers: Runs at the same time, or actors of a Ray cluster; None takes one for each core.
    """

    metric: Metric | str | Score = Metric.ACCURACY
    top: int = 1
    output: str | None = None
    engine: Engine | str = Engine.AUTO
    batch_size: int | None = None
    workers: int | None = None
