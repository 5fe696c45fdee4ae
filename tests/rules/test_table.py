"""Every rule that a finding, a repair or an error can go by is explained, once, and `anybit explain` finds it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import anybit
from anybit.passes.catalog import catalog
from anybit.rules.rule import RuleOrigin
from anybit.rules.table import RULES, rules_of
from tests.cli.command import anybit as run
from tests.models import PROJECT
from tests.public import names_of

_SOURCE = PROJECT / "src" / "anybit"
_OF_CHECK = ("analysis", "io", "ops")
# Rules that are not written as one text: attributes of windows, inputs and outputs of calls, reasons of a reading.
_COMPUTED = {
    "kernel-shape", "strides", "dilations", "pads", "output-padding", "inputs", "outputs", "file", "model", "cost",
    "scale-shape", "zero-point-shape", "operand-shape", "bias-shape", "operator",
}  # fmt: skip


def _texts(expression: ast.expr | None) -> Iterator[str]:
    """The texts that an expression may be."""
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        yield expression.value
    elif isinstance(expression, ast.IfExp):
        yield from (*_texts(expression.body), *_texts(expression.orelse))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _rules_in(files: Iterator[Path] | list[Path]) -> dict[str, str]:
    """Every rule that is written in these files, with the file."""
    found: dict[str, str] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            by_name = {k.arg: k.value for k in node.keywords}
            if _called(node) in {"Finding", "finding_of"}:
                rules = _texts(by_name.get("rule"))
            elif _called(node) in {"finding", "_finding", "record", "Repair"} and node.args:
                rules = _texts(node.args[0])
            else:
                continue
            found |= {rule: file.relative_to(_SOURCE).as_posix() for rule in rules}
    return found


def _of(*folders: str) -> list[Path]:
    return [p for f in folders for p in sorted((_SOURCE / f).rglob("*.py"))]


def _names(*sources: RuleOrigin) -> set[str]:
    return {rule.name for rule in RULES if rule.source in sources}


def test_every_rule_of_check_is_explained():
    written = _rules_in([p for p in _of(*_OF_CHECK) if "cost" not in p.parts])
    missing = {r: f for r, f in written.items() if r not in _names(RuleOrigin.CHECK, RuleOrigin.REPAIR)}
    assert not missing, "add them to src/anybit/rules/"


@pytest.mark.parametrize(("folder", "source"), [("finn", RuleOrigin.FINN), ("hls4ml", RuleOrigin.HLS4ML)])
def test_every_rule_of_a_target_is_explained(folder, source):
    written = _rules_in(_of(f"targets/{folder}")) | _rules_in([_SOURCE / "targets" / "handover.py"])
    assert {r: f for r, f in written.items() if r not in _names(source)} == {}, (
        "add them to src/anybit/rules/targets.py"
    )


def test_no_rule_is_explained_that_nothing_names():
    written = _rules_in(_of(".")) | dict.fromkeys(_COMPUTED | set(names_of(anybit.errors)), "")
    prefixes = {"domain", "name", "rounding", "integer"}  # of repairs, with a value behind it
    assert {r.name for r in RULES} - set(written) - prefixes == set()


def test_every_error_is_explained():
    errors = {n for n in names_of(anybit.errors) if n.endswith("Error")}
    assert _names(RuleOrigin.ERROR) == errors


def test_a_rule_stands_once_for_each_source_and_says_cause_and_cure():
    assert len({(r.source, r.name) for r in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.cause.endswith("."), rule
        assert rule.cure.endswith("."), rule


def test_notes_of_passes_go_by_the_names_of_passes():
    rules = _rules_in(_of("passes", "cleanup"))
    assert set(rules) <= set(catalog())


def test_explain_prints_cause_and_cure():
    ended = run("explain", "bit-width")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "cause: The bit width of a quantiser is no positive integer" in ended.stdout
    assert "cure: " in ended.stdout


def test_explain_takes_names_as_findings_print_them_and_values_of_repairs():
    assert run("explain", "[bit-width]").stdout == run("explain", "bit-width").stdout
    assert rules_of("domain onnx.brevitas") == rules_of("domain") != ()


def test_explain_has_every_pass_and_every_rule():
    listed = json.loads(run("explain", "--json").stdout)
    assert {e["rule"] for e in listed} == {r.name for r in RULES}
    assert json.loads(run("explain", "fold-shapes", "--json").stdout)[0]["source"] == "anybit apply"


@pytest.mark.parametrize("name", ["bitwidth", "", " ", "\x1b[31m", "a" * 10_000])
def test_explain_refuses_what_is_no_rule(name):
    ended = run("explain", name)
    assert ended.returncode == 2
    assert ended.stderr.startswith("anybit: unknown rule: got ")
    assert "\x1b" not in ended.stderr
