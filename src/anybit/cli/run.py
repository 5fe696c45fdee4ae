"""anybit run: a model on data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy.typing as npt
import typer

import anybit
from anybit.cli.output import JsonOption, ModelArgument, print_json, print_table, progress, write_arrays
from anybit.errors import UsageError
from anybit.io.files.arrays import read_arrays


def run(
    model: ModelArgument,
    inputs: Annotated[Path, typer.Option("-i", "--inputs", help=".npz with arrays by input name, or one .npy.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help=".npz to write the outputs to.")] = None,
    engine: Annotated[str, typer.Option(help="auto, reference, onnxruntime or openvino.")] = "auto",
    tensors: Annotated[str, typer.Option(help="Intermediate tensors to add: all, or names with commas.")] = "",
    batch_size: Annotated[int, typer.Option(help="Samples in one run.")] = 64,
    threads: Annotated[int | None, typer.Option(help="Threads inside an operator.")] = None,
    json: JsonOption = False,
) -> None:
    """Run a model and print, or write, what comes out."""
    from anybit.runtime.batching import run_in_batches

    if batch_size < 1:
        raise UsageError("batch size", got=batch_size, expected="at least 1")
    feeds = read_arrays(inputs)
    session = anybit.Session(
        model,
        engine=engine,
        threads=threads,
        tensors=tensors if tensors == "all" else [t for t in tensors.split(",") if t],
    )
    if not isinstance(feeds, dict):
        feeds = {session.only_input: feeds}
    samples = max(
        (feeds[i.name].shape[0] for i in session.required if i.name in feeds and feeds[i.name].ndim), default=1
    )
    with progress("running", samples) as advance:
        results = run_in_batches(session, feeds, batch_size=batch_size, progress=advance)
    if output is not None:
        write_arrays(output, results)
    rows = [_statistics(name, array) for name, array in results.items()]
    if json:
        print_json({"engine": session.engine, "samples": samples, "tensors": rows})
    else:
        title = f"{samples} samples by {session.engine.value}"
        print_table(title, tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])


def _statistics(name: str, array: npt.NDArray[Any]) -> dict[str, Any]:
    numeric = array.size and array.dtype.kind in "fiub"
    return {
        "tensor": name,
        "type": str(array.dtype),
        "shape": str(list(array.shape)),
        "min": float(array.min()) if numeric else None,
        "mean": float(array.mean()) if numeric else None,
        "max": float(array.max()) if numeric else None,
    }
