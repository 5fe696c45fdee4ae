"""anybit stats: what the quantised tensors of a model hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import anybit
from anybit.cli.options.samples import read_samples
from anybit.cli.terminal.output import JsonOption, ModelArgument, print_json, print_table, progress

if TYPE_CHECKING:
    from anybit.analysis.statistics import Histogram, TensorStatistics

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 16


def stats(
    model: ModelArgument,
    inputs: Annotated[
        Path | None,
        typer.Option("-i", "--inputs", help=".npz or .npy to run, labels in it left out; without it, weights only."),
    ] = None,
    bins: Annotated[int, typer.Option(help="Bars of the histogram of a grid of more than 256 integers.")] = 64,
    batch_size: Annotated[int, typer.Option(help="Samples in one run.")] = 64,
    engine: Annotated[str, typer.Option(help="auto, reference or onnxruntime.")] = "auto",
    json: JsonOption = False,
) -> None:
    """Histograms, used levels, dead and saturated channels of weights, and of activations on data."""
    feeds = None if inputs is None else read_samples(inputs, model)
    arrays = () if feeds is None else feeds.values() if isinstance(feeds, dict) else (feeds,)
    samples = max((array.shape[0] for array in arrays if array.ndim), default=1)
    with progress("running", samples) as advance:
        result = anybit.stats(model, feeds, bins=bins, batch_size=batch_size, engine=engine, progress=advance)
    if json:
        print_json(result)
        return
    _print(f"{len(result.weights)} quantised weights", "weights", result.weights)
    if feeds is not None:
        title = f"\n{len(result.activations)} quantised activations on {result.samples:,} samples"
        _print(title, "activation", result.activations)
    if result.left_out:
        print_table("\nLeft out", ("tensor", "reason"), [(t.name, t.reason) for t in result.left_out])


def _print(title: str, kind: str, tensors: Sequence[TensorStatistics]) -> None:
    rows = [
        (
            t.name,
            t.format,
            t.lowest,
            t.highest,
            None if t.used_levels is None else f"{t.used_levels:,} of {t.levels:,}",
            f"{t.zeros:.1%}",
            None if t.saturated is None else f"{t.saturated:.1%}",
            f"{len(t.dead_channels)} of {t.channels:,}",
            len(t.saturated_channels),
            _drawn(t.histogram),
        )
        for t in tensors
    ]
    columns = (
        kind,
        "format",
        "lowest",
        "highest",
        "levels used",
        "zero",
        "at the ends",
        "dead channels",
        "saturated",
        "histogram",
    )
    print_table(title, columns, rows)


def _drawn(histogram: Histogram) -> str:
    """The histogram as a line of bars, neighbours taken together where there are many; what occurs has a bar."""
    size = -(-len(histogram.counts) // _WIDTH)
    counts = [sum(histogram.counts[k : k + size]) for k in range(0, len(histogram.counts), size)]
    highest = max(counts, default=0) or 1
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // highest)] for count in counts)
