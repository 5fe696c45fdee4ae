"""stats: which integers the weights of a model hold, and its activations on a user's data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.analysis.quantized_tensors import LeftOut, QuantizedTensor, quantized_tensors, weight_array
from anybit.analysis.statistics import DEFAULT_BINS, TensorStatistics
from anybit.analysis.values.interpreter import Values, analyse
from anybit.arguments import checked
from anybit.cleanup.set_batch import SetBatch
from anybit.engines.engine import Engine
from anybit.errors import InputError, InvalidModelError, UsageError
from anybit.io.load import ModelSource, load
from anybit.records import Record
from anybit.runtime.batching import DEFAULT_BATCH
from anybit.runtime.session import Inputs, Session


@dataclass(frozen=True)
class Statistics(Record):
    """What the quantised tensors of a model hold.

    Attributes:
        samples: Number of samples that were run, 0 without data.
        weights: One entry for each quantised weight.
        activations: One entry for each quantised activation; empty without data.
        left_out: Quantised tensors without statistics, and why.
    """

    samples: int
    weights: tuple[TensorStatistics, ...]
    activations: tuple[TensorStatistics, ...]
    left_out: tuple[LeftOut, ...]


@checked
def stats(
    model: ModelSource,
    inputs: Inputs | None = None,
    *,
    bins: int = DEFAULT_BINS,
    batch_size: int = DEFAULT_BATCH,
    engine: Engine | str = Engine.AUTO,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Statistics:
    """Used levels, histograms, dead and saturated channels of every quantised tensor.

    Activations are counted a batch at a time and never kept: memory does not grow with the number of samples, unless
    the model mixes samples, whose inputs are then run at once.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        inputs: Arrays by input name, samples along the first axis; or one array for a single input. Without any,
            only weights are counted.
        bins: Bars of a histogram; grids of 256 integers or fewer have one for each.
        batch_size: Samples in one run; the result does not depend on it.
        engine: What runs the model.
        threads: Threads inside an operator.
        progress: Called with the number of samples of each run when it is done.

    Raises:
        ModelFileError: The model cannot be read.
        InputError: The inputs do not fit the model, or hold no samples.
        UsageError: The number of bars or samples is not positive.
    """
    if bins < 1 or batch_size < 1:
        raise UsageError("number of bars and batch size", got=f"{bins}, {batch_size}", expected="at least 1")
    return statistics_of(
        analyse(model), inputs, bins=bins, batch_size=batch_size, engine=engine, threads=threads, progress=progress
    )


def statistics_of(
    values: Values,
    inputs: Inputs | None = None,
    *,
    bins: int = DEFAULT_BINS,
    batch_size: int = DEFAULT_BATCH,
    engine: Engine | str = Engine.AUTO,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Statistics:
    """`stats` of a model whose values are known; of a broken one too, as long as nothing is fed to it."""
    found, left_out = quantized_tensors(values, bins=bins)
    weights: list[TensorStatistics] = []
    missing: list[LeftOut] = []
    for tensor in (t for t in found if t.weights):
        array = weight_array(tensor.value, values)
        if array is None:
            missing.append(LeftOut(tensor.tally.name, "an operator that makes it has no reference"))
            continue
        tensor.tally.add(array)
        weights.append(tensor.tally.result(weights=True))
    moving = [t for t in found if not t.weights]
    samples = 0 if inputs is None else _run(values, moving, inputs, batch_size, engine, threads, progress)
    activations = () if inputs is None else tuple(t.tally.result(weights=False) for t in moving)
    return Statistics(samples, tuple(weights), activations, (*left_out, *missing))


def _run(
    values: Values,
    tensors: Sequence[QuantizedTensor],
    inputs: Inputs,
    batch_size: int,
    engine: Engine | str,
    threads: int | None,
    progress: Callable[[int], None] | None,
) -> int:
    """Counts the tensors on all samples; returns how many these are."""
    session = Session(values.model, engine=engine, threads=threads, tensors=[t.tally.name for t in tensors])
    feeds = _feeds(session, inputs)
    counted = session.samples(feeds)
    samples = -1 if counted is None else counted
    if not samples:
        raise InputError("no samples", expected="at least one along the first axis")
    piece = batch_size if _samples_stay_apart(values) else session.piece(1)
    step = max(samples, 1) if piece is None or samples < 0 else piece
    for start in range(0, max(samples, 1), step):
        part = feeds if step >= samples else session.part(feeds, start, start + step)
        results = session.run(part)
        for tensor in tensors:
            tensor.tally.add(results[tensor.tally.name])
        if progress is not None:
            progress(min(step, max(samples, 1) - start))
    return max(samples, 1)


def _feeds(session: Session, inputs: Inputs) -> dict[str, npt.NDArray[Any]]:
    if isinstance(inputs, Mapping):
        return {name: np.asarray(value) for name, value in inputs.items()}
    return {session.only_input: np.asarray(inputs)}


def _samples_stay_apart(values: Values) -> bool:
    """Whether any number of samples may be run on its own. Nothing is joined: tensors may begin with any axis."""
    try:
        SetBatch()(load(values.model))
    except InvalidModelError:
        return False
    return True
