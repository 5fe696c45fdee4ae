"""The reference of ``--json``: a versioned schema a command; `python -m docs.generate.schemas` writes new ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import anybit
from anybit.errors import Finding, Refusal
from anybit.plan import PlanSummary
from anybit.quantization import Plan, QuantizationReport, Sensitivity
from anybit.results import (
    AppliedPass,
    Approximation,
    Bench,
    Comparison,
    DialectCapability,
    Evaluation,
    Figures,
    Note,
    OtherNodes,
    Ranges,
    Rewrite,
    Statistics,
    Substitution,
    Summary,
    TensorProof,
    TensorType,
    Verdict,
)
from anybit.rules.rule import RuleOrigin
from docs.generate.json_schema import schema_of
from docs.generate.markdown import cell, table

VERSION = 1
"""It grows by one when a reader of before would fail; keys may be added without that."""
FOLDER = Path(__file__).resolve().parent.parent / "reference" / "schemas"


class Checked(TypedDict):
    """Of ``anybit check``."""

    errors: int
    warnings: int
    findings: list[Finding]


class Explained(TypedDict):
    """One rule, of ``anybit explain``."""

    rule: str
    source: RuleOrigin
    cause: str
    cure: str


class Stepped(TypedDict):
    """Of ``anybit clean`` and ``anybit apply``."""

    output: str
    steps: list[AppliedPass]


class Listed(TypedDict):
    """One pass, of ``anybit passes``."""

    name: str
    does: str
    options: str


class Ran(TypedDict):
    """Of ``anybit run``; each tensor has its name, shape and statistics."""

    engine: str
    samples: int
    accuracy: NotRequired[float]
    tensors: list[dict[str, Any]]


class Compared(TypedDict):
    """Of ``anybit compare``."""

    equal: bool
    comparison: Comparison


class Costed(TypedDict):
    """Of ``anybit cost``; with ``--by`` also layers or operators."""

    samples: int | None
    counting: str
    dense: Figures
    sparse: NotRequired[Figures]
    layers: NotRequired[list[dict[str, Any]]]
    operators: NotRequired[list[dict[str, Any]]]
    others: list[OtherNodes]
    macs_expression: NotRequired[str]
    bit_operations_expression: NotRequired[str]
    findings: list[Finding]


class Converted(TypedDict):
    """Of ``anybit convert``."""

    output: str | None
    refusals: list[Refusal]
    approximations: list[Approximation]
    substitutions: list[Substitution]
    notes: list[Note]
    check: dict[str, Any] | None


class DryRun(TypedDict):
    """Of ``anybit convert --dry-run``."""

    formats: list[DialectCapability]


class Verified(TypedDict):
    """Of ``anybit verify``."""

    exact: bool
    verdict: Verdict
    bound: float | None
    layers: list[TensorProof]
    outputs: list[TensorProof]
    assumptions: list[str]
    samples: int
    notes: list[str]
    counter_example: dict[str, Any] | None
    written: str | None


class Prepared(TypedDict):
    """Of ``anybit prepare finn`` and ``anybit prepare hls4ml``."""

    output: str | None
    rewrites: list[Rewrite]
    findings: list[Finding]
    comparison: Comparison | None
    precision: str | None


class Quantized(TypedDict):
    """Of ``anybit quantize``."""

    output: str
    report: QuantizationReport
    plan: Plan


class Benched(TypedDict):
    """Of ``anybit bench``; evaluations by engine."""

    speed: Bench | None
    accuracy: dict[str, Evaluation]


OUTPUTS: Mapping[str, Any] = {
    "apply": Stepped,
    "bench": Benched,
    "check": Checked,
    "clean": Stepped,
    "compare": Compared,
    "convert": Converted,
    "convert-dry-run": DryRun,
    "cost": Costed,
    "explain": list[Explained],
    "info": Summary,
    "passes": list[Listed],
    "plan": PlanSummary,
    "prepare-finn": Prepared,
    "prepare-hls4ml": Prepared,
    "quantize": Quantized,
    "ranges": Ranges,
    "run": Ran,
    "sensitivity": Sensitivity,
    "stats": Statistics,
    "types": list[TensorType],
    "verify": Verified,
}
"""What each command prints, by its name."""


def current(name: str) -> dict[str, Any]:
    """The schema that follows from the code."""
    return schema_of(OUTPUTS[name], f"anybit/{name}/{VERSION}")


def recorded(name: str) -> dict[str, Any]:
    """The schema that was published."""
    return json.loads((FOLDER / f"{name}-{VERSION}.json").read_text(encoding="utf-8"))


def text() -> str:
    """The keys of each output, then those of the records in them."""
    schemas = {name: recorded(name) for name in OUTPUTS}
    records = {n: r for schema in schemas.values() for n, r in schema.get("$defs", {}).items()}
    roots = {
        schema.get("$ref", schema.get("items", {}).get("$ref", "")).rpartition("/")[2] for schema in schemas.values()
    }
    inner = [f"### {name}\n\n{_described(records[name])}" for name in sorted(set(records) - roots)]
    return "\n\n".join([*map(_section, schemas, schemas.values()), "## Records", *inner])


def _section(name: str, schema: Mapping[str, Any]) -> str:
    root = schema.get("$ref", schema.get("items", {}).get("$ref", "")).rpartition("/")[2]
    many = "A list; each entry has these keys.\n\n" if schema.get("type") == "array" else ""
    link = f"Version {VERSION}: {{download}}`schema <schemas/{name}-{VERSION}.json>`."
    return f"## anybit {name.replace('-', ' ')}\n\n{link} {many}{_described(schema['$defs'][root])}"


def _described(record: Mapping[str, Any]) -> str:
    rows = [
        (f"`{key}`", _kind(value) + ("" if key in record["required"] else "; not always there"))
        for key, value in record["properties"].items()
    ]
    return f"{cell(record['description'])}\n\n{table(('key', 'value'), rows)}"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(s) for s in schema["anyOf"] if s != {"enum": ["inf", "-inf", "nan"]})
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{_kind(schema['additionalProperties'])}, by name"
    return str(schema.get("type", "anything"))


def text_of_card() -> str:
    """The schema of a catalogue, as the package has it."""
    file = Path(anybit.__file__).parent / "zoo" / "catalogue.schema.json"
    return f"```json\n{file.read_text(encoding='utf-8').rstrip()}\n```"


def main() -> None:
    """Writes the schemas that are not there yet; one that was published stays as it is."""
    FOLDER.mkdir(exist_ok=True)
    for name in OUTPUTS:
        file = FOLDER / f"{name}-{VERSION}.json"
        if not file.exists():
            file.write_text(json.dumps(current(name), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
