"""anybit plan: the integer layers of a model, and what of it is none."""

from __future__ import annotations

import typer

from anybit.cli.terminal.output import FINDINGS, JsonOption, ModelArgument, print_json, print_table, say


def plan(model: ModelArgument, json: JsonOption = False) -> None:
    """The model as integer layers, one a line, and which part of it is none and why. Exit code 1 if there is such."""
    from anybit.plan import describe, plan_of

    found = describe(plan_of(model))
    if json:
        print_json(found)
    else:
        columns = ("step", "tensor", "elements", "of", "MACs", "weight bits", "epilogue", "offset")
        rows = [
            (s.kind, s.tensor, s.elements, s.element, s.macs, s.weight_bits, s.epilogue, s.offset) for s in found.steps
        ]
        print_table(f"{model}: {found.macs:,} MACs, arena {found.arena:,} bytes a sample", columns, rows)
        say(f"reads {', '.join(found.inputs)}; makes {', '.join(found.outputs)}")
        say(*(f"no plan: {refusal}" for refusal in found.refusals))
    if found.refusals:
        raise typer.Exit(FINDINGS)
