"""The native engine from a cache: what was kept computes the same, and nothing of the model is looked at again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit import Session
from anybit.engines import cache as cache_module
from anybit.engines.engine import Engine
from anybit.engines.native import backend as native
from anybit.engines.native.compile import ISA
from anybit.engines.onnxruntime import lower as lowering
from anybit.errors import UnsupportedError
from tests.models import mlp, model, parameters, quant, samples

pytest.importorskip("anybit_kernels", reason="the kernels are not built: make native")


@pytest.fixture(autouse=True)
def plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that every processor has, asked for by name: `auto` takes the kernels."""
    monkeypatch.setenv(ISA, "scalar")


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a plan was made."""
    made: list[int] = []
    original = native.plan_of_prepared

    def counted(*arguments, **options):
        made.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(native, "plan_of_prepared", counted)
    return made


def _with_float_parts(*, tail: bool = True) -> onnx.ModelProto:
    """x -> float product -> quantised layer -> Cos, if there is to be a tail: neither end is part of a plan."""
    nodes = [
        helper.make_node("MatMul", ["x", "float"], ["s"]),
        quant("s", "q"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["q", "wq"], ["m"]),
        quant("m", "h" if tail else "y", prefix="h"),
    ]
    nodes += [helper.make_node("Cos", ["h"], ["y"])] if tail else []
    rng = np.random.default_rng(0)
    known = parameters("q", scale=0.25) | parameters("wq", scale=0.25) | parameters("h", scale=0.5)
    known |= {"float": np.float32(rng.normal(size=(6, 300))), "w": np.float32(rng.normal(size=(300, 4)))}
    return model(nodes, known, inputs={"x": ["N", 6]}, outputs=["y"])


def _entry(folder: Path) -> Path:
    (path,) = (p for p in folder.iterdir() if p.suffix == ".lowered")
    return path


@pytest.mark.parametrize("proto", [mlp(hidden=300), _with_float_parts()], ids=["whole", "with float parts"])
@pytest.mark.parametrize("engine", ["native", "auto"])
def test_a_hit_computes_the_same_without_a_plan_being_made(tmp_path, proto, engine, plans):
    x = samples(5, 6)
    expected = Session(proto, engine="native").run(x)["y"]
    if engine == "auto" and "Cos" in {n.op_type for n in proto.graph.node}:
        engine = "native"  # `auto` leaves small plans with float parts to ONNX Runtime
    plans.clear()
    first, second = (Session(proto, engine=engine, cache=tmp_path) for _ in range(2))
    assert len(plans) == 1
    for session in (first, second):
        assert session.engine is Engine.NATIVE
        np.testing.assert_array_equal(session.run(x)["y"], expected)
    assert [first.piece(n) for n in (1, 7)] == [second.piece(n) for n in (1, 7)]


@pytest.mark.parametrize("proto", [mlp(hidden=300), _with_float_parts()], ids=["whole", "with float parts"])
def test_nan_gets_the_float_form_on_a_hit(tmp_path, proto):
    x = samples(3, 6)
    x[1, 2] = np.nan
    expected = Session(proto, engine="native").run(x)["y"]
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    Session(path, engine="native", cache=tmp_path)
    hit = Session(path, engine="native", cache=tmp_path)
    path.unlink()  # nothing but the session is needed
    for _ in range(2):
        np.testing.assert_array_equal(hit.run(x)["y"], expected)


def test_every_byte_of_an_entry_is_checked(tmp_path):
    proto = model([quant("x", "q"), quant("w", "wq"), helper.make_node("MatMul", ["q", "wq"], ["y"])],
                  parameters("q") | parameters("wq") | {"w": np.float32([[1], [2]])},
                  inputs={"x": ["N", 2]}, outputs=["y"])  # fmt: skip
    Session(proto, engine="native", cache=tmp_path)
    path = _entry(tmp_path)
    sound, slot = path.read_bytes(), cache_module.Slot(path, path.stem)
    assert slot.read() is not None
    for position in range(0, len(sound), 7):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 0x10]) + sound[position + 1 :])
        assert slot.read() is None, position
    for end in (0, 10, 60, len(sound) // 2, len(sound) - 1):
        path.write_bytes(sound[:end])
        assert slot.read() is None, end


def test_a_session_without_kernels_does_not_find_what_the_kernels_left(tmp_path, monkeypatch):
    proto, x = mlp(hidden=300), samples(4, 6)
    assert Session(proto, cache=tmp_path).engine is Engine.NATIVE
    monkeypatch.setenv(ISA, "none")
    session = Session(proto, cache=tmp_path)
    assert session.engine is Engine.ONNXRUNTIME
    np.testing.assert_array_equal(session.run(x)["y"], anybit.run(proto, x, engine="reference")["y"])
    with pytest.raises(UnsupportedError):
        Session(proto, engine="native", cache=tmp_path)


def test_a_plan_with_large_float_weights_around_it_is_not_kept(tmp_path, monkeypatch, plans):
    """ONNX Runtime maps them from a file of their own."""
    monkeypatch.setattr(lowering, "IN_MEMORY", 0)
    proto = _with_float_parts(tail=False)
    x = samples(4, 6)
    results = [Session(proto, engine="native", cache=tmp_path).run(x)["y"] for _ in range(2)]
    np.testing.assert_array_equal(*results)
    assert len(plans) == 2
    assert not list(tmp_path.iterdir())
