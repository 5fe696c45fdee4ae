"""anybit run: a model on data."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import anybit
from anybit.cli.options.engine import EngineOption
from anybit.cli.terminal.output import (
    JsonOption,
    ModelArgument,
    print_json,
    print_table,
    progress,
    say,
    write_array,
    write_arrays,
)
from anybit.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt


class Pixels(enum.Enum):
    """What the bytes of an image become."""

    UNIT = "unit"
    CENTRED = "centred"


def run(
    model: ModelArgument,
    inputs: Annotated[
        Path | None, typer.Option("-i", "--inputs", help=".npz with arrays by input name, or one .npy.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=".npz to write the outputs to, or .npy for one.")
    ] = None,
    engine: EngineOption = "auto",
    tensors: Annotated[str, typer.Option(help="Tensors inside to add: all, or names and patterns with commas.")] = "",
    batch_size: Annotated[int, typer.Option(help="Samples in one run.")] = 64,
    threads: Annotated[int | None, typer.Option(help="Threads inside an operator.")] = None,
    zero_inputs: Annotated[bool, typer.Option("--zero-inputs", help="Zeros for inputs that are not given.")] = False,
    pixels: Annotated[
        Pixels | None, typer.Option(help="Bytes 0 .. 255 as float32: unit is 0 .. 1, centred is -1 .. 1.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Stop behind so many samples.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help=".npy of classes: the share of samples whose highest score has its class.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a model and print, or write, what comes out; with labels, how often it is right."""
    from anybit.runtime.batching import run_in_batches

    if batch_size < 1:
        raise UsageError("batch size", got=batch_size, expected="at least 1")
    if limit is not None and limit < 1:
        raise UsageError("limit", got=limit, expected="at least 1")
    if inputs is None and not zero_inputs:
        raise UsageError("no inputs", expected="--inputs FILE, or --zero-inputs")
    from anybit.io.files.arrays import read_arrays

    feeds = {} if inputs is None else read_arrays(inputs)
    session = anybit.Session(
        model,
        engine=engine,
        threads=threads,
        tensors=tensors if tensors == "all" else [t for t in tensors.split(",") if t],
    )
    if not isinstance(feeds, dict):
        feeds = {session.only_input: feeds}
    feeds = {name: _pixels(name, array, pixels) for name, array in feeds.items()}
    feeds = {name: _as_taken(session, name, array) for name, array in feeds.items()}
    if limit is not None:
        shared = {i.name for i in session.inputs if i.optional}
        feeds = {n: a if n in shared or not a.ndim else a[:limit] for n, a in feeds.items()}
    if zero_inputs:
        feeds = _zeros(session, feeds) | feeds
    samples = max(
        (feeds[i.name].shape[0] for i in session.required if i.name in feeds and feeds[i.name].ndim), default=1
    )
    with progress("running", samples) as advance:
        results = run_in_batches(session, feeds, batch_size=batch_size, progress=advance)
    if output is not None:
        _write(output, results)
    rows = [_statistics(name, array) for name, array in results.items()]
    accuracy = None if labels is None else _accuracy(results[session.outputs[0]], labels, limit)
    if json:
        measured = {} if accuracy is None else {"accuracy": accuracy}
        print_json({"engine": session.engine, "samples": samples} | measured | {"tensors": rows})
    else:
        title = f"{samples} samples by {session.engine.value}"
        print_table(title, tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])
        if accuracy is not None:
            say(f"accuracy {accuracy:.4%}")


def _as_taken(session: anybit.Session, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array as the type that the input takes, with a line that says so, where each element stays what it is."""
    import numpy as np

    wanted = next((np.dtype(i.dtype) for i in session.inputs if i.name == name), array.dtype)
    if array.dtype == wanted or array.dtype.kind not in "fiub" or not np.can_cast(array.dtype, wanted, "safe"):
        return array
    say(f"input '{name}': {array.dtype} given as {wanted}, the same numbers", error=True)
    return array.astype(wanted)


def _write(path: Path, results: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes all outputs, or the one that there is."""
    if path.suffix != ".npy":
        write_arrays(path, dict(results))
        return
    if len(results) != 1:
        got = ", ".join(results)
        raise UsageError("several outputs in one .npy", node=str(path), got=got, expected="a name that ends in .npz")
    write_array(path, next(iter(results.values())))


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


def _pixels(name: str, array: npt.NDArray[Any], pixels: Pixels | None) -> npt.NDArray[Any]:
    import numpy as np

    if pixels is None:
        return array
    if array.dtype.kind not in "iuf" or (array.size and not (array.min() >= 0 and array.max() <= 255)):
        raise InputError("pixels", node=f"input '{name}'", got=f"{array.dtype}", expected="numbers 0 .. 255")
    unit = (array / 255.0).astype(np.float32)
    return unit if pixels is Pixels.UNIT else (2 * unit - 1).astype(np.float32)


def _zeros(session: anybit.Session, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Zeros for the inputs that are not given, of as many samples as the others where the shape leaves it open."""
    import numpy as np

    samples = max((a.shape[0] for a in feeds.values() if a.ndim), default=1)
    made: dict[str, npt.NDArray[Any]] = {}
    for known in (i for i in session.required if i.name not in feeds):
        if known.shape is None:
            raise UsageError("zero inputs", node=f"input '{known.name}'", got="any shape", expected="a stated shape")
        shape = [d if isinstance(d, int) else samples if axis == 0 else 1 for axis, d in enumerate(known.shape)]
        made[known.name] = np.zeros(shape, known.dtype)
    return made


def _accuracy(scores: npt.NDArray[Any], labels: Path, limit: int | None) -> float:
    """The share of rows whose largest entry has the index that the label says."""
    from anybit.io.files.arrays import read_arrays

    classes = read_arrays(labels)
    if isinstance(classes, dict) or classes.dtype.kind not in "iu":
        raise InputError("labels", node=str(labels), got="other arrays", expected="one array of integers, an .npy")
    wanted = classes.reshape(-1)[:limit]
    found = scores.argmax(axis=-1).reshape(-1) if scores.ndim else scores.reshape(-1)
    if len(found) != len(wanted) or not len(found):
        raise InputError("labels", node=str(labels), got=f"{len(wanted)}", expected=f"{len(found)}, one a sample")
    return float((found == wanted).mean())
