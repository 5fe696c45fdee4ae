"""anybit quantize: a float model with quantisers of any bit widths."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import anybit
from anybit.cli.quantization.sensitivity import widths
from anybit.cli.terminal.output import (
    JsonOption,
    ModelArgument,
    OutputOption,
    print_json,
    print_table,
    progress_of,
    say,
)
from anybit.errors import UsageError

if TYPE_CHECKING:
    from anybit.quantization import LayerBits, Quantized, Scales, Target


def quantize(
    model: ModelArgument,
    output: OutputOption,
    calibration: Annotated[
        Path, typer.Option(help=".npz, .npy or a folder of images; no labels are needed.", show_default=False)
    ],
    weights: Annotated[int, typer.Option(help="Bits of the weights, 2 to 16.")] = 8,
    activations: Annotated[int, typer.Option(help="Bits of the activations, 2 to 16.")] = 8,
    first_last: Annotated[
        int | None, typer.Option(help="Bits of the first and last layers and of what they read.", show_default=False)
    ] = None,
    scales: Annotated[
        str | None, typer.Option(help="float or power-of-two; a target chooses the latter.", show_default=False)
    ] = None,
    per_tensor: Annotated[bool, typer.Option("--per-tensor", help="One scale for all channels of a weight.")] = False,
    weights_only: Annotated[bool, typer.Option("--weights-only", help="Leave the activations in float.")] = False,
    block: Annotated[
        int | None, typer.Option(help="So many entries of a row of the weights share a scale.", show_default=False)
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="Layer to leave in float, by name or pattern.", show_default=False)
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Bits of a layer by name or pattern: NAME=WEIGHTS, or NAME=WEIGHTS/INPUT.", show_default=False
        ),
    ] = None,
    accumulator: Annotated[
        int | None, typer.Option(help="Bits of an accumulator that every layer must fit.", show_default=False)
    ] = None,
    target: Annotated[str | None, typer.Option(help="finn or hls4ml.", show_default=False)] = None,
    bits: Annotated[
        str | None, typer.Option(help="Bit widths that a budget chooses from for each tensor; 2,3,4,6,8 if not given.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Choose widths tensor by tensor: bops=..., weight-bits=..., activation-bits=..., file-size=..., "
            "target-loss=..., joined by commas.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a search under a budget: go on from there.", show_default=False)
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster that searches, or auto.", show_default=False)
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Actors of the cluster.", show_default=False)] = None,
    front: Annotated[
        Path | None,
        typer.Option(help="File for the Pareto front of loss against cost, as JSON.", show_default=False),
    ] = None,
    requantize: Annotated[
        bool, typer.Option("--requantize", help="Take out the quantisers that the model has first.")
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(help="Plan as JSON: followed if the file is there, else written to it.", show_default=False),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print a row for each tensor.")] = False,
    json: JsonOption = False,
) -> None:
    """Quantises a float model on samples without labels.

    The model that is written has the operators of QONNX, and is read by every other command. Its weights are rounded
    layer by layer, so that what a layer makes of its quantised inputs comes near to what the float layer makes.
    """
    from anybit.quantization import CostBudget, Plan, Recipe, pareto_front

    recipe = Recipe(
        weights=weights,
        activations=None if weights_only else activations,
        first_last=first_last,
        scales=None if scales is None else _scales(scales),
        per_tensor=per_tensor,
        block=block,
        skip=tuple(skip or ()),
        layers=dict(map(_layer, layer or ())),
        accumulator=accumulator,
        target=None if target is None else _target(target),
        bits=Recipe.bits if bits is None else widths(bits),
        budget=None if budget is None else CostBudget.from_text(budget),
        requantize=requantize,
    )
    if budget is None and (bits, resume, ray, workers, front) != (None,) * 5:
        raise UsageError("--bits, --resume, --ray, --workers, --front", got="no budget", expected="--budget")
    followed = Plan.read(plan) if plan is not None and plan.exists() else None
    with progress_of("quantising", unit="segments") as advance:
        result = anybit.quantize(
            model, calibration, recipe, plan=followed, resume=resume, ray=ray, workers=workers, progress=advance
        )
    anybit.save(result.model, output)
    if plan is not None and followed is None:
        result.plan.write(plan)
    if front is not None and result.allocation is not None:
        pareto_front(result.allocation).write(front)
    if json:
        print_json({"output": str(output), "report": result.report, "plan": result.plan})
        return
    _print(result, output, explain=explain)


def _scales(text: str) -> Scales:
    from anybit.quantization import Scales

    try:
        return Scales(text)
    except ValueError:
        raise UsageError("--scales", got=repr(text), expected=", ".join(s.value for s in Scales)) from None


def _target(text: str) -> Target:
    from anybit.quantization import Target

    try:
        return Target(text)
    except ValueError:
        raise UsageError("--target", got=repr(text), expected=", ".join(t.value for t in Target)) from None


def _layer(text: str) -> tuple[str, LayerBits]:
    """NAME=WEIGHTS or NAME=WEIGHTS/INPUT."""
    from anybit.quantization import LayerBits

    name, _, bits = text.rpartition("=")
    parts = bits.split("/")
    if not name or len(parts) > 2 or not all(p.isdecimal() for p in parts):
        raise UsageError("--layer", got=repr(text), expected="NAME=4 or NAME=4/8")
    numbers = [int(p) for p in parts]
    return name, LayerBits(numbers[0], numbers[1] if len(numbers) > 1 else None)


def _print(result: Quantized, output: Path, *, explain: bool) -> None:
    report = result.report
    of_weights = sum(t.is_weight for t in report.tensors)
    say(
        f"written to {output}: {of_weights} weights and {len(report.tensors) - of_weights} activations quantised "
        f"on {report.samples:,} samples"
    )
    if result.allocation is not None:
        costs = ", ".join(f"{name.replace('_', '-')} {value:,}" for name, value in result.allocation.costs.items())
        say(f"within the budget: {costs}")
    for name, error in report.outputs.items():
        say(f"output '{name}': {error:.2%} of its square is quantisation error on the calibration data")
    if explain:
        rows = [
            (
                t.tensor,
                "weight" if t.is_weight else "activation",
                f"{'' if t.signed else 'U'}INT{t.bits}",
                t.scale,
                t.zero_point,
                f"{t.sqnr:.1f} dB",
                f"{t.share:.1%}",
                t.reason,
            )
            for t in report.tensors
        ]
        columns = ("tensor", "kind", "format", "scale", "zero point", "SQNR", "share of the error", "why")
        print_table("\nTensors", columns, rows)
