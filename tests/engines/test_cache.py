"""The cache of models that are ready to run: what hits, what does not, damage, and many processes at once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from anybit import Operator, Session, load, register
from anybit.engines import cache as cache_module
from anybit.engines.onnxruntime import backend as ort
from anybit.engines.onnxruntime import lower as lowering
from anybit.errors import ModelFileError
from anybit.ops.operator import Input
from tests.engines.onnxruntime.rewrites.test_integer_layers import convolutions
from tests.models import mlp, model, parameters, quant, samples


@pytest.fixture(autouse=True)
def without_kernels(monkeypatch):
    """These tests are of ONNX Runtime, also where `auto` would take the native engine."""
    monkeypatch.setenv("ANYBIT_ISA", "none")


def entries(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix == ".lowered")


@pytest.fixture
def lowerings(monkeypatch):
    """How often a model was lowered."""
    calls: list[bool] = []
    original = ort.lower

    def counted(*arguments, **options):
        calls.append(options["integer"])
        return original(*arguments, **options)

    monkeypatch.setattr(ort, "lower", counted)
    return calls


@pytest.fixture(params=["mlp", "convolutions", "in a file"])
def proto(request, monkeypatch):
    if request.param == "in a file":  # as models with many megabytes of weights have them
        monkeypatch.setattr(lowering, "IN_MEMORY", 0)
    return mlp(hidden=300) if request.param != "convolutions" else convolutions()


def feeds(proto):
    return samples(3, 3, 6, 6) if len(proto.graph.input[0].type.tensor_type.shape.dim) == 4 else samples(3, 6)


def test_a_hit_computes_the_same_without_lowering(tmp_path, proto, lowerings):
    x = feeds(proto)
    expected = Session(proto).run(x)["y"]
    lowerings.clear()
    first = Session(proto, cache=tmp_path)
    assert len(lowerings) == 1
    second = Session(proto, cache=tmp_path)
    assert len(lowerings) == 1
    assert len(list(tmp_path.iterdir())) == 1
    for session in (first, second):
        np.testing.assert_array_equal(session.run(x)["y"], expected)
    for name in ("engine", "inputs", "outputs", "tensors", "sample_bytes"):
        assert getattr(first, name) == getattr(second, name)
    assert [first.piece(n) for n in (1, 7)] == [second.piece(n) for n in (1, 7)]


def test_inputs_that_are_not_finite_get_the_float_form_on_a_hit(tmp_path):
    proto = convolutions()
    x = samples(2, 3, 6, 6)
    x[1, 0, 0, 0] = np.inf
    expected = Session(proto).run(x)["y"]
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    Session(path, cache=tmp_path)
    hit = Session(path, cache=tmp_path)
    path.unlink()  # nothing but the session is needed
    for _ in range(2):
        np.testing.assert_array_equal(hit.run(x)["y"], expected)


def test_a_model_bound_to_its_batch_is_run_in_slices_on_a_hit(tmp_path):
    nodes = [onnx.helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    proto = model(nodes, {}, inputs={"x": [2, 6]}, outputs=["y"])
    for _ in range(2):
        session = Session(proto, cache=tmp_path)
        assert session.piece(5) == 4
        np.testing.assert_allclose(session.run(samples(4, 6))["y"].reshape(2, 2, 6).sum(axis=1), 1, rtol=1e-6)


def test_what_decides_the_entry(tmp_path):
    proto = mlp()
    Session(proto, cache=tmp_path)
    Session(load(proto), cache=tmp_path)
    Session(proto, cache=tmp_path, threads=1)
    assert len(entries(tmp_path)) == 1, "the form of the source and the threads do not matter"
    Session(proto, cache=tmp_path, engine="onnxruntime")
    Session(proto, cache=tmp_path, tensors=["h"])
    Session(proto, cache=tmp_path, tensors="all")
    assert len(entries(tmp_path)) == 4
    for step, session in ((4, Session(proto, cache=tmp_path, tensors=["h"])), (4, Session(proto, cache=tmp_path))):
        assert len(entries(tmp_path)) == step
        assert ("h" in session.run(samples(1, 6))) == bool(session.tensors)


def test_the_reference_engine_keeps_nothing(tmp_path):
    Session(mlp(), cache=tmp_path, engine="reference")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("hidden", [8, 300])
def test_every_weight_decides_the_entry(tmp_path, hidden):
    proto = mlp(hidden=hidden)
    Session(proto, cache=tmp_path)
    (weight,) = (i for i in proto.graph.initializer if i.name == "w")
    array = numpy_helper.to_array(weight).copy()
    array.flat[-1] += 1
    weight.CopyFrom(numpy_helper.from_array(array, "w"))
    x = samples(4, 6)
    session = Session(proto, cache=tmp_path)
    assert len(entries(tmp_path)) == 2
    np.testing.assert_array_equal(session.run(x)["y"], Session(proto, engine="reference").run(x)["y"])


def test_external_data_decide_the_entry(tmp_path):
    """The .onnx file stays the same, the file of the weights does not."""
    path, folder, x = tmp_path / "m.onnx", tmp_path / "cache", samples(4, 6)
    onnx.save(mlp(hidden=300), path, save_as_external_data=True, location="m.data", size_threshold=64)
    Session(path, cache=folder)
    weights = np.fromfile(tmp_path / "m.data", np.float32)
    (-weights).tofile(tmp_path / "m.data")
    session = Session(path, cache=folder)
    assert len(entries(folder)) == 2
    np.testing.assert_array_equal(session.run(x)["y"], Session(path, engine="reference").run(x)["y"])


def test_another_state_of_anybit_finds_nothing(tmp_path, monkeypatch, lowerings):
    Session(mlp(), cache=tmp_path)
    monkeypatch.setattr(cache_module, "_own_source", lambda: "another")
    Session(mlp(), cache=tmp_path)
    assert len(lowerings) == len(entries(tmp_path)) == 2


def test_a_processor_with_other_products_of_bytes_finds_nothing(tmp_path, monkeypatch, lowerings):
    Session(mlp(), cache=tmp_path)
    here = cache_module.saturates()
    monkeypatch.setattr(cache_module, "saturates", lambda: not here)
    Session(mlp(), cache=tmp_path)
    assert len(lowerings) == len(entries(tmp_path)) == 2


def test_models_with_operators_of_others_are_not_kept(tmp_path):
    """Their code is not part of the key."""
    register(Operator(name="Twice", domain="cache.test", inputs=(Input("X"),), reference=lambda x: x * 2))
    nodes = [
        onnx.helper.make_node("Twice", ["c"], ["t"], domain="cache.test"),
        onnx.helper.make_node("Add", ["x", "t"], ["y"]),
    ]
    proto = model(
        nodes, {"c": np.float32([1, 2])}, inputs={"x": [1, 2]}, outputs=["y"], imports={"": 21, "cache.test": 1}
    )
    session = Session(proto, cache=tmp_path)
    np.testing.assert_array_equal(session.run(np.zeros((1, 2), np.float32))["y"], [[2, 4]])
    assert not list(tmp_path.iterdir())


def _flipped(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


DAMAGE = {
    "magic": lambda data, _: _flipped(data, 0),
    "hash": lambda data, _: _flipped(data, 20),
    "length": lambda data, _: _flipped(data, 49),
    "huge length": lambda data, _: data[:48] + b"\xff" * 24 + data[72:],
    "header": lambda data, _: _flipped(data, 80),
    "last byte": lambda data, _: _flipped(data, -1),
    "truncated": lambda data, _: data[:-100],
    "only the beginning": lambda data, _: data[:30],
    "longer": lambda data, _: data + b"\0",
    "empty": lambda *_: b"",
    "the entry of another model": lambda _, other: other,
    "something else": lambda *_: b"PK\x03\x04" * 1000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_no_entry_and_is_written_again(tmp_path, damage, proto, lowerings):
    other = mlp(hidden=5)
    Session(other, cache=tmp_path / "other")
    Session(proto, cache=tmp_path)
    (path,) = entries(tmp_path)
    sound = path.read_bytes()
    path.write_bytes(damage(sound, entries(tmp_path / "other")[0].read_bytes()))
    assert path.read_bytes() != sound
    lowerings.clear()
    x = feeds(proto)
    np.testing.assert_array_equal(Session(proto, cache=tmp_path).run(x)["y"], Session(proto).run(x)["y"])
    assert len(lowerings) == 2, "one for the session with the cache, one for that without"
    assert path.read_bytes() == sound
    Session(proto, cache=tmp_path)
    assert len(lowerings) == 2


def test_every_byte_of_an_entry_is_checked(tmp_path):
    proto = model([quant("x", "y")], parameters("y"), inputs={"x": [1, 2]}, outputs=["y"])
    Session(proto, cache=tmp_path)
    (path,) = entries(tmp_path)
    sound = path.read_bytes()
    slot = cache_module.Slot(path, path.stem)
    assert slot.read() is not None
    for position in range(0, len(sound), 7):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 0x10]) + sound[position + 1 :])
        assert slot.read() is None, position


def test_a_sound_entry_whose_facts_make_no_sense_is_no_entry(tmp_path):
    """As one would be that was written by somebody else: the hash is right, the engine is none."""
    proto = mlp()
    Session(proto, cache=tmp_path)
    (path,) = entries(tmp_path)
    sound = path.read_bytes()
    body = sound[48:].replace(b'"engine":"onnxruntime"', b'"engine":"onnxruntimf"')
    assert body != sound[48:]
    path.write_bytes(sound[:16] + hashlib.sha256(body).digest() + body)
    assert cache_module.Slot(path, path.stem).read() is None
    path.write_bytes(sound)
    assert cache_module.Slot(path, path.stem).read() is not None


def test_an_entry_under_another_name_is_no_entry(tmp_path):
    Session(mlp(), cache=tmp_path)
    (path,) = entries(tmp_path)
    renamed = path.rename(tmp_path / f"{'0' * 64}.lowered")
    assert cache_module.Slot(renamed, "0" * 64).read() is None
    assert cache_module.Slot(renamed, path.stem).read() is not None


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ModelFileError, match=r"file: cannot write to the cache"):
        Session(mlp(), cache=blocked)


_PROCESS = """
import sys, json, numpy as np
from anybit import Session
from anybit.engines import cache
cache._own_source = lambda: "the same all the time"
x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
for _ in range(3):
    y = Session(sys.argv[1], cache=sys.argv[2], threads=1).run(x)["y"]
