"""What anybit says when something is wrong: node, got, expected, next step.

One value, `Diagnosis`, carries the text. It is raised inside an `AnybitError`, listed inside a `Finding`
(by `check`), or returned as a `Refusal` (by a translation that cannot keep the meaning).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


def visible(text: str) -> str:
    r"""The text with what cannot be printed as escapes: names in files could steer a terminal, or forge a line.

    That is every control character, the marks that turn the direction of writing, line separators, spaces that are no
    plain ones, and halves of surrogate pairs.

    Example:
        >>> print(visible("red \x1b[31m, turned \u202e, größe"))
        red \x1b[31m, turned \u202e, größe
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One thing that is wrong, in the four parts that a reader needs; its text is one line that can be printed.

    Example:
        >>> print(Diagnosis(problem="bit width", node="Quant 'act'", got="2.5", expected="a positive integer"))
        Quant 'act': bit width: got 2.5, expected a positive integer
    """

    problem: str
    node: str = ""
    got: str = ""
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.node}: {self.problem}" if self.node else self.problem
        facts = [f"got {self.got}"] if self.got else []
        if self.expected:
            facts.append(f"expected {self.expected}")
        if facts:
            text += ": " + ", ".join(facts)
        return visible(f"{text}; {self.hint}" if self.hint else text)


class Severity(enum.Enum):
    """How bad a finding is: an error stops a model from meaning anything, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Finding(Diagnosis):
    """One result of a check.

    Attributes:
        rule: Short stable name of the rule, such as ``bit-width``.
        severity: Whether the model can still be given a meaning.
    """

    rule: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.severity.value} [{visible(self.rule)}] {super().__str__()}"


@dataclass(frozen=True, kw_only=True)
class Refusal(Diagnosis):
    """Why a node cannot be translated without changing what it means."""


class AnybitError(Exception):
    """Root of the errors that anybit raises on purpose; its text is a `Diagnosis`."""

    def __init__(
        self, problem: str, *, node: str = "", got: object = "", expected: object = "", hint: str = ""
    ) -> None:
        self.diagnosis = Diagnosis(problem=problem, node=node, got=str(got), expected=str(expected), hint=hint)
        super().__init__(str(self.diagnosis))


class ModelFileError(AnybitError):
    """A file, or bytes, that cannot be read as an ONNX model, or a place that cannot be written."""


class InvalidModelError(AnybitError):
    """A model that was read but cannot be given a meaning."""


class InputError(AnybitError):
    """Data fed to a model that does not fit its inputs, or a name that the model does not have."""


class UnknownTensorError(InputError, KeyError):
    """A tensor that the model does not have, asked for by name."""

    def __str__(self) -> str:  # that of KeyError quotes its text
        return str(self.diagnosis)


class UnsupportedError(AnybitError):
    """An operator, version or engine that this installation cannot run."""


class LimitError(AnybitError):
    """A model that asks for more memory, or steps of a loop, than the limits allow, or more memory than there is."""


class UsageError(AnybitError):
    """An argument or option that makes no sense, such as an unknown rounding mode."""


class FrontEndError(AnybitError):
    """A module, layer or quantiser that cannot be converted, or whose conversion gives other numbers."""
