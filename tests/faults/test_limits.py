"""Files that may not grow, many writers at once, folders without permission, threads, and memory over many runs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest

from anybit import Session, load, save
from tests.models import PROJECT, mlp, samples


def run(script: str, *arguments: object) -> str:
    """What a script of its own prints."""
    paths = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


COMMANDS = [
    "clean m.onnx -o out",
    "convert m.onnx --to qcdq --no-check -o out",
    "run m.onnx -i x.npz -o out",
    "report m.onnx -o out",
    "zoo evaluate m.onnx --data d.npz --batch-size 1 --journal journal",
]
_LIMITED = """
import contextlib, io, json, os, resource, sys
from anybit.cli.app import main
os.chdir(sys.argv[1])
for command in json.loads(sys.argv[2]):
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    sys.argv = ["anybit", *command.split()]
    code, errors = 0, io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as ended:
        code = ended.code
    os.write(1, json.dumps([code, errors.getvalue()]).encode() + b"\\n")
    os._exit(0)
"""


def test_a_file_that_may_not_grow_is_a_line_and_leaves_the_old_one(tmp_path):
    onnx.save(mlp(batch="N", hidden=300), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=samples(100, 6))
    np.savez(tmp_path / "d.npz", x=samples(100, 6), labels=np.zeros(100, np.int64))
    (tmp_path / "out").write_bytes(b"old")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    ends = [json.loads(line) for line in run(_LIMITED, tmp_path, json.dumps(COMMANDS)).splitlines()]
    assert len(ends) == len(COMMANDS)
    for code, errors in ends:
        assert code == 2, errors
        assert "File too large" in errors
        assert len(errors.splitlines()) == 1
    assert (tmp_path / "journal").stat().st_size <= 1000
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if not p.name.startswith("journal")} == before


_WRITERS = """
import os, sys
from anybit import load, save
from tests.models import mlp
waiting, begin = os.pipe()
children = []
for number in range(16):
    child = os.fork()
    if child:
        children.append(child)
        continue
    os.close(begin)
    proto = mlp(hidden=300)
    proto.graph.doc_string = str(number)
    tensor = next(t for t in proto.graph.initializer if t.name == "w")
    tensor.raw_data = number.to_bytes(4, "little") * (len(tensor.raw_data) // 4)
    model = load(proto)
    os.read(waiting, 1)
    for _ in range(10):
        save(model, sys.argv[1], external_data=number % 4 != 0)
    os._exit(0)
os.close(begin)
print([os.waitpid(child, 0)[1] for child in children])
"""


def test_sixteen_writers_at_once(tmp_path):
    """The last one wins; model and data are of one writer, and nothing else is left."""
    path = tmp_path / "m.onnx"
    assert run(_WRITERS, path) == f"{[0] * 16}\n"
    model = load(path)
    number = int(model.graph.doc_string)
    found = np.unique(model.graph.initializers["w"].const_value.numpy().view(np.int32))
    assert found.tolist() == [number]
    assert len(list(tmp_path.iterdir())) == (2 if number % 4 else 1)


_UNPRIVILEGED = """
import os, sys
from anybit import load, save
from anybit.errors import AnybitError
from tests.models import mlp
model = load(mlp(hidden=300))
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for external_data in (False, True):
    for name in ("m.onnx", "new.onnx"):
        try:
            save(model, os.path.join(sys.argv[1], name), external_data=external_data)
        except AnybitError as error:
            print(error)
"""


def test_a_folder_that_may_not_be_written_is_named():
    with TemporaryDirectory() as made:  # pytest's own folders are closed to others
        folder = Path(made)
        (folder / "m.onnx").write_bytes(b"old")
        (folder / "m.onnx").chmod(0o666)
        folder.chmod(0o555)
        output = run(_UNPRIVILEGED, folder)
        folder.chmod(0o755)
        assert [line.rpartition("got ")[2] for line in output.splitlines()] == ["Permission denied"] * 4
        assert [p.name for p in folder.iterdir()] == ["m.onnx"]
        assert (folder / "m.onnx").read_bytes() == b"old"


@pytest.mark.parametrize("engine", ["auto", "onnxruntime", "reference"])
def test_eight_threads_on_a_session(engine):
    session = Session(mlp(batch="N"), engine=engine)
    feeds = [samples(1 + seed % 5, 6, seed=seed) for seed in range(200)]
    expected = [session.run(x)["y"] for x in feeds]
    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(lambda x: session.run(x)["y"], feeds * 5), expected * 5, strict=True):
            np.testing.assert_array_equal(found, right)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.large)])
def test_many_runs_take_no_memory(count):
    session = Session(mlp(), engine="onnxruntime", threads=1)
    x = samples(1, 6)

    def runs(number: int) -> None:
        for _ in range(number):
            session.run(x)

    runs(2000)
    before = resident()
    runs(count)
    assert resident() - before < 4 << 20
    tracemalloc.start()
    runs(100)
    held = tracemalloc.get_traced_memory()[0]
    runs(1000)
    grown = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    assert grown < 1000, "less than a byte a run"


def test_many_loads_and_saves_keep_no_file_open(tmp_path):
    save(load(mlp(hidden=300)), tmp_path / "m.onnx", external_data=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        save(load(tmp_path / "m.onnx"), tmp_path / "m.onnx")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
