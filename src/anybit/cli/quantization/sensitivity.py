"""anybit sensitivity: what each tensor loses by quantisation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import anybit
from anybit.cli.terminal.output import JsonOption, ModelArgument, print_json, print_table, progress_of
from anybit.errors import UsageError


def sensitivity(
    model: ModelArgument,
    data: Annotated[Path, typer.Option(help=".npz, .npy or a folder of images.", show_default=False)],
    quantized: Annotated[
        Path | None,
        typer.Option(
            help="A quantised form of the model: its tensors are compared with those of MODEL.", show_default=False
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Key of the labels in the .npz file, or .npy file: adds accuracy.", show_default=False),
    ] = None,
    bits: Annotated[str, typer.Option(help="Bit widths to which one tensor at a time is quantised.")] = "2,3,4,6,8",
    samples: Annotated[int, typer.Option(help="Samples from all over the data, at most.")] = 128,
    resume: Annotated[
        Path | None, typer.Option(help="Folder that keeps measurements: go on from there.", show_default=False)
    ] = None,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster, or auto.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Says where bits are lost, and where they could be saved.

    Of a float model each tensor is quantised alone; with --quantized each quantised tensor of the pair is put alone
    into the float model. Signal to noise, KL and accuracy are those of the outputs.
    """
    with progress_of("measuring", unit="tensors") as advance:
        found = anybit.sensitivity(
            model,
            data,
            quantized=quantized,
            labels=labels,
            bits=widths(bits),
            samples=samples,
            resume=resume,
            ray=ray,
            progress=advance,
        )
    if json:
        print_json(found)
        return
    rows = [
        (
            row.tensor,
            "weight" if row.is_weight else "activation",
            row.bits,
            f"{row.divergence.sqnr:.1f} dB",
            f"{row.divergence.kl:.2e}",
            f"{row.divergence.changed:.2%}",
            "" if row.divergence.accuracy is None else f"{row.divergence.accuracy:.2%}",
        )
        for row in found.tensors
    ]
    columns = ("tensor", "kind", "bits", "SQNR", "KL", "changed", "accuracy")
    print_table(f"Sensitivity on {found.samples:,} samples", columns, rows)


def widths(text: str) -> tuple[int, ...]:
    """Bit widths from a list with commas.

    Raises:
        UsageError: It is none.
    """
    parts = [p.strip() for p in text.split(",")]
    if not all(p.isdecimal() for p in parts):
        raise UsageError("--bits", got=repr(text), expected="such as 2,3,4,6,8")
    return tuple(int(p) for p in parts)