print(json.dumps(y.tolist()))
"""


def test_processes_share_a_folder(tmp_path, monkeypatch):
    """All begin with a damaged entry."""
    monkeypatch.setattr(cache_module, "_own_source", lambda: "the same all the time")
    monkeypatch.setattr(cache_module, "operators", tuple)  # other tests register some
    path, folder = tmp_path / "m.onnx", tmp_path / "cache"
    onnx.save(mlp(hidden=300), path)
    Session(path, cache=folder)
    (entry,) = entries(folder)
    sound = entry.read_bytes()
    entry.write_bytes(sound[:-50])
    command = [sys.executable, "-c", _PROCESS, str(path), str(folder)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    expected = Session(path, engine="reference").run(samples(4, 6))["y"]
    for output in outputs:
        np.testing.assert_array_equal(np.float32(json.loads(output)), expected)
    assert [p.name for p in folder.iterdir()] == [entry.name], "nothing temporary is left"
    assert entry.read_bytes() == sound


def test_a_pipe_in_the_cache_or_for_a_model_does_not_hang(tmp_path):
    path, folder = tmp_path / "m.onnx", tmp_path / "cache"
    onnx.save(mlp(), path)
    Session(path, cache=folder)
    (entry,) = entries(folder)
    entry.unlink()
    os.mkfifo(entry)
    with pytest.raises(ModelFileError, match="cannot write to the cache"):
        Session(path, cache=folder)
    os.mkfifo(tmp_path / "p.onnx")
    with pytest.raises(ModelFileError):
        Session(tmp_path / "p.onnx", cache=folder)
