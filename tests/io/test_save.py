"""Writing models: whole or not at all, nothing lost, large ones beside their weights."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import anybit.io.save as saving
from anybit import compare, load, save
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import ModelFileError
from tests.models import mlp


def test_metadata_does_not_grow_from_save_to_save(tmp_path):
    proto = mlp()
    proto.graph.initializer[0].metadata_props.add(key="a", value="b")
    proto.metadata_props.add(key="m", value="n")
    path = tmp_path / "m.onnx"
    save(load(proto), path)
    first = path.read_bytes()
    for _ in range(3):
        save(load(path), path)
    assert path.read_bytes() == first
    assert len(onnx.load(path).graph.initializer[0].metadata_props) == 1


def test_saving_is_deterministic_and_leaves_the_model_alone(tmp_path):
    model = load(mlp())
    save(model, tmp_path / "a.onnx", external_data=True)
    save(model, tmp_path / "b.onnx")
    save(model, tmp_path / "c.onnx")
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


def test_external_weights_are_written_beside_and_read_back(tmp_path):
    proto = mlp(hidden=300)
    path = tmp_path / "sub" / "m.onnx"
    path.parent.mkdir()
    model = load(proto)
    InferShapes()(model)
    save(model, path, external_data=True)
    (data,) = path.parent.glob("m.onnx.*.data")
    assert {p.name for p in path.parent.iterdir()} == {"m.onnx", data.name}
    assert data.name == f"m.onnx.{hashlib.sha256(data.read_bytes()).hexdigest()[:12]}.data"
    assert path.stat().st_size < 3000
    assert compare(proto, path, tolerance=0).equal
    onnx.checker.check_model(onnx.load(path))


def test_a_model_can_be_saved_over_the_file_that_it_is_mapped_from(tmp_path):
    path = tmp_path / "m.onnx"
    save(load(mlp(hidden=300)), path, external_data=True)
    save(load(path), path, external_data=True)
    assert compare(mlp(hidden=300), path, tolerance=0).equal
    save(load(path), path, external_data=False)
    assert compare(mlp(hidden=300), path, tolerance=0).equal


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def full_disk(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "_serialize", full_disk)
    with pytest.raises(ModelFileError, match="No space left"):
        save(load(mlp()), path)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert path.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ModelFileError, match="nowhere"):
        save(load(mlp()), tmp_path / "nowhere" / "m.onnx")


@pytest.mark.large
def test_more_than_two_gigabytes_load_save_and_run(tmp_path):
    from anybit.runtime.session import Session
    from tests.models import model, parameters, quant

    size = 24_000
    weights = np.full((size, size), 0.3, np.float32)
    nodes = [quant("x", "xq"), onnx.helper.make_node("MatMul", ["xq", "w"], ["y"])]
    small = model(nodes, parameters("xq"), inputs={"x": ["N", size]}, outputs=["y"])
    loaded = ir.from_proto(small)  # it lacks the weights
    value = ir.Value(name="w", shape=ir.Shape(weights.shape), type=ir.TensorType(ir.DataType.FLOAT))
    value.const_value = ir.tensor(weights, name="w")
    (undefined,) = (v for v in loaded.graph.node(1).inputs if v.name == "w")
    undefined.replace_all_uses_with(value)
    loaded.graph.register_initializer(value)
    path = tmp_path / "large.onnx"
    save(loaded, path)
    assert next(tmp_path.glob("large.onnx.*.data")).stat().st_size > 2**31
    y = Session(path).run(np.ones((1, size), np.float32))["y"]
    np.testing.assert_allclose(y, size * 0.3, rtol=1e-4)


def data_files(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != "m.onnx")


def test_data_of_the_replaced_model_are_removed_and_no_others(tmp_path):
    path = tmp_path / "m.onnx"
    others = [
        "m.onnx.data",
        "m.onnx.0123456789ab.data",
        "m.onnx.0123456789AB.data",
        "n.onnx.0123456789ab.data",
        "w.bin",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"of somebody else")
    seen = []
    for hidden in (300, 301, 300):
        save(load(mlp(hidden=hidden)), path, external_data=True)
        (own,) = set(data_files(tmp_path)) - set(others)
        seen.append(own)
        assert compare(mlp(hidden=hidden), path, tolerance=0).equal
    assert seen[0] == seen[2] != seen[1]
    save(load(mlp()), path)
    assert data_files(tmp_path) == sorted(others)
    save(load(mlp(hidden=300)), path, external_data=True)
    path.rename(tmp_path / "moved.onnx")
    save(load(mlp(hidden=301)), path, external_data=True)
    assert compare(mlp(hidden=300), tmp_path / "moved.onnx", tolerance=0).equal


def test_a_model_without_large_weights_has_no_data_file(tmp_path):
    save(load(mlp()), tmp_path / "m.onnx", external_data=True)
    assert data_files(tmp_path) == []


def test_weights_that_are_held_twice_are_written_once(tmp_path):
    proto = mlp(hidden=300)
    model = load(proto)
    first = model.graph.initializers["w"]
    second = ir.Value(name="w2", shape=first.shape, type=first.type, const_value=first.const_value)
    model.graph.register_initializer(second)
    save(model, tmp_path / "m.onnx", external_data=True)
    (data,) = tmp_path.glob("m.onnx.*.data")
    held = first.const_value.numpy()
    total = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value.nbytes >= 1024)
    assert total >= 2 * held.nbytes
    assert data.stat().st_size < total
    back = onnx.load(tmp_path / "m.onnx")
    for name in ("w", "w2"):
        (tensor,) = (t for t in back.graph.initializer if t.name == name)
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), held)


def test_external_data_by_way_of_links(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "link.onnx").symlink_to("m.onnx")
    save(load(mlp(hidden=300)), tmp_path / "a" / "link.onnx", external_data=True)
    for name in ("link.onnx", "m.onnx"):
        assert compare(mlp(hidden=300), tmp_path / "a" / name, tolerance=0).equal
    (tmp_path / "folder").symlink_to("a")
    save(load(mlp(hidden=301)), tmp_path / "folder" / "m.onnx", external_data=True)
    assert compare(mlp(hidden=301), tmp_path / "a" / "m.onnx", tolerance=0).equal
    (tmp_path / "b" / "link.onnx").symlink_to("../a/m.onnx")
    with pytest.raises(ModelFileError, match=r"a link to .*m\.onnx, whose external data would not"):
        save(load(mlp(hidden=300)), tmp_path / "b" / "link.onnx", external_data=True)
    save(load(mlp()), tmp_path / "b" / "link.onnx")
    assert compare(mlp(), tmp_path / "a" / "m.onnx", tolerance=0).equal
