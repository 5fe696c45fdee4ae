"""Standard streams that are closed, full or ASCII, and names that would steer a terminal: a line, a right exit code."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit.errors import Diagnosis, Finding, InputError, InvalidModelError, visible
from tests.models import model, parameters, quant

EVIL = "\x1b[2J\x1b]0;pwned\x07\r\x08\x7f\x9b31m\u202e\u2066\u2028\nüß[/x]:smile:"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
COMMANDS = [
    "check m",
    "check bad",
    "info m",
    "info m --json",
    "types m",
    "ranges m",
    "cost m --by node",
    "stats m -i x",
    "convert m --dry-run",
    "convert m --to integer-ops -o o",
    "clean m -o o",
    "apply m infer-shapes -o o",
    "run m -i x --tensors all",
    "compare m other --layers",
    "verify m other",
    "report m -o page",
    "prepare finn m -o o",
    "prepare hls4ml m -o o",
    "zoo list",
    "run m -i other",
    "run bad -i x",
    "run m -i x --tensors nothing",
    "passes",
]


def evil(*, bits: float = 4.0, scale: float = 0.25):
    """A model all of whose names would steer a terminal."""
    n = EVIL
    nodes = [
        quant(f"x{n}", f"xq{n}"),
        quant(f"w{n}", f"wq{n}", narrow=1),
        helper.make_node("MatMul", [f"xq{n}", f"wq{n}"], [f"h{n}"], name=f"matmul{n}"),
        helper.make_node("Sin", [f"h{n}"], [f"s{n}"], name=f"sin{n}"),
        quant(f"s{n}", f"y{n}"),
    ]
    weights = {f"w{n}": np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2)}
    constants = weights | parameters(f"xq{n}") | parameters(f"wq{n}", scale=scale) | parameters(f"y{n}", bits=bits)
    made = model(nodes, constants, inputs={f"x{n}": [1, 6]}, outputs=[f"y{n}"])
    made.graph.name, made.producer_name = f"g{n}", f"p{n}"
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evil")
    for name, proto in (("m", evil()), ("bad", evil(bits=2.5)), ("other", evil(scale=0.5))):
        onnx.save(proto, folder / name)
    np.savez(folder / "x.npz", **{f"x{EVIL}": np.ones((1, 6), np.float32)})
    (folder / "x.npz").rename(folder / "x")
    return folder


def anybit(folder, command: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    arguments = [sys.executable, "-m", "anybit", *command.split()]
    return subprocess.run(arguments, cwd=folder, check=False, timeout=120, **given)


_ALL = """
import json, os, pkgutil, sys
from importlib import import_module
import anybit
from anybit.cli.app import main
for module in pkgutil.walk_packages(anybit.__path__, "anybit."):  # once, not in every process
    apart = (".frontends", ".train", "__main__", "openvino", "on_ray", "da4ml.tracer")
    if not any(part in module.name for part in apart):
        import_module(module.name)
for command in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    sys.argv = ["anybit", *command.split()]
    try:
        main()
    finally:
        sys.stdout.flush()
        os._exit(0)
"""


@pytest.mark.parametrize(("encoding", "commands"), [("utf-8", COMMANDS), ("ascii:strict", COMMANDS[:6])])
def test_no_name_steers_a_terminal_and_every_stream_takes_every_name(files, encoding, commands):
    import json

    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", _ALL, json.dumps(commands)]
    ended = subprocess.run(command, cwd=files, env=environment, capture_output=True, check=False, timeout=300)
    for stream in (ended.stdout, ended.stderr):
        text = stream.decode(encoding.partition(":")[0])
        assert not RAW.search(text), RAW.search(text)
        assert "Traceback" not in text
    assert ended.stdout.count(b"pwned") > len(commands)
    assert "[/x]:smile:" in ended.stdout.decode(encoding.partition(":")[0])


@pytest.mark.parametrize("command", ["check bad", "info m --json", "zoo list", "check --help"])
def test_a_stdout_that_cannot_be_written_is_a_line_and_exit_2(files, command):
    def close_stdout() -> None:
        os.close(1)

    read, write = os.pipe()
    os.close(read)
    full = os.open("/dev/full", os.O_WRONLY)
    given = [
        ({"stdout": full}, "No space left on device"),
        ({"stdout": None, "preexec_fn": close_stdout}, "Bad file descriptor"),
    ]
    given += [] if command == "check --help" else [({"stdout": write}, "Broken pipe")]
    for options, text in given:
        ended = anybit(files, command, **options)
        assert ended.stderr.decode() == f"anybit: cannot write to standard output: got {text}\n"
        assert ended.returncode == 2
    os.close(write)
    os.close(full)


def test_a_file_is_not_written_into_the_place_of_a_closed_stdout(files):
    ended = anybit(files, "clean m -o clean", stdout=None, preexec_fn=lambda: os.close(1))
    assert (ended.returncode, ended.stderr.count(b"\n")) == (2, 1)
    ended = anybit(files, "clean m -o clean.too", stdout=None, preexec_fn=lambda: os.closerange(0, 3))
    assert ended.returncode == 2
    assert (files / "clean").read_bytes() == (files / "clean.too").read_bytes()
    onnx.load(files / "clean")


@pytest.mark.parametrize("stderr", ["full", "closed"])
def test_a_stderr_that_cannot_be_written_changes_no_exit_code(files, stderr):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        options = {"stderr": full} if stderr == "full" else {"stderr": None, "preexec_fn": lambda: os.close(2)}
        codes = [anybit(files, command, **options).returncode for command in ("check bad", "info absent")]
    assert codes == [1, 2]


def test_debug_shows_a_traceback_that_steers_no_terminal(files):
    ended = anybit(files, "run bad -i x --debug")
    text = ended.stderr.decode()
    assert ended.returncode == 1
    assert text.startswith("Traceback")
    assert "pwned" in text
    assert not RAW.search(text)


def test_texts_of_errors_are_one_line_that_can_be_printed():
    parts = {"node": EVIL, "got": EVIL, "expected": EVIL, "hint": EVIL}
    error = InputError(EVIL, **parts)
    for said in (error, error.diagnosis, Diagnosis(problem=EVIL, **parts), Finding(rule=EVIL, problem=EVIL, **parts)):
        assert str(said).isprintable()
        assert str(said).count("pwned") >= 5
    assert error.diagnosis.node == EVIL, "the name itself stays"
    assert visible("größe 🎉 \\x1b") == "größe 🎉 \\x1b"
    assert visible("\ud800\x00") == "\\ud800\\x00"


def test_what_libraries_log_of_a_model_is_one_line(files, caplog):
    from anybit import load

    broken = evil()
    del broken.graph.initializer[:]
    with pytest.raises(InvalidModelError, match="pwned") as error:
        load(broken)
    assert str(error.value).isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)
