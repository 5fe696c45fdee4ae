"""anybit prepare: models for hardware tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import anybit
from anybit.cli.options.input_ranges import RangeOption, parse_ranges
from anybit.cli.terminal.examples import examples_of
from anybit.cli.terminal.output import FINDINGS, JsonOption, ModelArgument, OutputOption, print_json, say
from anybit.errors import UsageError

if TYPE_CHECKING:
    from anybit.errors import Diagnosis
    from anybit.number_formats import NumberFormat
    from anybit.runtime.compare import Comparison
    from anybit.targets.handover import Handover
    from anybit.targets.hls4ml.handover import Hls4mlHandover
    from anybit.targets.hls4ml.project.document import Document
    from anybit.targets.project import Project

LogitsOption = Annotated[
    bool, typer.Option("--logits", help="Cut off a Softmax at the end: the output is what it reads.")
]

FolderOption = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        help="Folder to write: a new one, or an earlier project as it was written.",
        show_default=False,
    ),
]

prepare = typer.Typer(
    name="prepare", help="Prepare a model for a hardware tool, or say what stands in the way.", no_args_is_help=True
)
"""The commands, one a tool."""


@prepare.command(epilog=examples_of("prepare finn"))
def finn(
    model: ModelArgument,
    output: OutputOption,
    form: Annotated[
        str, typer.Option("--form", help="dialect (thresholds, exact), or qonnx (FINN converts it itself).")
    ] = "dialect",
    input_type: Annotated[
        list[str] | None,
        typer.Option("--input-type", help="NAME=FORMAT of an input that is only fed such integers, as x=UINT8."),
    ] = None,
    logits: LogitsOption = False,
    board: Annotated[
        str | None, typer.Option("--board", help="Board that the project is built for, as FINN calls it: Pynq-Z2.")
    ] = None,
    target_fps: Annotated[
        int | None, typer.Option("--target-fps", min=1, help="Images a second that the project's layers are to reach.")
    ] = None,
    clock_ns: Annotated[float, typer.Option("--clock-ns", help="Period of the project's clock.")] = 10.0,
    json: JsonOption = False,
) -> None:
    """A model as FINN takes it: integer products, and thresholds that are exact for every sum.

    Lists what was rewritten and what stands in the way, and compares the prepared model with its source. It is
    written only if nothing stands in the way; else the exit code is 1. An output that ends in .onnx is the model alone;
    any other is a folder: the model, build.py with the steps of FINN's builder that it needs, and the inputs and
    outputs that are compared on the way.
    """
    from anybit.targets import write_finn_project
    from anybit.targets.finn.prepare import FinnForm

    forms = {f.value: f for f in FinnForm}
    if form not in forms:
        raise UsageError("--form", got=repr(form), expected=", ".join(forms))
    types = _input_types(input_type or ())
    handover = anybit.prepare_finn(model, form=forms[form], input_types=types, logits=logits)
    project = output.suffix != ".onnx"
    if handover.ready and project:
        write_finn_project(handover, output, board=board, target_fps=target_fps, clock_ns=clock_ns)
    _finish(handover, output, as_json=json, written=project)


@prepare.command(epilog=examples_of("prepare hls4ml"))
def hls4ml(
    model: ModelArgument,
    output: OutputOption,
    input_range: RangeOption = None,
    logits: LogitsOption = False,
    io_type: Annotated[
        str, typer.Option("--io-type", help="parallel (all elements at once), or stream (position by position).")
    ] = "parallel",
    reuse: Annotated[
        int | None,
        typer.Option("--reuse", min=1, help="Most cycles for one result of a layer; larger is smaller and slower."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """A model as hls4ml takes it: exact rewrites of what it would refuse, or compute otherwise.

    Lists what was rewritten and what stands in the way, and compares the prepared model with its source. It is
    written only if nothing stands in the way; else the exit code is 1. An output that ends in .onnx is the model alone;
    any other is a folder: the model, hls4ml_config.yml with the number formats and the reuse of each layer, build.py,
    which converts, compiles and compares, and the inputs and outputs that it compares.
    """
    from anybit.targets import write_hls4ml_project

    handover = anybit.prepare_hls4ml(
        model, input_ranges=parse_ranges(input_range or ()), logits=logits, io_type=io_type, reuse=reuse
    )
    if handover.ready and output.suffix != ".onnx":
        write_hls4ml_project(handover, output)
    _finish(handover, output, as_json=json, written=output.suffix != ".onnx", configuration=_told(handover))


@prepare.command(epilog=examples_of("prepare c"))
def c(
    model: ModelArgument,
    output: FolderOption,
    name: Annotated[
        str | None, typer.Option("--name", help="What all identifiers begin with; made of the file's name by default.")
    ] = None,
    logits: LogitsOption = False,
    json: JsonOption = False,
) -> None:
    """A model as dependency-free C99: one header, one source, a CMake file and a test program with vectors.

    Prints flash and RAM, or lists what stands in the way: then nothing is written, and the exit code is 1.
    """
    _finish_project(anybit.prepare_c(model, name=name, logits=logits), output, as_json=json)


@prepare.command(epilog=examples_of("prepare da4ml"))
def da4ml(
    model: ModelArgument,
    output: FolderOption,
    logits: LogitsOption = False,
    json: JsonOption = False,
) -> None:
    """A model as a project for da4ml: the model, its vectors, and a script that makes the circuit and compares it.

    Lists what is left to the caller, or what stands in the way: then nothing is written, and the exit code is 1.
    """
    _finish_project(anybit.prepare_da4ml(model, logits=logits), output, as_json=json)


def _finish_project(project: Project, output: Path, *, as_json: bool) -> None:
    """Writes the folder if there is one, and prints what came of it."""
    if project.ready:
        project.write(output)
    if as_json:
        print_json(
            {
                "output": str(output) if project.ready else None,
                "name": project.name,
                "files": sorted(project.files),
                "rewrites": project.rewrites,
                "findings": project.findings,
                "figures": dict(project.figures),
            }
        )
    else:
        _print_list("rewritten", project.rewrites)
        _print_list("findings", project.findings)
        say(*(f"{k}: {v:,}" if isinstance(v, int) else f"{k}: {v}" for k, v in project.figures.items()))
        say(f"written to {output}: {', '.join(sorted(project.files))}" if project.ready else "nothing was written")
    if not project.ready:
        raise typer.Exit(FINDINGS)


def _input_types(entries: Sequence[str]) -> dict[str, NumberFormat]:
    from anybit.number_formats import parse_number_format

    pairs = [entry.rpartition("=") for entry in entries]
    wrong = [entry for entry, (name, _, _) in zip(entries, pairs, strict=True) if not name]
    if wrong:
        raise UsageError("--input-type", got=repr(wrong[0]), expected="NAME=FORMAT, such as x=UINT8")
    return {name: parse_number_format(text) for name, _, text in pairs}


def _told(handover: Hls4mlHandover) -> Document | None:
    """What hls4ml is told of each layer."""
    from anybit.targets.hls4ml.project.document import hls_config

    return None if handover.configuration is None else hls_config(handover.configuration)


def _finish(
    handover: Handover,
    output: Path,
    *,
    as_json: bool,
    written: bool = False,
    configuration: Document | None = None,
) -> None:
    """Writes the model if it is ready and not written yet, and prints what came of it."""
    if handover.ready and not written:
        anybit.save(handover.model, output)
    if as_json:
        print_json(
            {
                "output": str(output) if handover.ready else None,
                "rewrites": handover.rewrites,
                "findings": handover.findings,
                "comparison": handover.comparison,
                "precision": handover.precision,
                **({} if configuration is None else {"configuration": configuration}),
            }
        )
    else:
        _print(handover, output)
    if not handover.ready:
        raise typer.Exit(FINDINGS)


def _print(handover: Handover, output: Path) -> None:
    _print_list("rewritten", handover.rewrites)
    _print_list("findings", handover.findings)
    lines = [
        "" if handover.comparison is None else _comparison(handover.comparison),
        "" if handover.precision is None else f"precision: {handover.precision}",
        f"written to {output}" if handover.ready else "nothing was written",
    ]
    say(*filter(None, lines))


def _comparison(comparison: Comparison) -> str:
    elements = sum(d.elements for d in comparison.outputs)
    unequal, departing = (sum(getattr(d, k) for d in comparison.outputs) for k in ("unequal", "departing"))
    largest = max((d.largest for d in comparison.outputs), default=0.0)
    return (
        f"compared with the source on {comparison.samples} samples: {departing} of {elements} elements depart, "
        f"{unequal} are another number, by {largest:.3g} at most"
    )


def _print_list(title: str, items: Sequence[Diagnosis]) -> None:
    if items:
        say(title, *(f"  {item}" for item in items))
