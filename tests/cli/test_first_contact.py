"""The command line as someone meets it first: help, info on one screen, shapes, evaluate."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from onnx import TensorProto, helper
from typer.main import get_command
from typer.testing import CliRunner

import anybit
from anybit.cli.app import app
from anybit.cli.terminal.output import fitted, shortened
from tests.models import DIGITS, model

runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, list(map(str, arguments)))


def _commands(group, name=()):
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*name, word))
        else:
            yield (*name, word), command


@pytest.mark.parametrize(("name", "command"), list(_commands(get_command(app))), ids=str)
def test_every_command_has_examples_of_options_that_it_has(name, command):
    examples = [shlex.split(line) for line in (command.epilog or "").splitlines() if "anybit" in line]
    assert examples
    options = {option for parameter in command.params for option in parameter.opts}
    required = [p for p in command.params if p.required]
    for program, *words in examples:
        given = {word for word in words if word.startswith("-")}
        assert (program, *words[: len(name)]) == ("anybit", *name)
        assert given <= options
        assert all(given & set(p.opts) or p.param_type_name == "argument" for p in required)


def test_info_fits_a_screen_and_says_widths_macs_and_accuracy():
    text = run("info", DIGITS / "model.onnx").stdout
    assert len(text.splitlines()) <= 25
    for part in ("INT2", "MACs", "accuracy", "on disk", "at their true widths", "stock ONNX Runtime"):
        assert part in text
    figures = json.loads(run("info", DIGITS / "model.onnx", "--json").stdout)
    assert figures["macs"] == anybit.cost(DIGITS / "model.onnx").dense.macs


def test_info_counts_the_quantisers_of_another_dialect(tmp_path):
    scale, zero = {"s": np.float32(0.1)}, {"z": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("MatMul", ["d", "wd"], ["y"]),
    ]
    weights = {"w": np.arange(-6, 6, dtype=np.int8).reshape(4, 3)}
    path = tmp_path / "qdq.onnx"
    anybit.save(model(nodes, scale | zero | weights, inputs={"x": ["N", 4]}, outputs=["y"]), path)
    text = run("info", path).stdout
    assert "100% INT8 x INT8" in text
    assert "not quantised" not in text


@pytest.fixture
def free(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])]
    path = tmp_path / "free.onnx"
    weights = {"w": np.ones((4, 3, 3, 3), np.float32)}
    anybit.save(model(nodes, weights, inputs={"x": ["N", 3, "H", "W"]}, outputs=["y"]), path)
    return path


def test_free_shapes_are_named_with_the_option_that_helps(free):
    left = run("cost", free)
    assert left.exit_code == 1
    assert "--input-shape" in left.stdout
    assert "MACs = 108*(H - 2)*(W - 2)" in left.stdout
    assert "bit operations = 110592*(H - 2)*(W - 2)" in left.stdout
    told = run("info", free).stdout
    assert "--input-shape" in told
    assert "108*(H - 2)*(W - 2)" in told
    given = json.loads(run("cost", free, "--input-shape", "x=1,3,5,6", "--json").stdout)
    assert given["dense"]["macs"] == 3 * 4 * 4 * 27
    for command in ("ranges", "types"):
        assert run(command, free, "--input-shape", "x=1,3,5,6").exit_code == 0


def test_evaluate_is_a_command():
    found = run("evaluate", DIGITS / "model.onnx", "--data", DIGITS / "test.npz", "--labels", "labels", "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["score"] > 0.8


def test_one_output_is_written_as_npy_and_bytes_are_taken_as_floats(tmp_path):
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    proto = model(nodes, {}, inputs={"x": ["N", 2]}, outputs=["y"], input_type=TensorProto.FLOAT)
    anybit.save(proto, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.array([[1, 255]], np.uint8))
    done = run("run", tmp_path / "m.onnx", "-i", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert done.exit_code == 0, done.output
    assert "uint8 given as float32" in done.output
    assert np.load(tmp_path / "y.npy").tolist() == [[-1, -255]]


def test_a_dry_run_to_one_format_speaks_of_it_alone():
    rows = json.loads(run("convert", DIGITS / "model.onnx", "--to", "qcdq", "--dry-run", "--json").stdout)["formats"]
    assert [row["format"] for row in rows] == ["qcdq"]


def test_names_are_shortened_in_the_middle_until_a_line_fits():
    names = [f"encoder/layer.{k}/attention/self/query/MatMul" for k in range(3)]
    rows = fitted(("name", "type"), [[n, "FLOAT32"] for n in names], 40)
    assert all(len(name) + 2 + len("FLOAT32") <= 40 for name, _ in rows)
    assert all(name.startswith("encoder") and name.endswith("MatMul") for name, _ in rows)
    assert shortened("short", 5) == "short"
