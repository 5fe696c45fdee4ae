"""anybit explain: what a rule means, with cause and cure."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from anybit.cli.terminal.output import JsonOption, print_json, say
from anybit.errors import UsageError

if TYPE_CHECKING:
    from anybit.rules.rule import Rule


def explain(
    rule: Annotated[
        str | None, typer.Argument(help="Name in brackets of a finding; or of an error.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """What a rule of a finding, a repair or an error means: cause and cure. Without a name, all rules.

    Example: anybit explain bit-width
    """
    from anybit.rules.table import RULES

    found = RULES if rule is None else _found(rule)
    if json:
        print_json([{"rule": r.name, "source": r.source, "cause": r.cause, "cure": r.cure} for r in found])
    elif rule is None:
        say(*(f"{r.source.value}: {r.name}" for r in found))
    else:
        for position, one in enumerate(found):
            say(
                *([""] if position else []),
                f"{one.name} ({one.source.value})",
                f"cause: {one.cause}",
                f"cure:  {one.cure}",
            )


def _found(name: str) -> tuple[Rule, ...]:
    from anybit.passes.catalog import catalog
    from anybit.rules.rule import Rule, RuleOrigin
    from anybit.rules.table import RULES, rules_of

    found = rules_of(name)
    kind = catalog().get(name.strip("[]").lower())
    if kind is not None:
        text = " ".join((inspect.getdoc(kind) or "").partition("\nAttributes:")[0].split())
        cure = "A note of the pass says why it left a node as it was: nothing has to be done."
        found = (*found, Rule(name=name.strip("[]"), source=RuleOrigin.APPLY, cause=text, cure=cure))
    if not found:
        names = sorted({r.name for r in RULES} | set(catalog()))
        near = get_close_matches(name, names, n=3)
        raise UsageError("unknown rule", got=repr(name), expected=", ".join(near) or "one that `anybit explain` lists")
    return found
