"""anybit compare: two models on the same inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import anybit
from anybit.cli.terminal.output import FINDINGS, JsonOption, print_json, print_table, progress, say

if TYPE_CHECKING:
    from anybit.runtime.compare import Difference


def compare(
    a: Annotated[Path, typer.Argument(help="First model.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Second model.", show_default=False)],
    inputs: Annotated[
        Path | None, typer.Option("-i", "--inputs", help=".npz or .npy; drawn at random without.")
    ] = None,
    samples: Annotated[int, typer.Option(help="How many samples to draw.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 0,
    layers: Annotated[bool, typer.Option("--layers", help="Find the first tensor that departs.")] = False,
    tolerance: Annotated[
        float, typer.Option(help="Share of a tensor's largest magnitude within which elements are equal.")
    ] = 1e-5,
    engine_a: Annotated[str, typer.Option(help="Engine of the first model.")] = "auto",
    engine_b: Annotated[str, typer.Option(help="Engine of the second model.")] = "auto",
    json: JsonOption = False,
) -> None:
    """Outputs element by element: largest difference, how many differ, in steps of the grid. Exit code 1 if any do."""
    from anybit.io.files.arrays import read_arrays

    feeds = None if inputs is None else read_arrays(inputs)
    arrays = () if feeds is None else feeds.values() if isinstance(feeds, dict) else (feeds,)
    given = max((array.shape[0] for array in arrays if array.ndim), default=samples)
    with progress("comparing", 2 * given) as advance:
        result = anybit.compare(
            a,
            b,
            feeds,
            samples=samples,
            seed=seed,
            layers=layers,
            tolerance=tolerance,
            engine_a=engine_a,
            engine_b=engine_b,
            progress=advance,
        )
    if json:
        print_json({"equal": result.equal, "comparison": result})
    else:
        rows = [(d.name, d.elements, d.unequal, d.departing, d.largest, d.steps) for d in result.outputs]
        columns = ("output", "elements", "unequal", "departing", "largest difference", "grid steps")
        print_table(f"{result.samples} samples, tolerance {result.tolerance:g} of the largest magnitude", columns, rows)
        if result.first_departure is not None:
            first = result.first_departure
            text = f"first departure: tensor '{first.name}'{_other(first)}, {first.departing:,} of {first.elements:,} "
            say(text + f"elements, largest {first.largest:g} at {list(first.at)}")
        elif layers:
            say("no tensor departs")
    if not result.equal:
        raise typer.Exit(FINDINGS)


def _other(found: Difference) -> str:
    """What the second model calls the tensor, where that is another name."""
    return "" if found.counterpart in ("", found.name) else f" ('{found.counterpart}' in the second model)"
