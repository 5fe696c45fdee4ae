"""anybit verify: whether two models mean the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import anybit
from anybit.cli.terminal.output import FINDINGS, JsonOption, print_json, print_table, say, write_arrays


def verify(
    a: Annotated[Path, typer.Argument(help="First model.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Second model.", show_default=False)],
    output: Annotated[Path | None, typer.Option("-o", "--output", help=".npz for the counter-example's input.")] = None,
    samples: Annotated[int, typer.Option(help="Samples of each kind to look for a counter-example among.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 0,
    assume_annotations: Annotated[
        bool | None,
        typer.Option(
            "--assume-annotations/--assume-nothing",
            help="Take inputs to hold what either file's number format allows, or anything. By default formats are "
            "assumed that both files state.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Prove layer by layer that two models are equal, or find an input that shows the difference.

    Exit code 0 if it is proven for every input that the printed assumptions allow that they are equal, or that they
    have the same integers and differ by no more than a bound that is printed; 1 if they differ or nothing is proven.
    """
    from anybit.exact.certificate import Verdict

    certificate = anybit.verify(a, b, samples=samples, seed=seed, assume_annotations=assume_annotations)
    found = certificate.counter_example
    if found is not None and output is not None:
        write_arrays(output, dict(found.inputs))
    if json:
        shown = None if found is None else {"output": found.output, "largest": found.largest}
        figures = {
            "exact": certificate.verdict.is_exact,
            "verdict": certificate.verdict,
            "bound": certificate.bound if certificate.verdict.is_proof else None,
            "layers": certificate.layers,
            "outputs": certificate.outputs,
            "assumptions": [str(a) for a in certificate.assumptions],
            "samples": certificate.samples,
            "notes": certificate.notes,
            "counter_example": shown,
            "written": str(output) if found is not None and output is not None else None,
        }
        print_json(figures)
    else:
        columns = ("in the first model", "in the second", "shown", "values", "steps", "bound", "what differs")
        stretches = (*certificate.layers, *certificate.outputs)
        rows = [(s.a, s.b, s.verdict.value, s.values, s.steps, s.bound, s.detail) for s in stretches]
        print_table(certificate.verdict.value, columns, rows)
        say(*certificate.assumptions, *certificate.notes)
        if certificate.verdict is Verdict.EXACT_BUT_FOR_FLOAT_ROUNDING:
            say(f"outputs differ by no more than {certificate.bound:g}")
        if found is not None:
            text = f"output '{found.output}' differs by {found.largest:g} on an input"
            written = "; write it with -o" if output is None else f" that is in {output}"
            say(text + written)
    if not certificate.verdict.is_proof:
        raise typer.Exit(FINDINGS)
