"""anybit check: everything that is wrong with a model."""

from __future__ import annotations

import typer

import anybit
from anybit.cli.terminal.output import FINDINGS, JsonOption, ModelArgument, print_json, say


def check(model: ModelArgument, json: JsonOption = False) -> None:
    """Every finding at once, errors and warnings, with node names. Exit code 1 if there are errors."""
    from anybit.errors import Severity

    findings = anybit.check(model)
    errors = sum(f.severity is Severity.ERROR for f in findings)
    if json:
        print_json({"errors": errors, "warnings": len(findings) - errors, "findings": findings})
    else:
        say(*findings, f"{errors} errors, {len(findings) - errors} warnings")
        say(*(f"causes and cures: anybit explain {rule}" for rule in dict.fromkeys(f.rule for f in findings)))
    if errors:
        raise typer.Exit(FINDINGS)
