"""anybit convert as a user calls it: what is written, what is listed, exit codes."""

from __future__ import annotations

import json

import onnx
import pytest
import typer
from onnx import helper
from typer.testing import CliRunner

import anybit
from anybit.cli.convert import convert
from anybit.errors import UsageError
from anybit.formats.convert import translate
from anybit.runtime import convert as module
from tests.exact.test_equivalence import CHANGES, changed
from tests.formats.qdq.linear_models import assert_same, operators
from tests.models import mlp, model, parameters, quant, samples

_APP = typer.Typer()
_APP.command()(convert)


def call(*arguments: object):
    result = CliRunner().invoke(_APP, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def files(tmp_path):
    onnx.save(mlp(), tmp_path / "m.onnx")
    nodes = [quant("x", "a", prefix="p"), quant("a", "y", prefix="q", rounding_mode="FLOOR")]
    floor = model(nodes, parameters("p", scale=0.3) | parameters("q", scale=0.7), inputs={"x": [4]}, outputs=["y"])
    onnx.save(floor, tmp_path / "floor.onnx")
    return tmp_path


def test_a_model_is_written_and_means_the_same(files):
    result = call(files / "m.onnx", "--to", "qcdq", "-o", files / "out.onnx")
    assert result.exit_code == 0
    assert "written to" in result.stdout
    assert "Quant" not in operators(anybit.load(files / "out.onnx"))
    assert_same(onnx.load(files / "m.onnx"), onnx.load(files / "out.onnx"), samples(1, 6))


def test_refusals_write_nothing_and_exit_with_1(files):
    result = call(files / "floor.onnx", "--to", "qcdq", "-o", files / "out.onnx")
    assert result.exit_code == 1
    assert "Quant 'y_node'" in result.stdout
    assert "FLOOR" in result.stdout
    assert "nothing was written" in result.stdout
    assert not (files / "out.onnx").exists()


def test_approximations_are_listed_with_their_bound_and_exit_with_0(files):
    result = call(files / "floor.onnx", "--to", "qcdq", "-o", files / "out.onnx", "--approximate")
    assert result.exit_code == 0
    assert "one step of 0.7" in result.stdout
    assert operators(anybit.load(files / "out.onnx")).count("QuantizeLinear") == 2


def test_what_remains_refused_is_written_as_it_was_and_exits_with_1(files):
    values = parameters("p", scale=0.3) | parameters("q", bits=11.0)
    nodes = [quant("x", "a", prefix="p"), quant("a", "y", prefix="q")]
    onnx.save(model(nodes, values, inputs={"x": [4]}, outputs=["y"]), files / "wide.onnx")
    result = call(files / "wide.onnx", "--to", "qcdq", "-o", files / "out.onnx", "--approximate", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [r["node"] for r in report["refusals"]] == ["Quant 'y_node'"]
    assert operators(anybit.load(report["output"]))[-1] == "Quant"


def test_the_json_of_a_refusal_has_no_output(files):
    result = call(files / "floor.onnx", "--to", "qdq", "-o", files / "out.onnx", "--json")
    report = json.loads(result.stdout)
    assert report["output"] is None
    assert [r["node"] for r in report["refusals"]] == ["Quant 'y_node'"]


def test_standard_operators_leave_nothing_refused(files):
    result = call(files / "floor.onnx", "--to", "qdq", "-o", files / "out.onnx", "--standard")
    assert result.exit_code == 0
    assert "Quant 'y_node': written with standard operators: got Div, Clip, Floor, Mul" in result.stdout
    written = anybit.load(files / "out.onnx")
    assert {n.domain for n in written.graph} == {""}
    assert_same(onnx.load(files / "floor.onnx"), written, samples(4))


def test_standard_operators_are_in_the_json(files):
    result = call(files / "floor.onnx", "--to", "qcdq", "-o", files / "out.onnx", "--standard", "--json")
    report = json.loads(result.stdout)
    assert [(s["node"], s["got"]) for s in report["substitutions"]] == [("Quant 'y_node'", "Div, Clip, Floor, Mul")]
    assert (report["refusals"], report["notes"]) == ([], [])


def test_what_stock_onnx_runtime_computes_otherwise_is_noted_with_the_option_that_helps(files):
    nodes = [quant("x", "a"), helper.make_node("Softmax", ["a"], ["s"], name="soft"), quant("s", "y", signed=0)]
    values = parameters("a", bits=8.0) | parameters("y", bits=8.0, scale=0.004)
    onnx.save(model(nodes, values, inputs={"x": [4, 5]}, outputs=["y"]), files / "soft.onnx")
    command = (files / "soft.onnx", "--to", "qcdq", "-o", files / "out.onnx")
    result = call(*command)
    assert result.exit_code == 0
    assert "Softmax 'soft': stock ONNX Runtime" in result.stdout
    assert 'session option "session.disable_quant_qdq" = "1"' in result.stdout
    (note,) = json.loads(call(*command, "--json").stdout)["notes"]
    assert (note["node"], note["remedy"]) == ("Softmax 'soft'", note["hint"])


def test_a_dry_run_prints_the_table_and_the_reasons(files):
    result = call(files / "floor.onnx", "--dry-run")
    assert result.exit_code == 0
    assert "no duplicated op variants" in " ".join(result.stdout.split())
    assert "qcdq: 1 refused" in result.stdout
    assert "expected ROUND" in result.stdout
    assert sorted(p.name for p in files.iterdir()) == ["floor.onnx", "m.onnx"]


def test_a_dry_run_for_one_format_exits_as_that_conversion_would(files):
    assert call(files / "floor.onnx", "--dry-run", "--to", "qcdq").exit_code == 1
    assert call(files / "m.onnx", "--dry-run", "--to", "qcdq").exit_code == 0
    assert call(files / "floor.onnx", "--dry-run", "--to", "qonnx").exit_code == 0


def test_the_table_is_in_json_too(files):
    rows = {r["format"]: r for r in json.loads(call(files / "floor.onnx", "--dry-run", "--json").stdout)["formats"]}
    assert rows["qonnx"]["quantizers"] == {"carried": 2, "of": 2}
    assert rows["qcdq"]["other_rounding"] == {"carried": 0, "of": 1}
    assert rows["qcdq"]["refusals"][0]["got"] == "FLOOR"


def test_packing_and_embedding(files):
    onnx.save(mlp(hidden=500), files / "wide.onnx")
    out = files / "out.onnx"
    result = call(files / "wide.onnx", "--to", "qonnx", "-o", out, "--pack", "--embed-functions")
    assert result.exit_code == 0
    assert len(onnx.load(out).functions) > 0
    assert_same(onnx.load(files / "wide.onnx"), anybit.load(out), samples(1, 6), runtime=False)


@pytest.mark.parametrize(
    "arguments",
    [(), ("--to", "qcdq"), ("-o", "out.onnx"), ("--to", "tflite", "-o", "out.onnx"), ("--to", "tflite", "--dry-run")],
)
def test_misuse(files, arguments):
    with pytest.raises(UsageError):
        call(files / "m.onnx", *arguments)


def test_how_the_result_was_compared_is_said(files):
    result = call(files / "m.onnx", "--to", "qcdq", "-o", files / "out.onnx")
    assert "compared with the source: exact by construction; no difference on" in result.stdout
    result = call(files / "m.onnx", "--to", "qcdq", "-o", files / "out.onnx", "--json")
    figures = json.loads(result.stdout)["check"]
    assert figures["verdict"] == "exact by construction"
    assert figures["samples"] > 0
    assert figures["largest_difference"] == 0
    assert call(files / "m.onnx", "--to", "qcdq", "-o", files / "o.onnx", "--no-check").stdout.startswith(
        "not compared"
    )


def test_a_departure_is_never_written(files, monkeypatch):
    wrong = changed(mlp(), "w", CHANGES["negated"])
    monkeypatch.setattr(module, "translate", lambda _, to, **options: translate(wrong, to, **options))
    for options in ((), ("--approximate",)):
        result = call(files / "m.onnx", "--to", "qcdq", "-o", files / "out.onnx", *options)
        assert result.exit_code == 1
        assert "computes something else than the source" in result.stdout
        assert not (files / "out.onnx").exists()
