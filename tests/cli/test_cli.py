"""The command line as a user calls it: output, exit codes, one line for each error."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from docs.generate.command_line import commands
from tests.cli.command import anybit
from tests.models import DIGITS, mlp, model, parameters, quant, samples


@pytest.fixture
def files(tmp_path):
    onnx.save(mlp(), tmp_path / "m.onnx")
    bad = model([quant("x", "y")], parameters("y", bits=2.5), inputs={"x": [1, 6]}, outputs=["y"])
    onnx.save(bad, tmp_path / "bad.onnx")
    np.savez(tmp_path / "x.npz", x=samples(100, 6))
    np.save(tmp_path / "x.npy", samples(100, 6))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    return tmp_path


@pytest.mark.parametrize("module", ["anybit", "anybit.cli.app"])
def test_modules_are_the_command(files, module):
    command = [sys.executable, "-m", module, "info", str(files / "m.onnx")]
    alone = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    here = anybit("info", files / "m.onnx")
    assert (alone.returncode, alone.stdout, alone.stderr) == (here.returncode, here.stdout, here.stderr)


def test_info_says_what_a_model_is(files):
    result = anybit("info", files / "m.onnx", "--json")
    facts = json.loads(result.stdout)
    assert result.returncode == 0
    assert facts["operators"] == {"qonnx.custom_op.general::Quant": 3, "MatMul": 1, "Relu": 1}
    assert facts["inputs"] == [{"name": "x", "type": "float", "shape": "[1, 6]", "optional": False}]
    kinds = {(q["number_format"], q["weights"]) for q in facts["quantizers"]}
    assert kinds == {("INT4", False), ("INT4", True), ("UINT4", False)}
    assert "[1, 6]" in anybit("info", files / "m.onnx").stdout


def test_check_exits_1_on_errors_and_0_without(files):
    assert anybit("check", files / "m.onnx").returncode == 0
    result = anybit("check", files / "bad.onnx", "--json")
    assert result.returncode == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["rule"], finding["node"], finding["got"]) == ("bit-width", "Quant 'y_node'", "2.5")


def test_check_says_how_to_learn_more_of_its_rules(files):
    assert anybit("check", files / "bad.onnx").stdout.endswith("causes and cures: anybit explain bit-width\n")
    assert "explain" not in anybit("check", files / "m.onnx").stdout


@pytest.mark.parametrize("source", ["x.npz", "x.npy"])
def test_run_writes_outputs_and_tensors(files, source):
    out = files / "out.npz"
    result = anybit(
        "run", files / "m.onnx", "-i", files / source, "-o", out, "--tensors", "h,xq", "--batch-size", "7", "--json"
    )
    assert result.returncode == 0, result.stderr
    assert [t["tensor"] for t in json.loads(result.stdout)["tensors"]] == ["y", "h", "xq"]
    arrays = np.load(out)
    assert {k: v.shape for k, v in arrays.items()} == {"y": (100, 8), "h": (100, 8), "xq": (100, 6)}
    again = anybit("run", files / "m.onnx", "-i", files / source, "-o", files / "b.npz", "--engine", "reference")
    assert again.returncode == 0
    np.testing.assert_array_equal(np.load(files / "b.npz")["y"], arrays["y"])


def test_compare_exits_1_on_departures(files):
    assert anybit("compare", files / "m.onnx", files / "m.onnx", "--layers").returncode == 0
    other = mlp()
    (mode,) = (a for a in other.graph.node[0].attribute if a.name == "rounding_mode")
    mode.s = b"FLOOR"
    onnx.save(other, files / "floor.onnx")
    result = anybit("compare", files / "m.onnx", files / "floor.onnx", "--layers", "--samples", "8", "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert report["equal"] is False
    assert report["comparison"]["first_departure"]["name"] == "xq"
    assert report["comparison"]["first_departure"]["steps"] == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("check", "absent.onnx"), "No such file"),
        (("info", "x.npz"), "not an ONNX model"),
        (("run", "m.onnx", "-i", "absent.npy"), "absent.npy"),
        (("run", "m.onnx", "-i", "objects.npy"), "pickled objects are not read"),
        (("run", "m.onnx", "-i", "m.onnx"), "no array of a format that is known"),
        (("run", "m.onnx", "-i", "x.npy", "--engine", "warp"), "unknown engine"),
        (("run", "m.onnx", "-i", "x.npy", "--tensors", "nope"), "no such tensor"),
        (("run", "m.onnx", "-i", "x.npy", "--batch-size", "0"), "batch size"),
        (("run", "m.onnx", "-i", "x.npy", "-o", "no/where.npz"), "cannot write"),
        (("run", "bad.onnx", "-i", "x.npy"), "bitwidth"),
        (("compare", "m.onnx", "m.onnx", "--samples", "0"), "number of samples"),
    ],
)
def test_misuse_and_bad_files_are_one_line_and_exit_2(files, monkeypatch, arguments, text):
    monkeypatch.chdir(files)
    before = sorted(files.iterdir())
    result = anybit(*arguments)
    assert result.returncode == 2
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""
    assert sorted(files.iterdir()) == before


def test_debug_shows_the_traceback(files):
    for arguments in (("--debug", "check", files / "absent.onnx"), ("check", files / "absent.onnx", "--debug")):
        assert "Traceback" in anybit(*arguments).stderr


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_what_no_input_should_cause_is_said_to_be_a_bug(files, monkeypatch, options):
    def broken(model):
        raise TypeError("unsupported\noperand")

    monkeypatch.setattr("anybit.info", broken)
    result = anybit("info", files / "m.onnx", *options)
    assert result.returncode == 70
    *trace, line = result.stderr.strip().splitlines()
    assert line.startswith("anybit: this is a bug of anybit: TypeError: unsupported operand; please report it")
    assert "--debug" in line
    assert bool(trace) is bool(options)
    assert not trace or trace[0].startswith("Traceback")


def test_memory_that_is_not_there_is_one_line(files, monkeypatch):
    def hungry(model):
        return bytearray(1 << 62)

    monkeypatch.setattr("anybit.info", hungry)
    result = anybit("info", files / "m.onnx")
    assert result.returncode == 2
    assert result.stderr.splitlines() == ["anybit: out of memory"]


def test_the_version_is_printed():
    assert anybit("--version").stdout.startswith("anybit 0.")


def test_the_help_of_every_command_is_shown():  # brackets in it are no markup
    for name in commands():
        ended = anybit(*name.split()[1:], "--help")
        assert (ended.returncode, ended.stderr) == (0, ""), name
        assert f"{name.removeprefix('anybit')} [OPTIONS]" in ended.stdout, name


def test_unknown_commands_and_options_exit_2():
    assert anybit("bogus").returncode == 2
    assert anybit("check").returncode == 2


def test_the_shipped_model_reaches_its_accuracy(tmp_path):
    data = np.load(DIGITS / "test.npz")
    np.save(tmp_path / "x.npy", data["pixels"])
    out = tmp_path / "y.npz"
    assert anybit("run", DIGITS / "model.onnx", "-i", tmp_path / "x.npy", "-o", out).returncode == 0
    accuracy = (np.load(out)["logits"].argmax(axis=1) == data["labels"]).mean()
    assert accuracy == pytest.approx(355 / 360)


def test_clean_writes_a_tidy_model_and_says_what_each_pass_did(files):
    out = files / "clean.onnx"
    result = anybit("clean", files / "m.onnx", "-o", out, "--batch", "dynamic", "--skip", "merge-quantizers", "--json")
    assert result.returncode == 0, result.stderr
    names = [s["name"] for s in json.loads(result.stdout)["steps"]]
    assert "SetBatch" in names
    assert "MergeQuantizers" not in names
    assert onnx.load(out).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert anybit("compare", files / "m.onnx", out, "--tolerance", "0").returncode == 0


def test_passes_are_listed_and_applied(files):
    listed = json.loads(anybit("passes", "--json").stdout)
    assert {"name", "does", "options"} == set(listed[0])
    out = files / "out.onnx"
    chosen = ("-p", "fold-constants:keep_quantizers=false", "-p", "remove-unused")
    assert anybit("apply", files / "m.onnx", *chosen, "-o", out).returncode == 0
    assert [n.op_type for n in onnx.load(out).graph.node] == ["Quant", "MatMul", "Relu", "Quant"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("clean", "m.onnx", "-o", "out.onnx", "--batch", "some"),
        ("clean", "m.onnx", "-o", "out.onnx", "--batch", "0"),
        ("clean", "m.onnx", "-o", "out.onnx", "--input-shape", "x"),
        ("clean", "m.onnx", "-o", "out.onnx", "--input-shape", "nope=1,2"),
        ("clean", "m.onnx", "-o", "out.onnx", "--input-shape", "x=1,2", "--input-shape", "x=1,3"),
        ("clean", "m.onnx", "-o", "out.onnx", "--skip", "bogus"),
        ("clean", "absent.onnx", "-o", "out.onnx"),
        ("apply", "m.onnx", "-o", "out.onnx", "-p", "bogus"),
        ("apply", "m.onnx", "-o", "out.onnx", "-p", "expose-tensors:tensors=ghost"),
        ("apply", "m.onnx", "-o", "no/where.onnx", "-p", "remove-unused"),
    ],
)
def test_failed_surgery_writes_nothing(files, monkeypatch, arguments):
    monkeypatch.chdir(files)
    before = sorted(files.iterdir())
    result = anybit(*arguments)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize("name", ["file", "allow_pickle", "/model/Relu_output_0"])
def test_outputs_of_any_name_are_written(tmp_path, name):
    onnx.save(
        model([helper.make_node("Relu", ["x"], [name])], {}, inputs={"x": ["N", 2]}, outputs=[name]),
        tmp_path / "m.onnx",
    )
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.float32))
    assert anybit("run", tmp_path / "m.onnx", "-i", tmp_path / "x.npy", "-o", tmp_path / "o.npz").returncode == 0
    with np.load(tmp_path / "o.npz") as written:
        np.testing.assert_array_equal(written[name], np.ones((3, 2), np.float32))


def test_apply_exits_1_when_a_pass_had_to_leave_a_node(files):
    nodes = [onnx.helper.make_node("Sub", ["x", "z"], ["y"], name="minus")]
    onnx.save(model(nodes, {}, inputs={"x": [1, 6], "z": [1, 6]}, outputs=["y"]), files / "sub.onnx")
    result = anybit("apply", files / "sub.onnx", "-p", "sub-to-add", "-o", files / "out.onnx")
    assert result.returncode == 1
    assert "Sub 'minus'" in result.stdout
    assert (files / "out.onnx").exists()
