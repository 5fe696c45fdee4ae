"""The reference of findings, repairs and errors, from the table of rules."""

from __future__ import annotations

from anybit.rules.rule import Rule, RuleOrigin
from anybit.rules.table import RULES, by_source
from docs.generate.markdown import cell


def text() -> str:
    """Findings and repairs by what names them, in alphabetical order."""
    sources = by_source(rule for rule in RULES if rule.source is not RuleOrigin.ERROR)
    return "\n\n".join(_section(source, rules) for source, rules in sources.items())


def text_of_errors() -> str:
    """The classes of errors."""
    return "\n\n".join(_rule(rule, level=2) for rule in by_source(RULES)[RuleOrigin.ERROR])


def _section(source: RuleOrigin, rules: tuple[Rule, ...]) -> str:
    return "\n\n".join([f"## {source.value}", *(_rule(r, level=3) for r in sorted(rules, key=lambda r: r.name))])


def _rule(rule: Rule, *, level: int) -> str:
    return f"{'#' * level} {rule.name}\n\n{cell(rule.cause)}\n\n*Cure:* {cell(rule.cure)}"
