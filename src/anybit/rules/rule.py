"""Rule: the meaning of one name that findings and repairs go by."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class RuleOrigin(enum.Enum):
    """What names a rule; a name may mean different things to different ones."""

    CHECK = "anybit check"
    REPAIR = "anybit.repairs"
    COST = "anybit cost"
    APPLY = "anybit apply"
    FINN = "anybit prepare finn"
    HLS4ML = "anybit prepare hls4ml"
    REPORT = "anybit report"
    ERROR = "anybit.errors"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        name: Its stable name, such as ``bit-width``.
        source: What names it.
        cause: What is the case, in one sentence or two.
        cure: What to do about it.
    """

    name: str
    source: RuleOrigin
    cause: str
    cure: str


def rules(source: RuleOrigin, *entries: tuple[str, str, str]) -> tuple[Rule, ...]:
    """Rules of one source, of entries of name, cause and cure."""
    return tuple(Rule(name=name, source=source, cause=cause, cure=cure) for name, cause, cure in entries)
