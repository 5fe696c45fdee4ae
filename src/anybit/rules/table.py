"""RULES: all rules; `rules_of`: what a name means to each source that names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anybit.rules.check import CHECK_RULES
from anybit.rules.other import ERROR_RULES, OTHER_RULES
from anybit.rules.repair import REPAIR_RULES
from anybit.rules.rule import Rule, RuleOrigin
from anybit.rules.targets import FINN_RULES, HLS4ML_RULES

RULES: tuple[Rule, ...] = (*CHECK_RULES, *REPAIR_RULES, *OTHER_RULES, *FINN_RULES, *HLS4ML_RULES, *ERROR_RULES)
"""Every rule, by source and name. Notes of a pass go by the name of the pass, which its own text explains."""


def rules_of(name: str) -> tuple[Rule, ...]:
    """The rules of this name, in whichever case it is written; a value behind it, as repairs have, does not matter.

    Example:
        >>> [rule.source.value for rule in rules_of("zero-point")]
        ['anybit check', 'anybit.repairs', 'anybit prepare finn']
    """
    wanted = name.strip("[]").partition(" ")[0].lower()
    return tuple(rule for rule in RULES if rule.name.lower() == wanted)


def by_source(rules: Iterable[Rule]) -> Mapping[RuleOrigin, tuple[Rule, ...]]:
    """The rules of each source."""
    found: dict[RuleOrigin, tuple[Rule, ...]] = {}
    for rule in rules:
        found[rule.source] = (*found.get(rule.source, ()), rule)
    return found
