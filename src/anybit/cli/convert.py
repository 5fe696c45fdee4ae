"""anybit convert: a model in another format, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import anybit
from anybit.cli.terminal.output import FINDINGS, JsonOption, ModelArgument, print_json, print_table, say
from anybit.errors import UsageError

if TYPE_CHECKING:
    from anybit.errors import Diagnosis
    from anybit.exact.certificate import Certificate
    from anybit.formats.capability import DialectCapability

_COLUMNS = (
    "format",
    "quantisers",
    "layers",
    "below 8 bits",
    "arbitrary width",
    "rounding other than half-even",
    "weights only",
    "no duplicated op variants",
    "high-precision output",
)


def convert(
    model: ModelArgument,
    to: Annotated[
        str | None,
        typer.Option("--to", help="qonnx, finn, qcdq, qdq, quantized-ops or integer-ops.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="ONNX file to write.", show_default=False)
    ] = None,
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate",
            help="Allow changes of a stated bound, and write the model even if some nodes stay as they are.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; print what each format can carry of the model, and why.")
    ] = False,
    pack: Annotated[bool, typer.Option("--pack", help="Store weights as small integers (qonnx).")] = False,
    embed_functions: Annotated[
        bool, typer.Option("--embed-functions", help="Put the bodies of the operators into the file (qonnx).")
    ] = False,
    standard: Annotated[
        bool,
        typer.Option(
            "--standard",
            help="Write what the format cannot carry with standard operators that compute the same "
            "(qcdq, qdq, quantized-ops, integer-ops).",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Compare what is written with the source, before it is written.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """Translate a model of any format; it means the same, bit for bit, or nothing is written.

    The result is compared with its source, by a proof for every input where there is one and by running both; which
    of it was done is printed, and a departure that is no stated approximation is refused.

    What a format cannot carry is refused, node by node, with the reason: then nothing is written, and the exit code
    is 1. With --approximate the model is written all the same: a change is listed with its bound, a node that still
    cannot be carried stays as it is and is listed as refused; the exit code is 0 if nothing is refused, else 1.
    With --standard nothing that has standard operators is refused; what is written so is listed. Notes say what stock
    ONNX Runtime computes otherwise than the file says, and which of its options helps; they leave the exit code alone.
    With --dry-run the exit code is 1 if the format of --to refuses anything, 0 without --to; with --to only that
    format is spoken of.
    """
    from anybit.exact.certificate import Verdict

    if dry_run:
        _compare(model, to, as_json=json)
        return
    if to is None or output is None:
        raise UsageError("--to and -o", got="one is missing", expected="both", hint="or ask for --dry-run")

    result = anybit.convert(
        model,
        to,
        approximate=approximate,
        pack=pack,
        embed_functions=embed_functions,
        standard=standard,
        check=check,
    )
    certificate = result.certificate
    departs = certificate is not None and certificate.verdict is Verdict.DIFFERENT and not result.approximations
    written = not departs and (approximate or not result.refusals)
    if written:
        anybit.save(result.model, output)
    if json:
        print_json(
            {
                "output": str(output) if written else None,
                "refusals": result.refusals,
                "approximations": result.approximations,
                "substitutions": result.substitutions,
                "notes": result.notes,
                "check": None if certificate is None else _check_figures(certificate),
            }
        )
    else:
        _print_list("approximated", result.approximations)
        _print_list("substituted", result.substitutions)
        _print_list("refused", result.refusals)
        _print_list("notes", result.notes)
        say(*(["not compared with the source"] if certificate is None else _check_text(certificate)))
        say(f"written to {output}" if written else "nothing was written")
    if result.refusals:
        raise typer.Exit(FINDINGS)


def _check_text(certificate: Certificate) -> list[str]:
    """How the result was compared with its source, in a few lines."""
    shown = certificate.verdict.value if certificate.verdict.is_proof else "not proven equal"
    if certificate.verdict.is_proof and not certificate.verdict.is_exact:
        shown += f", {certificate.bound:g}"
    if certificate.counter_example is not None:
        run = f"a difference of {certificate.counter_example.largest:g} on one of {certificate.samples} samples"
    elif certificate.samples:
        run = f"no difference on {certificate.samples} samples"
    else:
        run = "not run on samples"
    return [f"compared with the source: {shown}; {run}", *map(str, certificate.assumptions), *certificate.notes]


def _check_figures(certificate: Certificate) -> dict[str, object]:
    found = certificate.counter_example
    return {
        "verdict": certificate.verdict,
        "samples": certificate.samples,
        "largest_difference": 0.0 if found is None else found.largest,
        "assumptions": [str(a) for a in certificate.assumptions],
        "notes": certificate.notes,
    }


def _compare(model: Path, to: str | None, *, as_json: bool) -> None:
    from anybit.formats.convert import parse_format

    wanted = None if to is None else parse_format(to)
    rows = [row for row in anybit.capabilities(model) if wanted is None or row.format is wanted]
    if as_json:
        print_json({"formats": rows})
    else:
        title = "What each format can carry" if wanted is None else f"What {wanted.value} can carry"
        print_table(f"{title} of this model, of how many", _COLUMNS, [_cells(r) for r in rows])
        for row in (r for r in rows if r.refusals):
            say("")
            _print_list(f"{row.format.value}: {len(row.refusals)} refused", row.refusals)
    if any(row.format is wanted and row.refusals for row in rows):
        raise typer.Exit(FINDINGS)


def _cells(row: DialectCapability) -> tuple[object, ...]:
    return (
        row.format.value,
        str(row.quantizers),
        str(row.layers),
        str(row.below_8_bits),
        str(row.arbitrary_width),
        str(row.other_rounding),
        str(row.weights_only),
        "yes" if row.without_variants else "no",
        str(row.high_precision_output),
    )


def _print_list(title: str, items: Sequence[Diagnosis]) -> None:
    if items:
        say(title, *(f"  {item}" for item in items))
